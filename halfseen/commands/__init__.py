"""One file for each word after `halfseen`."""
