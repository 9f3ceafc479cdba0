"""Why are some methods below the labels alone? `python scripts/below_supervised.py`, forty minutes of a core.

The recipes `digits-all` (40 labels, 200,000 network passes) and `mnist-all` (20 labels, 1.6 million; with 100 on draw 100
only) on label draws 100 to 102, which no table uses, scored by the hidden labels of the pool: each method as it is there,
longer, and with one thing changed. Rows of results/below-supervised.jsonl; what is in it is not made again. Its table
(means, and differences to supervised of the same length on the same draws) is made by scripts/all_methods.py.
"""

import argparse
from pathlib import Path
from typing import Any

from pages import gained
from trials import has, keep, read, trained

from halfseen.recipes.mnist import COMMON, SUPERVISED

RESULTS = Path(__file__).parent.parent / "results" / "below-supervised.jsonl"
SHORT, LONG, MNIST = 2e5, 8e5, 1.6e6
SETS = {"digits": ("digits", 40), "mnist": ("mnist", 100), "mnist-20": ("mnist", 20), "mnist-5k": ("mnist-5k", 100)}
_, _, SUPERVISED_KEYS = SUPERVISED.method.partition(":")
TRIALS: dict[str, tuple[str, str, str, float]] = {  # one of SETS, method, keys, passes
    "supervised": ("digits", "supervised", SUPERVISED_KEYS, SHORT),
    "supervised, four times": ("digits", "supervised", SUPERVISED_KEYS, LONG),
    "dmt": ("digits", "dmt", "", SHORT),
    "dmt, four times": ("digits", "dmt", "", LONG),
    "dmt, rounds=1": ("digits", "dmt", "rounds=1", SHORT),
    "dmt, mixup=0": ("digits", "dmt", "mixup=0", SHORT),
    "dmt, rounds=1, mixup=0": ("digits", "dmt", "rounds=1,mixup=0", SHORT),
    "dmt, gamma=0": ("digits", "dmt", "gamma1=0,gamma2=0", SHORT),
    "remixmatch": ("digits", "remixmatch", "K=1", SHORT),
    "remixmatch, four times": ("digits", "remixmatch", "K=1", LONG),
    "deep_co_training": ("digits", "deep_co_training", "", SHORT),
    "deep_co_training, four times": ("digits", "deep_co_training", "", LONG),
    "deep_co_training, lambda_dif=0": ("digits", "deep_co_training", "lambda_dif=0", SHORT),
    "deep_co_training, lambda_cot=1": ("digits", "deep_co_training", "lambda_cot=1", SHORT),
    "mnist: supervised": ("mnist", "supervised", SUPERVISED_KEYS, MNIST),
    "mnist: temporal_ensembling": ("mnist", "temporal_ensembling", "", MNIST),
    "mnist: temporal_ensembling, weight=0": ("mnist", "temporal_ensembling", "weight=0", MNIST),
    "mnist: temporal_ensembling, weight=3": ("mnist", "temporal_ensembling", "weight=3", MNIST),
    "mnist: temporal_ensembling, a pool of 5,000": ("mnist-5k", "temporal_ensembling", "", MNIST),
    "mnist: vadd": ("mnist", "vadd", "", MNIST),
    "mnist: vadd, entmin=0.1": ("mnist", "vadd", "entmin=0.1", MNIST),
    "mnist, 20 labels: supervised": ("mnist-20", "supervised", SUPERVISED_KEYS, MNIST),
    "mnist, 20 labels: vadd": ("mnist-20", "vadd", "", MNIST),
    "mnist, 20 labels: vadd, entmin=0": ("mnist-20", "vadd", "entmin=0", MNIST),
    "mnist, 20 labels: vadd, entmin=0.1": ("mnist-20", "vadd", "entmin=0.1", MNIST),
    "mnist, 20 labels: vadd, weight=0": ("mnist-20", "vadd", "weight=0", MNIST),
}
DRAWS = range(100, 103)


def run(data: str, method: str, keys: str, passes: float, draw: int) -> dict[str, Any]:
    source, labels = SETS[data]
    changes: dict[str, Any] = {"num_labels": labels, "passes": passes, "seed": draw, "split_seed": draw}
    if method == "supervised":
        changes |= SUPERVISED.changes
    metrics, _ = trained(source, method, keys, COMMON, **changes)
    return {
        "pool": round(metrics["unlabelled"]["accuracy"], 4),
        "steps": metrics["steps"],
        "passes": metrics["passes"],
        "seconds": metrics["seconds"],
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    scores: dict[str, dict[int, float]] = {}
    for row in rows:
        scores.setdefault(row["trial"], {})[row["draw"]] = 100 * row["pool"]
    said = ["| | hidden labels right | over supervised (95%) | steps |", "| --- | --- | --- | --- |"]
    for name, own in scores.items():
        other = "supervised, four times" if name.endswith("four times") else "supervised"
        base = scores[f"{name.partition(':')[0]}: supervised" if name.startswith("mnist") else other]
        gains = [own[d] - base[d] for d in sorted(set(own) & set(base))]
        over = "" if own is base else f"{gains[0]:+.1f}"
        if own is not base and len(gains) > 1:
            over = gained(gains)
        steps = next(row["steps"] for row in rows if row["trial"] == name)
        said.append(f"| {name} | {sum(own.values()) / len(own):.1f} | {over} | {steps:,} |")
    return said


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.parse_args()
    rows = read(RESULTS)
    for draw in DRAWS:
        for name, trial in TRIALS.items():
            about = {"trial": name, "draw": draw}
            if (name.startswith("mnist:") and draw > DRAWS[0]) or has(rows, about):
                continue
            found = {**about, **run(*trial, draw)}
            keep(RESULTS, rows, found)


if __name__ == "__main__":
    main()
