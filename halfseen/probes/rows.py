"""Features as the probes take them: scaled by the whole pool, labelled rows with their views, folds of labelled images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from halfseen.errors import UserError

Array = npt.NDArray[Any]
Kind = Literal["unit", "standardised"]


@dataclass(frozen=True)
class Scale:
    """(x - mean) / std of each feature; `unit`: then divided by its length. Mean and std are those of the pool."""

    mean: Array  # [d]
    std: Array  # [d] or 1
    unit: bool

    def __call__(self, x: Array) -> Array:
        """float32, of the same shape."""
        h = (np.asarray(x, np.float32) - self.mean) / self.std
        if self.unit:
            h /= np.maximum(np.linalg.norm(h, axis=-1, keepdims=True), np.finfo(np.float32).tiny)
        return h


def scale_of(pool: Array, kind: Kind) -> Scale:
    """unit: centred and of length 1; standardised: of deviation 1 in each feature that varies."""
    mean = pool.mean(0, dtype=np.float64).astype(np.float32)
    if kind == "unit":
        return Scale(mean, np.ones(1, np.float32), True)
    std = pool.std(0, dtype=np.float64).astype(np.float32)
    return Scale(mean, np.where(std > 0, std, 1).astype(np.float32), False)


@dataclass(frozen=True)
class Rows:
    labelled: Array  # [L, V, d] scaled; view 0 is the clean one
    y: Array  # [L] 0..classes-1
    pool: Array  # [N, d] scaled
    classes: int
    scale: Scale

    @property
    def clean(self) -> Array:
        """[L, d]"""
        return self.labelled[:, 0]

    def widened(self, p: Array, known: Array) -> Array:
        """Probabilities of the classes that have labelled images as columns of all classes."""
        out = np.zeros((len(p), self.classes), np.float32)
        out[:, known] = p
        return out


def rows_of(labelled: Array, y: Array, pool: Array, classes: int | None, kind: Kind) -> Rows:
    labelled, y, pool = (np.asarray(thing) for thing in (labelled, y, pool))
    if labelled.ndim == 2:
        labelled = labelled[:, None]
    if labelled.ndim != 3 or pool.ndim != 2 or labelled.shape[2] != pool.shape[1]:
        raise UserError(
            f"labelled features {list(labelled.shape)} and the pool {list(pool.shape)} do not fit: give [L, d] or "
            "[L, V, d], and [N, d]"
        )
    if y.shape != labelled.shape[:1]:
        raise UserError(
            f"there are {len(labelled)} labelled rows and labels {list(y.shape)}: give one label for each row"
        )
    if len(np.unique(y)) < 2 or y.min() < 0:
        raise UserError(
            "a probe needs labelled rows of at least two classes, numbered from 0: label some of another class"
        )
    for name, values in (("labelled features", labelled), ("features of the pool", pool)):
        if not np.isfinite(values.sum(dtype=np.float64)):
            raise UserError(f"the {name} hold numbers that are not finite: make them again")
    scale = scale_of(pool, kind)
    most = max(int(y.max()) + 1, classes or 0)
    return Rows(scale(labelled), y.astype(np.int64), scale(pool), most, scale)


def folds(y: Array, count: int, repeats: int, seed: int = 0) -> Iterator[tuple[Array, Array]]:
    """(train, held out) row numbers, `repeats` times; each class is spread over the folds as evenly as can be.

    A class keeps at least one row in every training part; with one row it is never held out.
    """
    random = np.random.default_rng(seed)
    for _ in range(repeats):
        fold, start = np.full(len(y), -1), 0
        for c in np.unique(y):
            ids = random.permutation(np.flatnonzero(y == c))
            if len(ids) > 1:
                fold[ids] = (start + np.arange(len(ids))) % min(count, len(y))
                start += len(ids)  # the rows that are left over go to different folds
        for k in range(count):
            held = np.flatnonzero(fold == k)
            if len(held):
                yield np.flatnonzero(fold != k), held
