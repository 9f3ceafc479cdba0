"""How each method is run on toy data: the same for all, but for what a method's own file cannot do without."""

from pathlib import Path
from typing import Any

from halfseen import methods
from halfseen.commands.compare import OUTER_COMMA
from halfseen.overrides import pairs
from halfseen.parts.align import Aligned

SPECIAL: dict[str, dict[str, Any]] = {
    "pseudo_label": {"settings": {"tau": 0.5}},
    "fixmatch": {"settings": {"tau": 0.5}},
    "uda": {"settings": {"beta": 0.5}},
    "freematch": {"settings": {"w_f": 0.3}},  # enough for two processes to differ if its sums did
    # an image has a target from its second visit on
    "temporal_ensembling": {"batch": (16, 320)},
    # a graph of an untrained network has neighbours so alike that the last digits decide between them
    "label_propagation": {"settings": {"first": 0.5}},
    # rates that suit a network without batch norm
    "curriculum_labeling": {"settings": {"optim.lr": 0.03}},
    "deep_co_training": {"settings": {"optim.lr": 0.03}},
    "ups": {"net_options": {"dropout": 0.0}, "settings": {"use_uncertainty": False, "t_n": 0.2, "least": 1}},
    # without dropout there is no stability to test
    "commatch": {
        "net_options": {"dropout": 0.0},
        "settings": {"use_stability": False, "t_p": 0.5, "t_p_end": 0.5, "t_n_end": 0.2},
    },
    # the paper's rate of 0.1 is for networks with batch norm
    "dual_student": {"settings": {"optim.lr": 0.03}},
    "on_discarded": {"settings": {"settings": "optim.lr=0.03"}},
}

# pictures, random views and batch norm, without dropout
PICTURES: dict[str, Any] = {
    "data": "digits",
    "net": "small",
    "net_options": {"width": 8},
    "settings": {"tau": 0.2},
    "steps": 6,
    "policies": ("fm", "fm+ra"),
}


def case(name: str, **more: Any) -> dict[str, Any]:
    """Arguments of `make_trainer`: blobs and an mlp without dropout or batch norm, whose terms start within 40 steps.

    A name may be a file, and carry settings that its terms need to start so soon: "my_method.py:tau=0.5".
    """
    special, own = SPECIAL.get(source(name), {}), name.partition(":")[2]
    settings = {**special.get("settings", {}), **pairs(part for part in OUTER_COMMA.split(own) if part)}
    return {"data": "blobs", "batch": (16, 32), "steps": 40, **special, "settings": settings, **more}


def source(name: str) -> str:
    """Its name or file, without settings."""
    return name.partition(":")[0]


def slug(name: str) -> str:
    """What its files in a folder are called."""
    return Path(source(name)).stem


def is_aligned(name: str) -> bool:
    return issubclass(methods.load(source(name)).config, Aligned)


def aligned(name: str, align_to: str = "estimate", **more: Any) -> dict[str, Any]:
    """A method with a teacher whose targets are aligned."""
    given = case(name, **{"steps": 12, **more})
    return {**given, "settings": {**given.get("settings", {}), "align": True, "align_to": align_to}}
