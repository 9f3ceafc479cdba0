"""Recipes, and running them."""
