"""`halfseen list`: what there is by name, read from the methods' own files, so that it cannot be stale."""

import json
import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from halfseen import methods
from halfseen.augment.policies import IMAGE_POLICIES, VECTOR_POLICIES, VIEWS
from halfseen.data import NAMES, ImageSet, open_data
from halfseen.errors import UserError
from halfseen.machine.progress import Meter
from halfseen.nets import NETS, make_net
from halfseen.probes import PROBES
from halfseen.recipes import recipes
from halfseen.run.session import Session
from halfseen.settings import Settings

RANKED = Path(__file__).parents[2] / "results" / "digits-all" / "results.json"  # in a clone, once the table was run
ROWS = 8  # labelled rows of the steps that are counted


@dataclass(frozen=True)
class Cost:
    """What a step of a method takes, on vectors (pictures may have terms besides)."""

    networks: int  # that are trained
    passes: float  # for each image of its batch


def list_all() -> None:
    """Methods with their paper and cost, networks with their size, views, recipes, named data sets."""
    blocks = {
        "Probes (--method; no training loop: on a backbone, or on vectors)": [
            (n, p.summary) for n, p in PROBES.items()
        ],
        "Networks (--net; parameters for 10 classes of 3x32x32 images; or your own file.py:factory)": [
            (n, size_of(n)) for n in NETS
        ],
        "Views (--weak, --strong; joined by +, as in affine+cutout16)": [(n, VIEWS[n]) for n in view_names()],
        "Recipes (halfseen reproduce)": [(n, recipe.about) for n, recipe in recipes().items()],
    }
    print_methods()
    for title, rows in blocks.items():
        print(f"{title}\n")
        width = max(len(name) for name, _ in rows)
        for name, text in rows:
            print(f"  {name:{width}}  {text}".rstrip())
        print()
    print("Data sets by name (some need their files under --root)\n")
    print(f"  {' '.join(NAMES)}")


def print_methods() -> None:
    names, ranks, costs = methods.names(), ranks_in(RANKED), {}
    images = open_data("blobs", progress=False)
    with Meter("counting passes", len(names), what="methods") as meter:
        for name in names:
            costs[name] = cost_of(name, images)
            meter.advance(1)
    print(
        "Methods (--method; or your own file.py): networks, passes (forward 1, with backward 3) for each image of a batch,"
    )
    print(f"{'mean rank in ' + str(Path(*RANKED.parts[-3:])) + ', ' if ranks else ''}paper\n")
    width = max(map(len, names))
    for name in names:
        cost = costs[name]
        rank = (f"{ranks[name]:5.1f}" if name in ranks else " " * 5) + "  " if ranks else ""
        print(f"  {name:{width}}  {cost.networks:2} {cost.passes:5.1f}  {rank}{summary_of(name)}")
    print()


def cost_of(name: str, images: ImageSet) -> Cost:
    """Counted in the first steps of a run that is thrown away, with as many unlabelled images to a labelled one as usual."""
    labelled, unlabelled = methods.load(name).method.batch
    rows = (ROWS, round(ROWS * unlabelled / labelled))
    settings = Settings(
        method=name,
        net="mlp",
        overrides=("net.width=32",),  # passes are the same with every network
        num_labels=16,
        val="none",
        batch=rows[0],
        unlabelled_batch=rows[1],
        threads=1,
        quiet=True,
    )
    session = Session(images, settings, None)
    assert session.scratch is not None
    method = session.scratch.method
    parts = [operator.attrgetter(path)(method) for stage in session.scratch.stages for path in stage.optim]
    nets = {n for part in parts if isinstance(part, nn.Module) for n in part.modules() if "head" in n._modules}
    return Cost(len(nets), session.passes / (sum(rows) if method.needs_unlabelled else rows[0]))


def ranks_in(file: Path) -> dict[str, float]:
    """By method, of a kept table of all of them; nothing where there is none."""
    if not file.is_file():
        return {}
    table: dict[str, Any] = json.loads(file.read_text())
    return {row["settings"].partition(":")[0]: row["rank"] for row in table["rows"] if row.get("rank") is not None}


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
