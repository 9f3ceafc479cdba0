"""The papers' theorems in numbers."""
