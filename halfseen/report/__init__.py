"""The page of a run: why to believe it, in one file that needs no network."""
