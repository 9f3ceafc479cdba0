"""What a head's temperature is worth by the size of the pool: `python scripts/temperature.py SET --methods fixmatch dnll`.

SETS: blood (188 images of three classes), cifar10-2k, cifar10-400, three-3k and three-200 (CIFAR-10's airplane, deer, ship).
Label draws 100 and 101, four labels a class, scored by the hidden labels of the pool; results/temperature.jsonl, what is in
it is not made again. nets/linear.py's `warmth` was chosen on these; no test image is looked at.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from photographs import LABELS, pool, run, sklearn_row
from trials import has, keep, read

from halfseen.data import ImageSet, open_data

RESULTS = Path("results/temperature.jsonl")
THREE = torch.tensor([0, 4, 8])
PROBE = "logistic regression"


def images_of(name: str, root: Path) -> ImageSet:
    """At 96 px, without test images."""
    kind, _, size = name.partition("-")
    large = size == "3k"
    images = pool({"blood": "blood", "three": "cifar10-10k" if large else "cifar10-2k"}.get(kind, "cifar10-2k"), root)
    images = replace(images, test_x=None, test_y=None)
    if kind == "three":
        kept = torch.isin(images.y, THREE).nonzero()[:, 0][: None if large else int(size)]
        names = tuple(images.classes[k] for k in THREE.tolist())
        y = torch.searchsorted(THREE, images.y[kept])
        images = replace(images, x=images.x[kept], y=y, given=images.given[kept], classes=names)
    if size == "400":
        images = replace(images, x=images.x[:400], y=images.y[:400], given=images.given[:400])
    if images.shape[1] == 96:
        return images
    return open_data({"x": images.x.permute(0, 2, 3, 1).numpy(), "y": images.y.numpy()}, size=96, flip=True)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("set")
    options.add_argument("--root", type=Path, default=Path("data"))
    options.add_argument("--methods", nargs="*", default=["fixmatch", "dnll"])
    options.add_argument("--temperatures", type=float, nargs="*", default=[5, 20])
    options.add_argument("--keys", nargs="*", default=[], help="more settings, such as method.m=1 or steps=300")
    options.add_argument("--draws", type=int, nargs="*", default=[100, 101])
    told = options.parse_args()
    images = images_of(told.set, told.root)
    torch.set_num_threads(1)
    done = read(RESULTS)
    keys = [key if "." in key or key.startswith("steps=") else f"method.{key}" for key in told.keys]
    if not any(key.startswith("method.align=") for key in keys):
        keys = ["method.align=true", *keys]
    rows = [(PROBE, 0.0)] + [(method, t) for method in told.methods for t in told.temperatures]
    for draw in told.draws:
        for method, t in rows:
            about = {"set": told.set, "method": method, "temperature": t, "keys": keys, "draw": draw}
            if method == PROBE:
                about |= {"keys": []}
            if has(done, about):
                continue
            found = (
                sklearn_row(PROBE, images, draw, (2, 4), LABELS)
                if method == PROBE
                else run(images, draw, method, (*keys, f"net.temperature={t}"), (2, 4), LABELS)
            )
            row = {**about, "pool": found["pool"], "seconds": found["seconds"]}
            keep(RESULTS, done, row)


if __name__ == "__main__":
    main()
