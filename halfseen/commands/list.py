"""`halfseen list`: what there is by name, read from the methods' own files, so that it cannot be stale."""

import torch

from halfseen import methods
from halfseen.augment.policies import IMAGE_POLICIES, VECTOR_POLICIES, VIEWS
from halfseen.data import NAMES
from halfseen.errors import UserError
from halfseen.nets import NETS, make_net
from halfseen.probes import PROBES
from halfseen.recipes import recipes


def list_all() -> None:
    """Methods with their first line, networks with their size, views, recipes, named data sets."""
    blocks = {
        "Methods (--method; or your own file.py)": [(n, summary_of(n)) for n in methods.names()],
        "Probes (--method; no training loop: on a backbone, or on vectors)": [
            (n, p.summary) for n, p in PROBES.items()
        ],
        "Networks (--net; parameters for 10 classes of 3x32x32 images; or your own file.py:factory)": [
            (n, size_of(n)) for n in NETS
        ],
        "Views (--weak, --strong; joined by +, as in affine+cutout16)": [(n, VIEWS[n]) for n in view_names()],
        "Recipes (halfseen reproduce)": [(n, recipe.about) for n, recipe in recipes().items()],
    }
    for title, rows in blocks.items():
        print(f"{title}\n")
        width = max(len(name) for name, _ in rows)
        for name, text in rows:
            print(f"  {name:{width}}  {text}".rstrip())
        print()
    print("Data sets by name (some need their files under --root)\n")
    print(f"  {' '.join(NAMES)}")


def view_names() -> list[str]:
    return list(dict.fromkeys([*IMAGE_POLICIES, *VECTOR_POLICIES]))


def summary_of(name: str) -> str:
    """The first line of a method's docstring."""
    return methods.load(name).summary


def size_of(name: str) -> str:
    """The number of parameters of a network, which takes no memory to find out; vectors of 32 numbers if it must."""
    for shape, what in (((3, 32, 32), ""), ((1, 28, 28), " (1x28x28)"), ((32,), " (vectors of 32)")):
        try:
            with torch.device("meta"):
                net = make_net(name, classes=10, shape=shape)
        except UserError:  # the network is for data of another kind
            continue
        return f"{sum(p.numel() for p in net.parameters()):,}{what}"
    return ""
