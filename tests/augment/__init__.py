"""Views: what they do to a picture or a vector, and which random numbers they draw."""
