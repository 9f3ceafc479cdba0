"""How each method is run on toy data: the same for all, but for what a method's own file cannot do without."""

from typing import Any

SPECIAL: dict[str, dict[str, Any]] = {
    "pseudo_label": {"settings": {"tau": 0.5}},
    "fixmatch": {"settings": {"tau": 0.5}},
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
    """Arguments of `make_trainer`: blobs and an mlp without dropout or batch norm, whose terms start within 40 steps."""
    return {"data": "blobs", "batch": (16, 32), "steps": 40, **SPECIAL.get(name, {}), **more}
