"""Which method the demonstration should show, and with which settings: by hidden labels of training images.

python scripts/demo_settings.py    # results/demo-settings.jsonl; a run that is in it is not made again

mnist-5k with 20 labels, label draws 100 to 105, which neither the demonstration nor a table uses. Scored on the unlabelled
training images and by the worst class's recall among them; test images are not looked at.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from trials import has, keep, read

import halfseen
from halfseen.data import open_data

RESULTS = Path("results/demo-settings.jsonl")
DRAWS = range(100, 106)
SGD = ("method.optim.kind=sgd", "method.optim.schedule=cos", "method.optim.lr=0.1", "method.optim.weight_decay=5e-4")
ALIGN = ("method.align=true", "method.align_to=uniform")
CANDIDATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "fixmatch, aligned": ("fixmatch", (*SGD, *ALIGN)),
    "fixmatch, aligned to estimate": ("fixmatch", (*SGD, "method.align=true", "method.align_to=estimate")),
    "dnll, aligned": ("dnll", (*SGD, *ALIGN, "method.lambda_u=2")),
    "commatch, aligned": ("commatch", (*SGD, *ALIGN, "method.threshold_every=0.05")),
}
COMMON: dict[str, Any] = {
    "num_labels": 20,
    "net": "small",
    "weak": "affine",
    "strong": "affine+affine+noise",
    "batch": 16,
    "unlabelled_batch": 64,
    "passes": 1.6e6,
    "val": "none",
    "threads": 1,
    "report": False,
    "quiet": True,
}


def run(method: str, draw: int, keys: tuple[str, ...]) -> dict[str, Any]:
    """Accuracy of the headline on the unlabelled images, the worst recall, seconds."""
    folder = Path(tempfile.mkdtemp()) / "run"
    try:
        overrides = ("net.width=16", *keys)
        given = {**COMMON, "method": method, "seed": draw, "split_seed": draw, "overrides": overrides}
        metrics = halfseen.train("mnist-5k", out=folder, **given).metrics
        outputs = np.load(folder / "outputs.npz")
        said, ids = outputs["unlabelled"].argmax(1), outputs["unlabelled_ids"]
        labelled = json.loads((folder / "split.json").read_text())["labelled"]
    finally:
        shutil.rmtree(folder.parent)
    y = open_data("mnist-5k", progress=False).y.numpy()
    hidden = ~np.isin(ids, labelled)
    right, truth = (said == y[ids])[hidden], y[ids][hidden]
    recalls = [float(right[truth == k].mean()) for k in range(10)]
    return {"accuracy": round(float(right.mean()), 4), "worst": round(min(recalls), 3), "seconds": metrics["seconds"]}


def main() -> None:
    done = read(RESULTS)
    for name, (method, keys) in CANDIDATES.items():
        for draw in DRAWS:
            about = {"candidate": name, "draw": draw}
            if has(done, about):
                continue
            found = {**about, **run(method, draw, keys)}
            keep(RESULTS, done, found)


if __name__ == "__main__":
    main()
