"""Why is DNLL below the labels alone in `cifar10-small`? `python scripts/cifar_small_trials.py`, 40 minutes of a core.

The recipe at an eighth of its length, on label draw 100, which no table uses, scored by the hidden labels of the pool: the
rows as they are, and with one thing changed. Rows of results/cifar-small-trials.jsonl; what is in it is not made again. Its
table is made by scripts/evidence.py.
"""

import argparse
from pathlib import Path
from typing import Any

from trials import has, keep, read, trained

from halfseen.recipes.small import RECIPES

RESULTS = Path(__file__).parent.parent / "results" / "cifar-small-trials.jsonl"
PASSES, DRAW, LABELS = 5e5, 100, 4000
COMMON = RECIPES["cifar10-small"].common
TRIALS: dict[str, tuple[str, str, dict[str, Any]]] = {  # method, its keys, other settings
    "DNLL": ("dnll", "", {}),
    "supervised, as many steps of as many labels as DNLL": ("supervised", "", {"steps": 521, "passes": None}),
    "DNLL, rate 0.1": ("dnll", "optim.lr=0.1", {}),
    "supervised": ("supervised", "", {"batch": 64}),
    "DNLL, 64 labelled and 64 others a step": ("dnll", "", {"batch": 64, "unlabelled_batch": 64}),
    "DNLL, lambda_u=0: two networks, labels alone": ("dnll", "lambda_u=0", {}),
    "FixMatch": ("fixmatch", "", {}),
}


def table(rows: list[dict[str, Any]]) -> list[str]:
    said = ["| draw 100, 500,000 passes | hidden labels right | steps |", "| --- | --- | --- |"]
    return said + [f"| {row['trial']} | {100 * row['pool']:.1f} | {row['steps']:,} |" for row in rows]


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.parse_args()
    rows = read(RESULTS)
    for name, (method, keys, changes) in TRIALS.items():
        if has(rows, {"trial": name}):
            continue
        settings = {"num_labels": LABELS, "passes": PASSES, "seed": DRAW, "split_seed": DRAW, **changes}
        metrics, _ = trained("cifar10", method, keys, COMMON, **settings)
        row = {
            "trial": name,
            "pool": round(metrics["unlabelled"]["accuracy"], 4),
            "steps": metrics["steps"],
            "seconds": metrics["seconds"],
        }
        keep(RESULTS, rows, row)


if __name__ == "__main__":
    main()
