"""Features of classes that lie side by side, some labelled, each with views."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Blobs:
    labelled: npt.NDArray[Any]  # [L, V, d]
    y: npt.NDArray[Any]  # [L]
    pool: npt.NDArray[Any]  # [N, d], the labelled images among them
    truth: npt.NDArray[Any]  # [N]
    ids: npt.NDArray[Any]  # [L] of the labelled images in the pool


def blobs(
    each: int = 4, classes: int = 4, n: int = 600, d: int = 40, views: int = 3, apart: float = 0.5, seed: int = 0
) -> Blobs:
    """Most of a row is in a few directions of its class, as in features of photographs; the rest is noise."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, d)) * apart
    bases = random.normal(size=(classes, 3, d))
    truth = random.integers(0, classes, n)
    inner = random.normal(size=(n, 3)) * 0.7
    pool = centres[truth] + np.einsum("ni,nid->nd", inner, bases[truth]) + random.normal(size=(n, d)) * 0.3 + 5
    ids = np.concatenate([random.choice(np.flatnonzero(truth == c), each, replace=False) for c in range(classes)])
    labelled = np.stack(
        [pool[ids]] + [pool[ids] + random.normal(size=(len(ids), d)) * 0.5 for _ in range(views - 1)], 1
    )
    return Blobs(labelled.astype(np.float32), truth[ids], pool.astype(np.float32), truth, ids)


def accuracy(p: npt.NDArray[Any], b: Blobs) -> float:
    """On the images without a label."""
    rest = np.setdiff1d(np.arange(len(b.truth)), b.ids)
    return float((p[rest].argmax(1) == b.truth[rest]).mean())
