"""The loop, which knows no method's name."""
