"""What alignment is worth, and what a wrong prior costs: MNIST with 20 labels, whole and thinned to a tail of 1:10.

python scripts/align_prior.py --root data    # results/align.jsonl; a run that is in it is not made again

FixMatch and DNLL without alignment and aligned to each prior, label draws 100 to 105, which no table uses. Two labels a
class, also of the thinned pool, as a person would label: there both `uniform` and `labels` are wrong. Scored on hidden
labels of training images, as many of each class; test images are not looked at.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from trials import has, keep, read
from weak_pass import METHODS, SETS, run

from halfseen.data import open_data

RESULTS = Path("results/align.jsonl")
PRIORS = ("off", "uniform", "labels", "estimate")
DRAWS = range(100, 106)
TAIL = 10  # times as many images in the first class as in the last


def pools(root: Path) -> dict[str, Any]:
    """Images and labels of the whole set, and of one that keeps 10^(-k/9) of class k."""
    whole = open_data("mnist", root=root)
    x, y = whole.x[:, 0].numpy(), whole.y.numpy()
    random, kept = np.random.default_rng(0), []
    for k in range(10):
        ids = np.flatnonzero(y == k)
        kept.append(random.choice(ids, round(5400 * TAIL ** (-k / 9)), replace=False))
    thin = np.sort(np.concatenate(kept))
    return {"mnist": {"x": x, "y": y}, "mnist, tail 1:10": {"x": x[thin], "y": y[thin]}}


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--root", type=Path, default=Path("data"))
    sets = pools(options.parse_args().root)
    done = read(RESULTS)
    for draw in DRAWS:
        for name, data in sets.items():
            for method, keys in METHODS.items():
                for prior in PRIORS:
                    about = {"data": name, "method": method, "align_to": prior, "draw": draw}
                    if has(done, about):
                        continue
                    more = () if prior == "off" else ("method.align=true", f"method.align_to={prior}")
                    given = {**SETS["mnist"], "method": method, "overrides": (*keys, *more), "extra_val_per_class": 50}
                    found = {**about, **run(data, draw, **given)}
                    keep(RESULTS, done, found)


if __name__ == "__main__":
    main()
