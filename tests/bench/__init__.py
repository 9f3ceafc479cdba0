"""The bench at tiny sizes."""
