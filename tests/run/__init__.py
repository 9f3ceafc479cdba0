"""One run, from settings to metrics."""
