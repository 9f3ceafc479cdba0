"""What the answers so far teach, in seconds: label spreading over the bank's features, its score, and what to ask next.

    p = Ground.fitted(the labels so far): of every picture, while somebody labels

The score is of pictures that were drawn at random and named without a guess in sight, each told by labels without its own
and those of its fold; or of a validation part, where the folder has one. Pictures that were chosen because they are hard,
or typical, would say too little or too much.
"""

import time
from dataclasses import dataclass

import numpy as np

from halfseen.probes.graph import Ground
from halfseen.probes.rows import Array, Scale
from halfseen.suggest.choose import best, early
from halfseen.suggest.strategies import Seen, chosen

FOLDS = 10
LEVEL = 0.95


@dataclass(frozen=True)
class Score:
    right: int
    asked: int
    low: float  # exact interval (Clopper-Pearson)
    high: float
    where: str  # "random" pictures of the pool, or "val"


@dataclass(frozen=True, eq=False)
class Learnt:
    p: Array  # [N, K]
    classes: tuple[str, ...]
    labels: int  # it learnt from
    score: Score | None
    seconds: float


@dataclass(frozen=True, eq=False)
class Given:
    """The answers at one moment."""

    ids: Array  # labelled pictures
    y: Array  # [len(ids)] numbers of classes
    random: Array  # places in ids of those that were drawn at random
    classes: tuple[str, ...]


def ground_of(x: Array) -> Ground:
    """The graph of the pool, whose rows are scaled already."""
    return Ground.of(Scale(np.zeros(1, np.float32), np.ones(1, np.float32), False), x)


def learn(ground: Ground, given: Given, val: tuple[Array, Array] | None) -> Learnt:
    """val: rows and the numbers of their classes, -1 where no picture of the pool has such a label yet."""
    began = time.monotonic()
    K = len(given.classes)
    fitted = ground.fitted(given.ids, given.y, K)
    score = None
    if val is not None:
        said = fitted.predict_proba(val[0]).argmax(1)
        score = scored(int((said == val[1]).sum()), len(said), "val")
    elif len(given.random):
        right = 0
        for held in np.array_split(given.random, min(FOLDS, len(given.random))):
            rest = np.setdiff1d(np.arange(len(given.ids)), held)
            if len(rest):
                p = ground.fitted(given.ids[rest], given.y[rest], K).p[given.ids[held]]
                right += int((p.argmax(1) == given.y[held]).sum())
        score = scored(right, len(given.random), "random")
    return Learnt(fitted.p, given.classes, len(given.ids), score, time.monotonic() - began)


def scored(right: int, asked: int, where: str) -> Score:
    from scipy.special import betaincinv

    tail = (1 - LEVEL) / 2
    low = 0.0 if right == 0 else float(betaincinv(right, asked - right + 1, tail))
    high = 1.0 if right == asked else float(betaincinv(right + 1, asked - right, 1 - tail))
    return Score(right, asked, low, high, where)


def wanted(x: Array, labelled: Array, p: Array | None, classes: int, num: int, seed: int) -> tuple[Array, bool]:
    """What to ask next, and whether it is what a model is unsure of; before that can be known, what is typical."""
    if p is None or p.shape[1] < 2 or early(len(labelled), classes):
        return chosen("typical", Seen(x, labelled), num, seed), False
    return best(Seen(x, labelled, p), num, seed), True
