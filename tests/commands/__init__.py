"""The words after `halfseen`, one file a word."""
