"""Methods by name and by file, and a method that is for tests alone."""
