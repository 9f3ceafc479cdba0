"""Suggestions: which pictures, why, and what the model takes them for."""

from dataclasses import dataclass, replace

import numpy as np

from halfseen.errors import UserError
from halfseen.probes.rows import Array
from halfseen.suggest.pool import Pool
from halfseen.suggest.strategies import Seen, apart, chosen, divergence, margins, named, spread

BEFORE = 40  # suggestions before any run
AFTER = 20
FIRST = 10  # labels up to which typical pictures are asked for, whatever the number of classes
# and up to so many for each class: on tuning draws of CIFAR-10 nothing was better than typical ones until then, whatever a
# model was unsure of
EACH = 4
MOST = 500  # at once: more is better chosen after a training
WHY = {
    "random": "at random",
    "typical": "typical of pictures like it",
    "core-set": "unlike all that is labelled",
}


@dataclass(frozen=True)
class Suggestion:
    path: str
    why: str
    guess: str = ""
    confidence: float | None = None
    label: str = ""  # that it has


def suggestions(pool: Pool, num: int | None, strategy: str = "auto", seed: int = 0) -> list[Suggestion]:
    """`auto`: typical ones while labels are few; then those of which a model is least sure or its networks disagree."""
    if strategy != "auto":
        named(strategy)
    number = num if num is not None else BEFORE if pool.p is None else AFTER
    if not 0 < number <= MOST:
        raise UserError(f"--num {number}: ask for 1 to {MOST} pictures at once")
    seen = pool.seen
    if len(seen.labelled) == len(pool.paths):
        raise UserError(f"every picture of {pool.folder} has its label: there is none to suggest")
    ids = best(seen, number, seed) if strategy == "auto" else chosen(strategy, seen, number, seed)
    used = strategy if strategy != "auto" else "typical" if first(seen) else "spread"
    return [suggestion(pool, int(i), used) for i in ids]


def first(seen: Seen) -> bool:
    """Nobody can be asked yet, or not with profit."""
    return seen.p is None or early(len(seen.labelled), seen.p.shape[1])


def early(labelled: int, classes: int) -> bool:
    """Whether typical pictures teach more than those that a model is unsure of."""
    return labelled < max(FIRST, EACH * classes)


def best(seen: Seen, num: int, seed: int = 0) -> Array:
    """What `auto` takes."""
    if first(seen):
        return chosen("typical", seen, num, seed)
    assert seen.p is not None
    unsure = doubt(seen.p, seen.committee)
    return apart(seen.x, spread(seen.x, unsure, num, seen.labelled, seed), num, seen.labelled)


def doubt(p: Array, committee: Array | None) -> Array:
    """[N] in 0..1: 1 - margin, and with several networks the mean of it and their disagreement, which is log M at most."""
    found: Array = 1 - margins(p)
    return found if committee is None else (found + divergence(committee) / np.log(len(committee))) / 2


def suggestion(pool: Pool, i: int, strategy: str) -> Suggestion:
    if pool.p is None:
        return Suggestion(pool.paths[i], WHY[strategy])
    row = pool.p[i]
    order = np.argsort(-row, kind="stable")
    first, second = int(order[0]), int(order[1])
    found = Suggestion(pool.paths[i], WHY.get(strategy, ""), pool.says[first], round(float(row[first]), 3))
    if found.why:
        return found
    if pool.committee is not None:
        opinions = dict.fromkeys(pool.says[int(k)] for k in pool.committee[:, i].argmax(1))
        if len(opinions) > 1:
            return replace(found, why=f"networks disagree: {' or '.join(opinions)}")
    return replace(found, why=f"{pool.says[first]} {row[first]:.0%}, {pool.says[second]} {row[second]:.0%}")
