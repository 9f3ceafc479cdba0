"""Exactly what a method must not know: devices, processes, files, progress."""
