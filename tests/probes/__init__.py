"""Classifiers on frozen features, against scikit-learn's."""
