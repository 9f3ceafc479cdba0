"""The scikit-learn door."""

from halfseen.estimator.classifier import SemiSupervisedClassifier

__all__ = ["SemiSupervisedClassifier"]
