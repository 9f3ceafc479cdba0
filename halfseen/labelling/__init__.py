"""The page for naming pictures, and its server on loopback."""
