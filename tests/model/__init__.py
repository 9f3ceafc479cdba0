"""Trained models: saved, loaded, exported."""
