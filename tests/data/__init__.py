"""Reading images and labels, splits and streams."""
