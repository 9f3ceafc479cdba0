"""What methods share, each piece by itself."""
