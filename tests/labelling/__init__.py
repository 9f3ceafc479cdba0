"""The page for naming pictures, its server and its browser."""
