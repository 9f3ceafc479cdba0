"""The four methods on real MNIST within minutes of one CPU core a run: 60,000 images, 20 or 100 of them labelled.

Every row has the same network, views of the labels, label draws and budget of network passes. The settings were chosen
by the hidden labels of training images on the label draws 100 to 105, which no row uses; never on test images.
"""

from halfseen.compare import Row
from halfseen.recipes import Recipe
from halfseen.settings import Settings

PASSES = 1.6e6
COMMON = Settings(
    net="small",
    val="none",
    weak="affine",
    strong="affine+affine+noise",  # no hole: without its upper half a 5 is a 3
    batch=16,
    unlabelled_batch=64,
    passes=PASSES,
    threads=1,
    overrides=("net.width=16",),
)


def adam(prefix: str = "optim", lr: float = 0.002, schedule: str = "") -> str:
    values = {"kind": "adam", "lr": f"{lr:g}", "weight_decay": "0"} | ({"schedule": schedule} if schedule else {})
    return ",".join(f"{prefix}.{key}={value}" for key, value in values.items())


SUPERVISED = Row(f"supervised:{adam()}", 5, "supervised", {"batch": 64})
FIXMATCH = Row(f"fixmatch:{adam()}", 3, "FixMatch")
DNLL = Row(f"dnll:{adam()}", 5, "DNLL")

RECIPES = {
    "mnist-small": Recipe(
        "MNIST, small network of width 16, 1.6 million network passes a run",
        "mnist",
        (SUPERVISED, FIXMATCH, DNLL),
        COMMON,
        (20, 100),
    ),
}
