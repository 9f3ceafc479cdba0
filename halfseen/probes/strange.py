"""How strange a picture is to what was learnt: does it belong to one of the classes, or to none?

    distance    s(x) = 1 - max_i cos(h(x), h(x_i))     of frozen features h; x_i are the labelled pictures
    energy      s(x) = -log sum_k exp z_k(x)           of the logits z, where no features were given
                                                       (Liu et al. 2020, arXiv:2010.03759)
    known       s(x) <= s_(m),  m = ceil((1 - share)(n + 1))   of the n sorted scores of pictures that belong

With distances the scores of pictures that belong are those of the labelled ones, each from the others: of new pictures that
belong about `share` are lost, whatever else is in the pool (the bound of conformal prediction; with few labels it can be no
finer than 1/(n + 1)). The strangest share of the pool in its place lets in nine of ten strangers that are half of it.
Features are not centred here: the mean of a pool that holds strangers is theirs too (AUROC of CIFAR-100 among CIFAR-10
0.73 as they are, 0.66 centred; both figures by `scripts/belongs_trials.py`). With energies they are those of validation
pictures, or else of the unlabelled ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from halfseen.errors import UserError

MOST = 2_000  # labelled pictures that distances are taken to
KEPT = 2_000  # scores that a model keeps
BLOCK = 4_096  # rows at once
SHARE = 0.05  # of the pictures that belong, which may be lost where nothing was asked for

Score = Literal["distance", "energy"]


@dataclass(frozen=True)
class Familiar:
    """What strangeness is measured by. Kept with a model."""

    score: Score
    of: str  # whose scores `belong` are: labelled, validation, unlabelled
    belong: Tensor  # [n] float32, sorted
    rows: Tensor | None = None  # [L, d] float16 of length 1: of the labelled pictures

    def distance(self, h: Tensor) -> Tensor:
        """[n] of features [n, d]."""
        assert self.rows is not None
        rows = self.rows.to(h.device).float()
        nearest = [(F.normalize(part.float()) @ rows.T).amax(1) for part in torch.split(h, BLOCK)]
        return 1 - torch.cat(nearest) if nearest else h.new_empty(0)

    def bound(self, share: float) -> float:
        """The largest strangeness of what is taken for known."""
        n = len(self.belong)
        m = int(np.ceil((1 - share) * (n + 1)))
        return float(self.belong[min(m, n) - 1])

    def known(self, strangeness: Tensor, share: float) -> Tensor:
        """[n] bool."""
        return strangeness <= self.bound(checked(share))

    def tensors(self) -> dict[str, Tensor]:
        return {"belong": self.belong} | ({} if self.rows is None else {"rows": self.rows})

    def about(self) -> dict[str, str]:
        """Beside its tensors: for a json file."""
        return {"score": self.score, "of": self.of}

    @classmethod
    def read(cls, about: Mapping[str, str], tensors: Mapping[str, Tensor]) -> "Familiar":
        if about["score"] not in ("distance", "energy"):
            raise ValueError(f"a strangeness {about['score']!r}")
        score: Score = "distance" if about["score"] == "distance" else "energy"
        return cls(score, str(about["of"]), tensors["belong"], tensors["rows"] if score == "distance" else None)


def checked(share: float) -> float:
    if not 0 < share < 1:
        raise UserError(
            f"a share of {share:g}: say which share of the pictures that belong may be lost, more than 0 and less than 1; "
            f"{SHARE:g} is usual"
        )
    return share


def of_features(h: Tensor, y: Tensor) -> Familiar | None:
    """By distance to labelled pictures: features [L, d], labels [L]. None: one picture has no other to be measured by."""
    if len(h) < 2:
        return None
    rows = F.normalize(h[evenly(y, MOST)].float()).half()
    return Familiar("distance", "labelled", kept(alone(rows)), rows)


def alone(rows: Tensor) -> Tensor:
    """[L] of each row from all others."""
    cosines = rows.float() @ rows.float().T
    cosines.fill_diagonal_(-torch.inf)
    return 1 - cosines.amax(1)


def of_logits(logits: Tensor, of: str) -> Familiar:
    """By energy: logits [n, K] of pictures that belong, or that mostly do."""
    return Familiar("energy", of, kept(energy(logits)))


def energy(logits: Tensor) -> Tensor:
    return -logits.float().logsumexp(1)


def kept(scores: Tensor) -> Tensor:
    """Sorted; of many so many quantiles."""
    found = scores.float().sort().values
    if len(found) <= KEPT:
        return found
    return found[torch.linspace(0, len(found) - 1, KEPT).round().long()]


def evenly(y: Tensor, most: int) -> Tensor:
    """Row numbers, at most so many: the first of every class, then the second of every class, and so on."""
    turn = torch.zeros_like(y)
    for k in torch.unique(y).tolist():
        turn[y == k] = torch.arange(int((y == k).sum()))
    return turn.argsort(stable=True)[:most].sort().values
