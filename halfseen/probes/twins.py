"""Near-duplicates: the same picture twice, perhaps saved again, resized, brighter or cut by a little.

Two pictures are twins if the cosine of their small pixels (grey, SIDE x SIDE, centred) is above SAME; or above ALIKE while
that of their backbone's features (centred) is above FELT. What that finds (`scripts/belongs_trials.py`):

    different pictures taken for twins   of 200 blood cells, 416 letters and 2,000 of CIFAR-10 2.5%, 0.5% and 0.1% with
                                         features; without them, and of 2,000 digits, none
    copies found, 96 pixels              brighter by a tenth, half as large, JPEG of quality 50: 93 to 100%; cut by 3%: 88
                                         and 96% with features, none without
    copies found, 28 or 32 pixels        brighter: 99 and 100%; JPEG: 84 and 100%; half as large, which is 14 or 16 pixels:
                                         a tenth and none; cut by one pixel: 54% with features, none without
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 16
SAME, ALIKE, FELT = 0.995, 0.9, 0.85
MOST = 10_000  # pictures that are compared with each other: a second or two
BLOCK = 1_024

Feel = Callable[[Tensor], Tensor]  # row numbers [n] -> features [n, d]


@dataclass(frozen=True)
class Twins:
    pairs: tuple[tuple[int, int], ...]  # row numbers, the most alike first; in second place of the second kind
    pictures: int  # that have a twin: of all, or of the second kind
    looked: int  # at so many


@dataclass(frozen=True, eq=False)
class Kind:
    """Pictures that are compared: some of x, made small once."""

    rows: Tensor  # [n]
    small: Tensor  # [n, SIDE^2]
    feel: Feel | None  # of row numbers

    @classmethod
    def of(cls, x: Tensor, rows: Tensor, feel: Feel | None = None) -> "Kind":
        """Every so many of x[rows], where there are more than MOST."""
        some = rows[:: max(1, -(-len(rows) // MOST))]
        return cls(some, tiny(x, some), feel)


def within(kind: Kind) -> Twins:
    """Among the pictures of one kind."""
    pairs = found(kind, kind)
    return Twins(named(pairs, kind, kind), len({i for pair in pairs for i in pair[:2]}), len(kind.rows))


def between(kind: Kind, others: Kind) -> Twins:
    """Which of the others have a twin among the first."""
    pairs = found(kind, others)
    return Twins(named(pairs, kind, others), len({b for _, b, _ in pairs}), len(others.rows))


Pairs = list[tuple[int, int, float]]  # places, and the cosine of their pixels


def found(a: Kind, b: Kind) -> Pairs:
    """Pairs of a picture of a and one of b, the most alike first; each once where both are the same kind."""
    pairs: Pairs = []
    felt = None
    if a.feel is not None and b.feel is not None and len(a.rows):
        of_a = a.feel(a.rows)
        mean = of_a.mean(0)
        felt = F.normalize(of_a - mean), F.normalize((of_a if a is b else b.feel(b.rows)) - mean)
    for start in range(0, len(a.rows), BLOCK):
        first = start if a is b else 0
        cosines = a.small[start : start + BLOCK] @ b.small[first:].T
        if a is b:
            cosines = cosines.triu(1)
        for i, j in (cosines > (SAME if felt is None else ALIKE)).nonzero().tolist():
            alike, i, j = float(cosines[i, j]), start + i, first + j
            if alike > SAME or (felt is not None and float(felt[0][i] @ felt[1][j]) > FELT):
                pairs.append((i, j, alike))
    return sorted(pairs, key=lambda pair: -pair[2])


def named(pairs: Pairs, a: Kind, b: Kind) -> tuple[tuple[int, int], ...]:
    return tuple((int(a.rows[i]), int(b.rows[j])) for i, j, _ in pairs)


def tiny(x: Tensor, rows: Tensor) -> Tensor:
    """[n, SIDE^2] grey pixels, centred and of length 1; of a picture of one colour zeros, which are like nothing."""
    parts = []
    for ids in torch.split(rows, BLOCK):
        grey = x[ids].float().mean(1, keepdim=True)
        small = F.adaptive_avg_pool2d(grey, (min(SIDE, x.shape[2]), min(SIDE, x.shape[3]))).flatten(1)
        parts.append(F.normalize(small - small.mean(1, keepdim=True), eps=1e-3))
    return torch.cat(parts) if parts else torch.empty(0, SIDE * SIDE)
