"""What DNLL gains from more negatives, earlier dropout and longer terms: by hidden labels of training images.

python scripts/dnll_settings.py --root data    # results/dnll-settings.jsonl; a run that is in it is not made again

MNIST with 20 labels, half the length of `mnist-small` and all else as there, aligned to the uniform prior; label draws 100,
102 and 104, which no table uses: 104 loses a class without alignment. Scored on 1,000 hidden labels of training images.
"""

import argparse
from pathlib import Path
from typing import Any

from trials import has, keep, read
from weak_pass import SETS, run

RESULTS = Path("results/dnll-settings.jsonl")
DRAWS = (100, 102, 104)
LONG: dict[str, dict[str, Any]] = {  # at the recipe's length, with 100 labels
    "m 6, 64 unlabelled": {},
    "m 6, 32 unlabelled": {"unlabelled_batch": 32},
    "m 9, 64 unlabelled": {"overrides": ("method.m=9",)},
}
CANDIDATES: dict[str, tuple[str, ...]] = {
    "m 3": (),
    "m 6": ("method.m=6",),
    "m 9": ("method.m=9",),
    "m 3, early dropout 0.1": ("net.early_dropout=0.1",),
    "m 3, early dropout 0.25": ("net.early_dropout=0.25",),
    "m 6, early dropout 0.1": ("method.m=6", "net.early_dropout=0.1"),
    "m 6, lambda_u 4": ("method.m=6", "method.lambda_u=4"),
    "m 6, equal probability": ("method.m=6", "method.epm=false"),
}
KEYS = (
    "method.optim.lr=0.1",
    "method.optim.weight_decay=5e-4",
    "net.width=16",
    "method.lambda_u=2",
    "method.align=true",
    "method.align_to=uniform",
)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--root", type=Path, default=Path("data"))
    options.add_argument("--long", action="store_true", help="the runs with 100 labels only")
    told = options.parse_args()
    done = read(RESULTS)
    asked: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"settings": name, "draw": draw}, {"passes": 8e5, "overrides": (*KEYS, *keys)})
        for draw in DRAWS
        for name, keys in CANDIDATES.items()
    ]
    for draw in DRAWS[:2]:
        for name, given in LONG.items():
            more = {"num_labels": 100, "passes": 1.6e6, **given}
            keys = (*KEYS, "method.m=6", *more.pop("overrides", ()))
            asked.append(({"settings": f"100 labels, {name}", "draw": draw}, {**more, "overrides": keys}))
    for about, given in asked[::-1] if told.long else asked:
        if has(done, about) or (told.long and "num_labels" not in given):
            continue
        found = {
            **about,
            **run("mnist", about["draw"], **{**SETS["mnist"], "method": "dnll", "root": told.root, **given}),
        }
        keep(RESULTS, done, found)


if __name__ == "__main__":
    main()
