"""halfseen: image classifiers from a few labelled and many unlabelled images."""

__version__ = "0.1.0"
