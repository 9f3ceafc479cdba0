"""halfseen: image classifiers from a few labelled and many unlabelled images.

import halfseen
result = halfseen.train("mnist-5k", method="fixmatch", num_labels=20, minutes=2)
model = halfseen.load(result.folder)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from halfseen.commands.train import train
    from halfseen.data import open_data
    from halfseen.errors import UserError
    from halfseen.estimator import SemiSupervisedClassifier
    from halfseen.model import load_model as load

__version__ = "0.1.0"
__all__ = ["SemiSupervisedClassifier", "UserError", "__version__", "load", "open_data", "train"]

_HOMES = {
    "SemiSupervisedClassifier": ("halfseen.estimator", "SemiSupervisedClassifier"),
    "UserError": ("halfseen.errors", "UserError"),
    "load": ("halfseen.model", "load_model"),
    "open_data": ("halfseen.data", "open_data"),
    "train": ("halfseen.commands.train", "train"),
}


def __getattr__(name: str) -> Any:
    """Import a front door when it is first used, so that `halfseen --help` does not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'halfseen' has no attribute {name!r}")
    import importlib

    home, attribute = _HOMES[name]
    return getattr(importlib.import_module(home), attribute)
