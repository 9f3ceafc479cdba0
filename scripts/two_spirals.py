"""CCN's Figure 4 on ten seeds: is CCN above its Net 1 on two spirals, on average? And the picture of one seed, as SVG.

    python scripts/two_spirals.py --out runs/ccn-f4     # two minutes a seed; what is in it is not trained again

The settings are the toy's (halfseen/theory/spirals.py); the seeds 0 to 9 choose the 40 labels, the networks' beginnings and
the order of the batches, on the same points. Nothing is chosen by the result: the picture is of seed 0, and the last epoch
is the one that is compared. Writes results/ccn-f4/results.json and regions.svg.
"""

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from halfseen.commands.compare import deviation, mean_of, with_interval
from halfseen.data import open_data
from halfseen.machine.environment import environment
from halfseen.machine.files import write_bytes, write_json
from halfseen.run.folder import Folder
from halfseen.theory.spirals import BLUE, EPOCHS, ORANGE, REACH, ROWS, film

RESULTS = Path("results/ccn-f4")
SEEDS = 10
SIDE = 60  # points of the plane along an edge, in the picture
BANDS = ("#9CC7E6", "#CDE3F2", "#FFFFFF", "#F8D8CB", "#F2B998")  # of the second class's probability, from 0 to 1
BOX, GAP = 150, 8  # units of the picture


def trained(out: Path, seed: int) -> dict[str, Any]:
    """Accuracy of both predictors at the epochs that are shown; the regions are kept beside, in regions.npz."""
    kept = out / f"seed-{seed}" / "kept.json"
    if not kept.is_file():
        shutil.rmtree(kept.parent, ignore_errors=True)  # what a stopped run left
        began = time.monotonic()
        frames = film(kept.parent, seed=seed, side=SIDE)
        planes: dict[str, Any] = {f"{name}-{f.epoch}": f.regions[name] for f in frames for name in ROWS}
        np.savez_compressed(kept.parent / "regions.npz", **planes)
        metrics = Folder(kept.parent).read("metrics.json")
        told = {
            "seed": seed,
            "epochs": [f.epoch for f in frames],
            "accuracy": {name: [f.accuracy[name] for f in frames] for name in ROWS},
            "steps": metrics["steps"],
            "minutes": round((time.monotonic() - began) / 60, 2),
        }
        write_json(kept, told)
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """CCN over Net 1 at the last epoch, on the same seeds."""
    last = {name: [run["accuracy"][name][-1] for run in runs] for name in ROWS}
    mean, low, high = with_interval([c - n for c, n in zip(last["ccn"], last["net1"], strict=True)])
    return {
        "net1": {"mean": mean_of(last["net1"]), "std": deviation(last["net1"])},
        "ccn": {"mean": mean_of(last["ccn"]), "std": deviation(last["ccn"])},
        "difference": {"mean": mean, "low": low, "high": high},
    }


def picture(
    planes: dict[str, NDArray[np.float32]],
    run: dict[str, Any],
    labelled: dict[str, NDArray[np.float64]],
    epochs: Sequence[int],
) -> str:
    """Net 1 above, CCN below, a column for each epoch; runs of equal colour along a row are one stroke."""
    width, height = len(epochs) * (BOX + GAP) + GAP, 2 * (BOX + 24) + GAP
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for i, (name, title) in enumerate(ROWS.items()):
        for k, epoch in enumerate(epochs):
            x0, y0 = GAP + k * (BOX + GAP), 24 + i * (BOX + 24)
            said = f"{title}, epoch {epoch}: {run['accuracy'][name][run['epochs'].index(epoch)]:.1%}"
            parts.append(f'<text x="{x0 + 2}" y="{y0 - 7}" font-size="12">{said}</text>')
            parts += [f'<g transform="translate({x0} {y0})">', *region(planes[f"{name}-{epoch}"])]
            for colour, points in labelled.items():
                dots = "".join(f"M{place(x):.0f} {place(-y):.0f}h0" for x, y in points)
                for wide, ink in ((6, "white"), (4, colour)):
                    parts.append(f'<path d="{dots}" stroke="{ink}" stroke-width="{wide}" stroke-linecap="round"/>')
            parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def place(value: float) -> float:
    """Of a coordinate in its box."""
    return float((value / REACH + 1) / 2 * BOX)


def region(plane: NDArray[np.float32]) -> list[str]:
    """A path for each band of probability; the plane's rows are y, from below."""
    cell = BOX / len(plane)
    strokes: dict[int, list[str]] = {}
    for i, row in enumerate(np.minimum((plane[::-1] * len(BANDS)).astype(int), len(BANDS) - 1)):
        edges = [0, *(np.flatnonzero(np.diff(row)) + 1).tolist(), len(row)]
        for a, b in pairwise(edges):
            strokes.setdefault(int(row[a]), []).append(f"M{a * cell:g} {(i + 0.5) * cell:g}H{b * cell:g}")
    wide = f'stroke-width="{cell + 0.1:.2f}"'
    found = [f'<rect width="{BOX}" height="{BOX}" fill="{BANDS[2]}" stroke="#ccc"/>']
    return found + [
        f'<path d="{"".join(d)}" stroke="{BANDS[band]}" {wide}/>' for band, d in strokes.items() if band != 2
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/ccn-f4"))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    told = parser.parse_args()
    torch.set_num_threads(1)
    runs = []
    for seed in range(told.seeds):
        runs.append(trained(told.out, seed))
        print(
            f"seed {seed}: " + ", ".join(f"{ROWS[n]} {a[-1]:.2%}" for n, a in runs[-1]["accuracy"].items()), flush=True
        )
    found = {"summary": summary(runs), "runs": runs, "environment": environment(torch.device("cpu"))}
    write_json(RESULTS / "results.json", found)
    first = told.out / "seed-0"
    images = open_data("two-spirals")
    ids = Folder(first).read("split.json")["labelled"]
    x, y = images.x[ids].double().numpy(), images.y[ids].numpy()
    labelled = {BLUE: x[y == 0], ORANGE: x[y == 1]}
    with np.load(first / "regions.npz") as planes:
        shown = tuple(e for e in EPOCHS if e)
        write_bytes(RESULTS / "regions.svg", picture(dict(planes), runs[0], labelled, shown).encode())


if __name__ == "__main__":
    main()
