"""Why are some methods below the labels alone on a bank? `python scripts/below_on_bank.py`, some 50 minutes of a core.

CIFAR-10 and CIFAR-100 of scripts/photographs.py (a pool of 10,000, 4 labels a class, `lite0`), label draws 100 to 102, which
no table uses, scored by the hidden labels of the pool: each method as the tables have it, and with one thing changed. Rows
of results/below-on-bank.jsonl; what is in it is not made again. Its table is made by scripts/all_methods.py.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from pages import gained
from photographs import ALONE, at_size, pool, run
from trials import has, keep, read

RESULTS = Path(__file__).parent.parent / "results" / "below-on-bank.jsonl"
VIEWS, LABELS = (2, 4), 4
DRAWS = range(100, 103)
TEN, HUNDRED = "cifar10-10k", "cifar100-10k"
BOTH = (TEN, HUNDRED)
# method, what is changed of the tables' row, on which sets
TRIALS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("supervised", "", BOTH),
    ("supervised", "net=mlp", BOTH),
    ("temporal_ensembling", "", BOTH),
    ("temporal_ensembling", "weight=0", BOTH),
    ("temporal_ensembling", "optim.lr=0.0003", BOTH),
    ("temporal_ensembling", "optim.lr=0.0003, weight=0", BOTH),
    ("vadd", "", BOTH),
    ("vadd", "entmin=0", BOTH),
    ("vadd", "weight=0, entmin=0", BOTH),
    ("vadd", "optim.lr=0.0003", BOTH),
    ("vat", "", BOTH),
    ("vat", "entmin=0", BOTH),
    ("vat", "weight=0", BOTH),
    ("vat", "weight=0, entmin=0", BOTH),
    ("sntg", "net=mlp", BOTH),
    ("sntg", "net=mlp, weight=0", BOTH),
    ("sntg", "net=mlp, weight=1", BOTH),
    ("sntg", "net=mlp, settings=optim.lr=0.0003", BOTH),
    ("sntg", "net=mlp, weight=0, settings=optim.lr=0.0003", BOTH),
    ("on_discarded", "", BOTH),
    ("on_discarded", "settings=optim.lr=0.03 optim.weight_decay=5e-4", BOTH),
    ("on_discarded", "weight=0, start_weight=0", BOTH),
    ("on_discarded", "start_weight=0", BOTH),
    ("deep_co_training", "", (HUNDRED,)),
    ("deep_co_training", "lambda_cot=0, lambda_dif=0", (HUNDRED,)),
    ("deep_co_training", "lambda_dif=0", (HUNDRED,)),
    ("deep_co_training", "lambda_cot=1", (HUNDRED,)),
    ("mixmatch", "", BOTH),
    ("mixmatch", "lambda_u=0", (HUNDRED,)),
    ("mixmatch", "lambda_u=100", (HUNDRED,)),
    ("mixmatch", "T=1", (HUNDRED,)),
    ("mixmatch", "optim.lr=0.0005", BOTH),
    ("mixmatch", "alpha=0.01", (HUNDRED,)),
    ("mixmatch", "alpha=0.01, lambda_u=0", (HUNDRED,)),
    ("mixmatch", "alpha=0.01, lambda_u=0, optim.lr=0.0005", (HUNDRED,)),
    ("remixmatch", "", (HUNDRED,)),
    ("remixmatch", "lambda_u=0, lambda_1=0", (HUNDRED,)),
    ("remixmatch", "T=1", (HUNDRED,)),
    ("remixmatch", "alpha=0.01", (HUNDRED,)),
    ("remixmatch", "optim.lr=0.0005", (HUNDRED,)),
    ("r2d2", "", BOTH),
    ("r2d2", "ablation=a", BOTH),
    ("r2d2", "beta=0", BOTH),
    ("r2d2", "label_lr=0", BOTH),
    ("r2d2", "supervised.lr=0.2", BOTH),
    ("r2d2", "d2.lr=0.003", BOTH),
    ("r2d2", "supervised.lr=0.0125", BOTH),
    ("r2d2", "supervised.lr=0.003", BOTH),
)


def keys(changed: str) -> tuple[str, ...]:
    given = [key for key in changed.split(", ") if key]
    return (*ALONE, *(key if key.startswith("net=") else f"method.{key}" for key in given))


def table(rows: list[dict[str, Any]]) -> list[str]:
    scores: dict[tuple[str, str, str], dict[int, float]] = {}
    for row in rows:
        scores.setdefault((row["method"], row["changed"], row["set"]), {})[row["draw"]] = 100 * row["pool"]
    said = ["| method | changed | CIFAR-10 | CIFAR-100 |", "| --- | --- | --- | --- |"]
    for method, changed, sets in TRIALS:
        cells = []
        for of in BOTH:
            own, base = scores.get((method, changed, of), {}), scores.get(("supervised", "", of), {})
            gains = [own[d] - base[d] for d in sorted(set(own) & set(base))]
            over = "" if (method, changed) == ("supervised", "") or len(gains) < 2 else f", {gained(gains)}"
            cells.append(f"{sum(own.values()) / len(own):.1f}{over}" if own and of in sets else "")
        said.append(f"| {method} | {changed or 'nothing'} | {' | '.join(cells)} |")
    return said


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--root", type=Path, default=Path("data"))
    options.add_argument("--draws", type=int, nargs="+", default=list(DRAWS))
    told = options.parse_args()
    torch.set_num_threads(1)
    rows = read(RESULTS)
    images = {of: at_size(pool(of, told.root)) for of in BOTH}
    for draw in told.draws:
        for method, changed, sets in TRIALS:
            for of in sets:
                about = {"set": of, "method": method, "changed": changed, "draw": draw}
                if has(rows, about):
                    continue
                found = run(images[of], draw, method, keys(changed), VIEWS, LABELS)
                del found["test"]
                keep(RESULTS, rows, {**about, **found})


if __name__ == "__main__":
    main()
