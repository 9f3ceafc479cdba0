"""The theorems of the papers in numbers: what `halfseen theory` prints."""
