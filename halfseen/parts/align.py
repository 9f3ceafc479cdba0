"""Distribution alignment: what is taught has, on average, the class frequencies of a prior (ReMixMatch, arXiv:1911.09785).

    m    <- d m + (1 - d) mean_u p(u),         m~ = m / (1 - d^t) after t batches
    p~_k  =  p_k pi_k / m~_k  /  sum_j p_j pi_j / m~_j          before threshold and argmax, without gradient

pi is  uniform:   1/K
       labels:    (L f_k + 1)/(L + K), f the frequencies of the labels seen so far, L the number of labelled images
       estimate:  (r_k + s pi^labels_k)/(1 + s), s = 1/2, r a running mean with decay d of what share of the pool is taken
                  for class k (argmax p, before alignment), which starts at pi^labels. It is hard where m is soft: images
                  that are clear keep their class whatever the prior says, so r is evidence of the pool that alignment
                  does not move at once, and a class that nobody is taken for keeps a third of the labels' share.
       predictions: the running mean, corrected as m is, of what is predicted of labelled images (AdaMatch); only for
                  methods that hand these in
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.machine import distributed
from halfseen.parts.losses import mean

LEAST = 1e-6  # of m: a class that nobody predicts is not divided by 0
S = 0.5  # weight of the labels' frequencies in the estimate


@dataclass(frozen=True)
class Aligned:
    """The keys of a method with a teacher."""

    align: bool = False  # divide what is taught by its running mean and multiply by a prior: parts/align.py
    # the prior; estimate: of the pool, and the labels; predictions, where a method has them: of labelled images
    align_to: Literal["uniform", "labels", "estimate", "predictions"] = "estimate"
    align_decay: float = 0.99  # of the running means: a hundred batches


class Sizes(Protocol):
    """What is asked of the task."""

    @property
    def classes(self) -> int: ...
    @property
    def labelled(self) -> int: ...


class Align(nn.Module):
    """Aligned targets of each of several teachers; without `align` it changes nothing and keeps nothing."""

    mean: Tensor
    hard: Tensor
    batches: Tensor
    labels: Tensor
    predicted: Tensor

    def __init__(self, cfg: Aligned, task: Sizes, teachers: int = 1, predictions: bool = False) -> None:
        """predictions: does the method hand in those of labelled images?"""
        super().__init__()
        if cfg.align_to == "predictions" and not predictions:
            raise UserError("align_to=predictions: this method has none of labelled images; take align_to=labels")
        if not 0 <= cfg.align_decay < 1:
            raise UserError(f"align_decay={cfg.align_decay}: the decay of a mean lies between 0 and 1, 1 excluded")
        self.on, self.to_, self.d, self.L, self.K = (
            cfg.align,
            cfg.align_to,
            cfg.align_decay,
            task.labelled,
            task.classes,
        )
        if self.on:
            self.register_buffer("mean", torch.zeros(teachers, self.K))  # m, soft; not corrected for its start
            self.register_buffer("hard", torch.zeros(teachers, self.K))  # r, without its start
            self.register_buffer("batches", torch.zeros(teachers))  # t
            self.register_buffer("labels", torch.zeros(teachers, self.K))  # how often each class was seen
            if self.to_ == "predictions":
                self.register_buffer("predicted", torch.zeros(teachers, self.K))  # as `mean`, of labelled rows

    @torch.no_grad()
    def forward(self, p: Tensor, y: Tensor, s: int = 0, labelled: Tensor | None = None) -> Tensor:
        """p~ [U, K] of probabilities p of teacher s, which its means follow first; y [B]: labels of the batch.

        labelled [B, K]: its probabilities of labelled rows, for the prior that is made of them.
        """
        if not self.on:
            return p
        wide = p.detach().to(self.mean.dtype)
        seen = F.one_hot(y, self.K).to(wide.dtype).sum(0)  # [K]
        new = torch.stack([mean(wide), mean(F.one_hot(wide.argmax(1), self.K).to(wide.dtype)), seen])
        distributed.average([new])  # of the whole batch
        self.mean[s].lerp_(new[0], 1 - self.d)
        self.hard[s].lerp_(new[1], 1 - self.d)
        self.labels[s] += new[2] * distributed.world()
        self.batches[s] += 1
        if self.to_ == "predictions" and labelled is not None:
            theirs = [labelled.detach().to(self.mean.dtype).mean(0)]
            distributed.average(theirs)
            self.predicted[s].lerp_(theirs[0], 1 - self.d)
        return self.by(p, s)

    @torch.no_grad()
    def pool(self, p: Tensor, y: Tensor, s: int = 0) -> Tensor:
        """p~ of the whole pool at once, with its own mean and nothing of pools before it; y: all labels."""
        if not self.on:
            return p
        for kept in self.buffers():
            kept[s].zero_()
        found: Tensor = self(p, y, s)
        self.labels[s] /= distributed.world()  # every process has them all
        return found

    @torch.no_grad()
    def by(self, p: Tensor, s: int = 0) -> Tensor:
        """The same change of other probabilities, which no mean follows."""
        if not self.on:
            return p
        scaled = p.detach() * self.ratio(s).to(p.dtype)
        return scaled / scaled.sum(1, keepdim=True)

    def shift(self, s: int = 0) -> Tensor | float:
        """The same for logits: to be added to them."""
        return self.ratio(s).log() if self.on else 0.0

    def ratio(self, s: int) -> Tensor:
        """pi / m~ [K]"""
        return self.prior(s) / self.corrected(s).clamp_min(LEAST)

    def corrected(self, s: int) -> Tensor:
        return self.mean[s] / self.correction(s)

    def correction(self, s: int) -> Tensor:
        return (1 - self.d ** self.batches[s]).clamp_min(LEAST)

    def prior(self, s: int) -> Tensor:
        """pi [K]"""
        if self.to_ == "uniform":
            return torch.full_like(self.mean[s], 1 / self.K)
        if self.to_ == "predictions":
            return self.predicted[s] / self.correction(s)
        f = self.labels[s] / self.labels[s].sum().clamp_min(1)
        labels = (self.L * f + 1) / (self.L + self.K)
        labels = labels / labels.sum()  # no label seen yet: f is 0
        if self.to_ == "labels":
            return labels
        r = self.hard[s] + self.d ** self.batches[s] * labels
        return (r + S * labels) / (1 + S)

    def stats(self) -> dict[str, Tensor]:
        """For the log: KL(pi || m~), how far the pool's predictions are from the prior."""
        found: dict[str, Tensor] = {}
        for s in range(len(self.mean) if self.on else 0):
            pi, m = self.prior(s), self.corrected(s).clamp_min(LEAST)
            found[f"{s + 1}/align_gap" if len(self.mean) > 1 else "align_gap"] = (pi * (pi / m).log()).sum()
        return found
