"""What `--method auto` knows beforehand: gains over the probe on tuning draws, of whole runs and of folds of the labels.

python scripts/choices.py cifar10-10k --root data    # results/choices.jsonl; what is in it is not made again
python scripts/choices.py --rules                    # results/choices.md: what rules would have chosen

The sets of scripts/photographs.py, 4 labels a class, `lite0` at 96 pixels, 2 weak and 4 strong views; draws from 100 on,
which no table uses. `accuracy`: of the hidden labels of the pool. `folds`: for each folding of the labelled images, while
they were held out, how many a method had right and the probe wrong, the reverse, and of how many. `agreement`: the share of
the pool that it takes for the probe's class; `steadiness`: the share that the runs on folds take for the class that the run
on all labels does. (Rows of draws 100 to 102 without the last two are of one folding.)
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from photographs import at_size, pool
from torch import Tensor

from halfseen import methods
from halfseen.data import ImageSet
from halfseen.data.bank import Bank
from halfseen.machine.progress import Meter
from halfseen.probes import PROBES
from halfseen.probes.rows import Array, folds
from halfseen.run.choose import (
    DEFAULT,
    EXPECTED,
    FOLD_STEPS,
    FOLDS,
    REPEATS,
    SPREAD,
    counted,
    probabilities,
    weighed,
)
from halfseen.run.labels import draw_split
from halfseen.run.start import started, usual
from halfseen.settings import Settings

RESULTS, RULES = Path("results/choices.jsonl"), Path("results/choices.md")
SHORTLISTS = (("fixmatch", "graph"), ("mixmatch", "graph"), ("fixmatch", "mixmatch"), ("fixmatch", "mixmatch", "graph"))
TRIED = ("fixmatch", "graph", "mixmatch")  # what could be in the shortlist; what is, is EXPECTED
EDGES = (0, 40, 150, 500, 10**9)  # images a class: sets between two of them are one point of what is expected


def look(images: ImageSet, draw: int, repeats: int, names: Sequence[str]) -> dict[str, Any]:
    """names: methods beside the probe."""
    s = usual(
        Settings(
            backbone="lite0", size=96, labels_per_class=4, val="none", seed=draw, split_seed=draw, threads=1, quiet=True
        )
    )
    rows, _ = started(images, s)
    assert isinstance(rows.bank, Bank)
    split = draw_split(images, methods.load(DEFAULT).method, s)
    hidden = split.unlabelled[~torch.isin(split.unlabelled, split.labelled)]
    y, truth = images.y[split.labelled].numpy(), images.y[hidden].numpy()
    seen, features = rows.bank.every_view(split.labelled).numpy(), rows.bank.clean(rows.x[:, 0]).numpy()
    pool_rows = rows.bank.clean(hidden).numpy()

    def said(name: str, shown: Array, held: Array) -> tuple[Array, Array]:
        """Classes of the labelled images that are held out, and of the hidden ones."""
        if name in PROBES:
            fitted = PROBES[name].fit(seen[shown], y[shown], features, classes=images.num_classes)
            ours = fitted.predict_proba(seen[held, 0]) if len(held) else np.zeros((0, 1))
            return ours.argmax(1), fitted.predict_proba(pool_rows).argmax(1)
        given = usual(replace(s, method=name))
        if len(held):
            given = replace(given, steps=FOLD_STEPS, epochs=None, passes=None, minutes=None)
        ids: Tensor = split.labelled[torch.from_numpy(held)]
        found = probabilities(images, given, ids, also=hidden).argmax(1).numpy()
        return found[: len(ids)], found[len(ids) :]

    every, none = np.arange(len(y)), np.zeros(0, int)
    whole = {name: said(name, every, none)[1] for name in ("probe", *names)}
    counts: dict[str, list[list[int]]] = {name: [] for name in names}
    steady: dict[str, list[float]] = {name: [] for name in whole}
    for repeat in range(repeats):
        right = {name: np.zeros(len(y), bool) for name in whole}
        asked = np.zeros(len(y), bool)
        for shown, held in folds(y, FOLDS, 1, draw + 1000 * repeat):
            asked[held] = True
            for name in whole:
                ours, others = said(name, shown, held)
                right[name][held] = ours == y[held]
                steady[name].append(float((others == whole[name]).mean()))
        for name in names:
            counts[name].append(list(counted(right[name][asked], right["probe"][asked])))
    return {
        "images_a_class": len(split.unlabelled) // images.num_classes,
        "accuracy": {name: round(float((whole[name] == truth).mean()), 4) for name in whole},
        "folds": counts,
        "agreement": {name: round(float((whole[name] == whole["probe"]).mean()), 4) for name in names},
        "steadiness": {name: round(mean(found), 4) for name, found in steady.items()},
    }


# ---- rules -------------------------------------------------------------------------------------------------------------

Row = dict[str, Any]
Points = dict[str, list[tuple[float, float]]]


def points(rows: list[Row], names: Sequence[str]) -> Points:
    """By method, (images a class, gain over the probe): means of sets' means between two EDGES."""
    found: Points = {name: [] for name in names}
    for low, high in pairwise(EDGES):
        sets: dict[str, list[Row]] = {}
        for row in rows:
            if low <= row["images_a_class"] < high:
                sets.setdefault(row["set"], []).append(row)
        for name in found if sets else ():
            size = float(np.exp(mean(np.log(own[0]["images_a_class"]) for own in sets.values())))
            found[name].append((size, mean(mean(gain(row, name) for row in own) for own in sets.values())))
    return found


def gain(row: Row, name: str) -> float:
    return float(row["accuracy"][name] - row["accuracy"]["probe"])


def chosen(row: Row, known: Points, spread: float, repeats: int, careful: float) -> str:
    """careful: standard deviations of what is known together that a gain must be above 0."""
    best, most = "probe", 0.0
    for name, at in known.items():
        g = float(np.interp(np.log(row["images_a_class"]), np.log([n for n, _ in at]), [v for _, v in at]))
        found = weighed(name, g, tuple(tuple(c) for c in row["folds"][name][:repeats]), spread)
        value = found.gain - careful * (1 / spread**2 + 1 / found.error**2) ** -0.5
        if value > most:
            best, most = name, value
    return best


HEAD = """# Rules for `--method auto` on tuning draws

By `python scripts/choices.py --rules`, from results/choices.jsonl. Points over the probe on the hidden labels of the pool,
means over the draws of a set; `s`, foldings and `careful` as in halfseen/run/choose.py and scripts/choices.py. Unseen: what
is expected comes from the other sets only, as for a user's folder. `worse`: draws on which a better row was there. In bold:
the rule of the library.
"""
HERE = tuple(EXPECTED)
TRIALS: tuple[tuple[tuple[str, ...], float, int, float], ...] = (  # between what; s, foldings, careful
    *((HERE, s, r, 0.0) for r in (1, 2) for s in (0.03, 0.05, 0.07)),
    *((HERE, s, 2, 0.5) for s in (0.05, 0.07)),
    (HERE, 0.05, 2, 1.0),
    (HERE, 100.0, 2, 0.0),
    *((names, s, 2, 0.0) for names in SHORTLISTS if names != HERE for s in (0.05, 0.07)),
)


def rules(rows: list[Row]) -> str:
    """A line for each rule: its gain over the probe on sets that are unknown to what is expected, and on known ones."""
    sets = list(dict.fromkeys(row["set"] for row in rows))
    columns = [
        "between the probe and",
        "s",
        "foldings",
        "careful",
        "unseen, mean of sets",
        "worst set",
        "worse",
        *sets,
        "seen, mean",
        "worst set",
    ]
    lines = [HEAD, f"| {' | '.join(columns)} |", "| --- |" + " --- |" * (len(columns) - 1)]
    for names, spread, repeats, careful in TRIALS:
        cells: dict[bool, list[float]] = {True: [], False: []}
        worse = 0
        for unseen, gains in cells.items():
            for name in sets:
                own = [row for row in rows if row["set"] == name]
                known = points([row for row in rows if row["set"] != name] if unseen else rows, names)
                picked = [row["accuracy"][chosen(row, known, spread, repeats, careful)] for row in own]
                gains.append(100 * mean(p - row["accuracy"]["probe"] for p, row in zip(picked, own, strict=True)))
                if unseen:
                    worse += sum(p < max(row["accuracy"].values()) for p, row in zip(picked, own, strict=True))
        far, near = cells[True], cells[False]
        mark = "**" if (names, spread, repeats, careful) == (HERE, SPREAD, REPEATS, 0.0) else ""
        what = "folds alone" if spread > 1 else f"{mark}{spread:.2f}{mark}"
        shown = [
            ", ".join(names),
            what,
            str(repeats),
            f"{careful:g}",
            f"{mean(far):+.1f}",
            f"{min(far):+.1f}",
            f"{worse} of {len(rows)}",
        ]
        shown += [f"{v:+.1f}" for v in (*far, mean(near), min(near))]
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def read() -> list[Row]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("sets", nargs="*")
    options.add_argument("--root", type=Path, default=Path("data"))
    options.add_argument("--draws", type=int, nargs=2, default=(100, 106))
    options.add_argument("--repeats", type=int, default=2)
    options.add_argument("--rules", action="store_true")
    told = options.parse_args()
    if told.rules:
        RULES.write_text(rules(read()))
        return
    rows = read()
    torch.set_num_threads(1)
    draws = range(*told.draws)
    with Meter("sets", len(told.sets) * len(draws), what="draws") as meter:
        for name in told.sets:
            images = at_size(pool(name, told.root))
            for draw in draws:
                about = {"set": name, "draw": draw}
                row = next((row for row in rows if about.items() <= row.items()), None)
                if row is None:
                    rows.append(row := about)
                if missing := [one for one in TRIED if one not in row.get("folds", {})]:
                    repeats = len(next(iter(row["folds"].values()))) if "folds" in row else told.repeats
                    for key, found in look(images, draw, repeats, missing).items():
                        row[key] = {**found, **row.get(key, {})} if isinstance(found, dict) else found
                    RESULTS.write_text("".join(json.dumps(row) + "\n" for row in rows))
                    print(json.dumps(row), flush=True)
                meter.advance(1)


if __name__ == "__main__":
    main()
