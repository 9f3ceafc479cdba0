"""Labels that are probably wrong: what the other labels say of each labelled picture, while its own is hidden.

    p(x_i)   label spreading over all pictures' features, from the labels of the folds that i is not in; mean of REPEATS
             foldings
    order    by cleanlab's self-confidence p_{i, label of i}, the least first; the list are those that confident learning
             (Northcutt et al. 2021, arXiv:1911.00068) takes for errors, or, where a number is asked for, the first so many

Of ten classes and 200 labels, 20 of them wrong, 65% of the first 20 were wrong and a third of those taken for errors: a list
to look at and not to follow (results/wrong-labels.jsonl). Logistic regression, or the mean of both, did no better.

The features are a backbone's, which no label has shaped: a network that was trained on wrong labels would agree with them.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from halfseen.errors import UserError
from halfseen.probes.graph import Ground
from halfseen.probes.rows import Array, Scale, folds
from halfseen.run.beginning import began_with
from halfseen.run.folder import Folder
from halfseen.suggest.choose import MOST, Suggestion
from halfseen.suggest.pool import Pool, is_run

FOLDS, REPEATS = 5, 5


@dataclass(frozen=True, eq=False)
class Doubted:
    """Labelled pictures by doubt, the most doubtful first."""

    order: Array  # [n] places among the labelled pictures that could be asked
    p: Array  # [L, K]
    suspected: Array  # [L] bool


def need_cleanlab() -> None:
    if importlib.util.find_spec("cleanlab") is None:
        raise UserError("--wrong needs its extra; run pip install 'halfseen[clean]'")


def wrong(pool: Pool, num: int | None, seed: int = 0) -> list[Suggestion]:
    """The labels to look at again. num: none: those that are suspected."""
    need_cleanlab()
    if num is not None and not 0 < num <= MOST:
        raise UserError(f"--num {num}: ask for 1 to {MOST} pictures at once")
    ids = pool.labelled
    names = sorted({pool.labels[i] for i in ids})
    y = np.array([names.index(pool.labels[i]) for i in ids])
    if len(names) < 2 or np.bincount(y).max(initial=0) < 2:
        raise UserError(
            f"{pool.folder} has {len(ids)} labels of {len(names)} classes: to doubt one needs two classes, and another "
            "label of its own class; label a few more"
        )
    found = doubted(pool.x, ids, y, len(names), seed)
    chosen = found.order[found.suspected[found.order]] if num is None else found.order[:num]
    return [
        Suggestion(
            pool.paths[ids[i]],
            f"labelled {names[y[i]]}" + ("" if found.suspected[i] else ", not suspected"),
            names[int(found.p[i].argmax())],
            round(float(found.p[i].max()), 3),
            label=names[y[i]],
        )
        for i in chosen
    ]


def doubted(x: Array, ids: Array, y: Array, classes: int, seed: int = 0) -> Doubted:
    """x [N, d] of all pictures, of length 1; ids [L] the labelled ones, y [L] their labels."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    p, asked = held_out(x, ids, y, classes, seed)
    some = np.flatnonzero(asked)
    scores = get_label_quality_scores(y[some], p[some])
    issues = np.zeros(len(y), bool)
    issues[some] = find_label_issues(y[some], p[some], n_jobs=1)
    return Doubted(some[np.argsort(scores, kind="stable")], p, issues)


def held_out(x: Array, ids: Array, y: Array, classes: int, seed: int) -> tuple[Array, Array]:
    """[L, K] what the labels of other folds say of each labelled picture; and which were ever asked about."""
    ground = Ground.of(Scale(np.zeros(1, np.float32), np.ones(1, np.float32), False), x)
    p, asked = np.zeros((len(y), classes)), np.zeros(len(y))
    for shown, held in folds(y, FOLDS, REPEATS, seed):
        p[held] += ground.fitted(ids[shown], y[shown], classes).p[ids[held]]
        asked[held] += 1
    return p / np.maximum(asked, 1)[:, None], asked > 0


def need_unshaped(source: Path) -> None:
    """A run from scratch has no features but those that its labels made."""
    if not is_run(source):
        return
    config, began = began_with(Folder.open(source))
    if began.backbone in ("none", "auto"):
        raise UserError(
            f"{source} was trained from scratch, so its network has learnt wrong labels too: ask a backbone, "
            f"halfseen suggest {config['data']} --wrong"
        )
