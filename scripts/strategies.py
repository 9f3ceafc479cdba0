"""Which images to label: the strategies of halfseen/suggest/strategies.py in numbers. `python scripts/strategies.py SET`.

SETS: cifar10-10k (or another pool: cifar10-500), letters, blood. Rows: 40 labels chosen at once, and 4 rounds of 10 with
what the labels so far have taught in between; seeds 0 to 4 (--seeds 0 5). Each is scored by logistic regression and by label
spreading (`probes`) on the features of lite0 at 96 pixels: accuracy on test images, or, where there are none, on the rest of
the pool. results/strategies.jsonl; what is in it is not made again. --out: another file. --table: into docs/labelling.md.

A strategy that asks a model asks the logistic regression of the rounds before, and begins with 10 at random or, as
"typical, then NAME", with typical ones. The committee is both probes and the nearest means.
"""

import argparse
import json
import time
import warnings
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from pages import filled, start

from halfseen.backbones import load_backbone
from halfseen.data import ImageSet, open_data
from halfseen.data.bank import Bank, banked
from halfseen.data.store import Views
from halfseen.probes import graph, probe, prototype
from halfseen.probes.rows import Array, scale_of
from halfseen.suggest.strategies import Seen, chosen

RESULTS = Path("results/strategies.jsonl")
ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "labelling.md"
SIDE, TESTED = 96, 2000
LABELS, ROUNDS = 40, 4
ALONE = ("random", "typical", "core-set")  # that ask no model
ASKING = ("least-sure", "margin", "disagreement", "spread")
ROWS = [
    *((name, 1) for name in ALONE),
    *((name, ROUNDS) for name in (*ALONE, *ASKING)),
    *((f"typical, then {name}", ROUNDS) for name in ASKING),
]
SCORED = ("logistic regression", "label spreading")


def opened(name: str, root: Path, side: int | None = SIDE) -> ImageSet:
    """The images of a set; of CIFAR-10 some, the same ones whenever they are asked for. side None: their own."""
    kind, _, size = name.partition("-")
    if kind == "cifar10":
        whole = open_data("cifar10", root=root)
        assert whole.test_x is not None
        assert whole.test_y is not None
        random = np.random.default_rng(0)
        count = int(size.removesuffix("k")) * (1000 if size.endswith("k") else 1)
        rows = np.sort(random.permutation(len(whole.x))[:count])
        test = np.sort(random.permutation(len(whole.test_x))[: min(TESTED, 4 * count)])
        arrays = {"x": whole.x[rows], "test_x": whole.test_x[test], "y": whole.y[rows], "test_y": whole.test_y[test]}
        given = {k: v.permute(0, 2, 3, 1).numpy() if v.ndim == 4 else v.numpy() for k, v in arrays.items()}
        return open_data(given, size=side, flip=True)
    return open_data(root / {"blood": "folders/blood-cells", "letters": "folders/letters"}[kind], size=side)


class Set:
    """Features and labels; a strategy sees the labels of what it has chosen and no others."""

    def __init__(self, name: str, root: Path) -> None:
        images = opened(name, root)
        made = banked(images, load_backbone("lite0"), Views(), only_clean=True)
        bank = made.bank
        assert isinstance(bank, Bank)
        self.h, self.y = bank.clean(made.x[:, 0]).numpy(), images.y.numpy()
        scale = scale_of(self.h, "unit")
        self.x = scale(self.h)
        self.ground = graph.Ground.of(scale, self.x)
        self.classes = images.num_classes
        self.test: tuple[Array, Array] | None = None
        if made.test_x is not None and images.test_y is not None:
            self.test = bank.clean(made.test_x[:, 0]).numpy(), images.test_y.numpy()

    def fitted(self, name: str, ids: Array) -> Any:
        y = self.y[ids]
        if name == "label spreading":
            return self.ground.fitted(ids, y, self.classes)
        if name == "nearest means":
            return prototype.fit(self.h[ids], y, self.h, classes=self.classes)
        return probe.fit(self.h[ids], y, self.h, cfg=probe.Config(C=3.0), classes=self.classes)

    def seen(self, ids: Array, committee: bool) -> Seen:
        if len(np.unique(self.y[ids])) < 2:
            return Seen(self.x, ids)
        names = (*SCORED, "nearest means") if committee else SCORED[:1]
        said = [self.fitted(name, ids).predict_proba(self.h) for name in names]
        return Seen(self.x, ids, said[0], np.stack(said))

    def picked(self, strategy: str, rounds: int, seed: int) -> Array:
        first, _, then = strategy.partition(", then ")
        begin = "random" if first in ASKING else first
        ids = np.array([], dtype=np.int64)
        for turn in range(rounds):
            name = begin if turn == 0 else (then or first)
            seen = Seen(self.x, ids) if name in ALONE else self.seen(ids, committee=name == "disagreement")
            if seen.p is None and name in ASKING:
                name = begin  # all labels so far are of one class: there is nothing to ask
            ids = np.concatenate([ids, chosen(name, seen, LABELS // rounds, seed * 100 + turn)])
        return ids

    def scores(self, ids: Array) -> dict[str, float]:
        if self.test is None:
            rest = np.setdiff1d(np.arange(len(self.h)), ids)
            asked, truth = self.h[rest], self.y[rest]
        else:
            asked, truth = self.test
        return {
            name: round(float((self.fitted(name, ids).predict_proba(asked).argmax(1) == truth).mean()), 4)
            for name in SCORED
        }


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Of docs/labelling.md: mean over the seeds, and in brackets the difference to random labels of the same seeds."""
    sets = list(dict.fromkeys(row["set"] for row in rows))
    columns = [f"{name}, {short}" for name in sets for short in ("regression", "spreading")]
    found = ["| labels | strategy | " + " | ".join(columns) + " |", "| --- |" + " --- |" * (1 + len(columns))]
    for strategy, rounds in ROWS:
        cells = []
        for name in sets:
            here = [row for row in rows if row["set"] == name]
            base = {row["seed"]: row for row in here if (row["strategy"], row["rounds"]) == ("random", 1)}
            of = [row for row in here if (row["strategy"], row["rounds"]) == (strategy, rounds)]
            for key in SCORED:
                over = mean(100 * (row[key] - base[row["seed"]][key]) for row in of)
                said = f"{mean(100 * row[key] for row in of):.1f}"
                cells.append(said if (strategy, rounds) == ("random", 1) else f"{said} ({over:+.1f})")
        found.append(f"| {rounds} x {LABELS // rounds} | {strategy} | {' | '.join(cells)} |")
    return found


def page() -> str:
    """What docs/labelling.md should hold."""
    rows = [json.loads(line) for line in (ROOT / RESULTS).read_text().splitlines()]
    return filled(PAGE.read_text(), {start("strategies.py --table"): table(rows)})


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("set", nargs="?")
    options.add_argument("--root", type=Path, default=Path("data"))
    options.add_argument("--seeds", type=int, nargs=2, default=(0, 5))
    options.add_argument("--out", type=Path, default=RESULTS)
    options.add_argument("--table", action="store_true")
    told = options.parse_args()
    done = [json.loads(line) for line in told.out.read_text().splitlines()] if told.out.exists() else []
    if told.table:
        PAGE.write_text(page())
        return
    if told.set is None:
        options.error("name a SET, or say --table")
    torch.set_num_threads(1)
    warnings.filterwarnings(
        "ignore", "The number of unique classes"
    )  # 10 labels of 8 classes are what is measured here
    data = Set(told.set, told.root)
    for seed in range(*told.seeds):
        for strategy, rounds in ROWS:
            about = {"set": told.set, "strategy": strategy, "rounds": rounds, "seed": seed}
            if any(about.items() <= row.items() for row in done):
                continue
            began = time.monotonic()
            ids = data.picked(strategy, rounds, seed)
            found = {**about, **data.scores(ids), "classes": len(np.unique(data.y[ids]))}
            found |= {"ids": ids.tolist(), "seconds": round(time.monotonic() - began, 2)}
            with told.out.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print(json.dumps({k: v for k, v in found.items() if k != "ids"}), flush=True)


if __name__ == "__main__":
    main()
