"""What the batch-norm statistics of an averaged network are worth, by the hidden labels of every 15th MNIST training image.

    python scripts/norms_of_average.py RUN ...

Accuracy of the average as evaluated, of the last weights, and of the average with statistics measured anew in its own
forwards of weak views. A line of json for each finished run of a method whose headline is its average.
"""

import argparse
import json
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

import halfseen
from halfseen.augment import make_policy
from halfseen.data import open_data
from halfseen.draws import Draws
from halfseen.parts.ema import Ema
from halfseen.training import checkpoint


@torch.no_grad()
def measured(run: Path, root: Path) -> dict[str, Any]:
    images = open_data("mnist", root=root)
    x, y = images.x[::15], images.y[::15]
    model = halfseen.load(run)
    net = cast(Ema, model.net).net

    def accuracy() -> float:
        return round(float((model.probabilities(x).argmax(1) == y).double().mean()), 4)

    found: dict[str, Any] = {"run": run.name, "average": accuracy()}
    average = {k: v.clone() for k, v in net.state_dict().items()}
    last: dict[str, Tensor] = checkpoint.load(run / "checkpoints" / "last.pt")["method"]
    net.load_state_dict({k.removeprefix("net."): v for k, v in last.items() if k.startswith("net.")})
    found["last"] = accuracy()
    net.load_state_dict(average)
    weak = make_policy(
        "affine", shape=images.shape, flip=False, mean=images.mean, std=images.std, draws=Draws.seeded(0)
    )
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None  # the plain mean over what follows
        m.train()
    for rows in torch.split(x, 200):
        net(weak(rows))
    found["own statistics"] = accuracy()
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--root", type=Path, default=Path("data"))
    told = parser.parse_args()
    for run in told.runs:
        print(json.dumps(measured(run, told.root)), flush=True)
