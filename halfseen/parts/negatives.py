"""Which classes an image is taught not to be: m of those that are not its pseudo label, at random or by error perception.

With c the pseudo label, w log-weights [K] (all 0: equal probability, EP; a row of Pr: error perception, EPM):
    sequential    m draws without replacement, the first in proportion to exp(w_i), i != c (Gumbel-top-m)
    systematic    m classes, class i with probability exactly min(1, a exp(w_i)), a such that these sum to m
    replacement   m draws with replacement, all i != c alike: between 1 and m classes
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.machine.distributed import gather_rows
from halfseen.parts.losses import probabilities

Draw = Literal["sequential", "systematic", "replacement"]


def how_many(m: int | None, K: int, usual: int) -> int:
    """The number of negatives: the one asked for, or the usual one where there are enough classes."""
    if m is None:
        return min(usual, K - 1)
    if not 1 <= m < K:
        raise UserError(
            f"m={m} negatives cannot be drawn from {K - 1} other classes; take --set method.m= 1 to {K - 1}"
        )
    return m


def pick_negatives(
    c: Tensor, m: int, K: int, draws: Draws, log_weights: Tensor | None = None, draw: Draw = "sequential"
) -> Tensor:
    """Y [n, K] bool: the negatives of rows with pseudo labels c [n], never c itself; log_weights [n, K] or alike."""
    n = len(c)
    Y = torch.zeros(n, K, dtype=torch.bool, device=c.device)
    if draw == "replacement":
        others = draws.integers(0, K - 1, n, m)  # [n, m] places among the classes other than c
        return Y.scatter_(1, others + (others >= c.unsqueeze(1)), True)
    w = torch.zeros(n, K, device=c.device) if log_weights is None else log_weights.float()
    w = w.scatter(1, c.unsqueeze(1), -math.inf)
    if draw == "sequential":
        return Y.scatter_(1, (w + draws.gumbel(n, K)).topk(m, 1).indices, True)
    order = draws.uniform(n, K).argsort(1)  # a row's classes lie on [0, m) in random order, each as long as probable
    ends = inclusion(w, m).gather(1, order).cumsum(1)
    ends[:, -1] = m
    marks = (ends - draws.uniform(n, 1)).ceil()  # a class is drawn if one of u, u + 1, ... lies on it
    return Y.scatter_(1, order, marks.diff(dim=1, prepend=marks.new_zeros(n, 1)) > 0)


def inclusion(w: Tensor, m: int) -> Tensor:
    """min(1, a exp(w_i)) with a such that a row sums to m, [n, K] float64; -inf excludes a class.

    If the t most probable classes are certain, the others share m - t in proportion. The weights may be huge.
    """
    z, order = w.double().sort(1, descending=True)
    rest = z.flip(1).logcumsumexp(1).flip(1)  # [n, K] log of the sum of exp(w) from place t on
    t = torch.arange(m, device=w.device)
    fits = (m - t).log() + z[:, :m] - rest[:, :m] <= 1e-12  # does the most probable of the others stay below 1?
    sure = fits.int().argmax(1, keepdim=True)  # the first t that fits; t = m - 1 always does
    shared = (m - sure).log() + z - rest.gather(1, sure)
    p = torch.where(torch.arange(w.shape[1], device=w.device) < sure, 1.0, shared.exp().clamp_max(1))
    return torch.empty_like(p).scatter_(1, order, p)


def after_passes(passes: float, labelled: int, rows: int) -> Callable[[int], bool]:
    """Have the steps that are done just ended so many passes over the labelled images, `rows` of which come a step?"""
    every = max(1, round(passes * labelled / max(1, rows)))
    return lambda done: done % every == 0


class ErrorPerception(nn.Module):
    """Pr[s] [K, K] of each network s: with how much confidence it takes images of class k (row) for class i != k.

    `watch` adds up what is seen; `finish` makes it a sum per pass over the labelled images, and Pr the average of those with
    decay d, divided by 1 - d^n after n of them, so that it is of its true size from the first on. Pr = 0, as before the
    first, is equal probability.
    """

    Pr: Tensor
    weight: Tensor
    seen: Tensor
    rows: Tensor

    def __init__(self, networks: int, K: int, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise UserError(f"epm_ema={decay:g} must lie between 0 and 1, 1 excluded, or Pr stays 0")
        self.decay = decay
        self.register_buffer("Pr", torch.zeros(networks, K, K))
        self.register_buffer("weight", torch.zeros(networks))  # 1 - d^n
        self.register_buffer("seen", torch.zeros(networks, K, K))
        self.register_buffer("rows", torch.zeros(networks))

    @torch.no_grad()
    def watch(self, s: int, logits: Tensor, y: Tensor, shared: bool = True) -> None:
        """Predictions of network s for labelled rows; `shared`: every process has rows of its own."""
        p = probabilities(logits.detach())
        if shared:
            p, y = gather_rows(p), gather_rows(y)
        self.seen[s] += errors(p, y)
        self.rows[s] += len(y)

    @torch.no_grad()
    def finish(self, labelled: int) -> None:
        """E <- d E + (1 - d) Pr_new, Pr = E/(1 - d^n): Pr moves by (1 - d)/(1 - d^n) of its way to Pr_new.

        A network of which nothing was seen has no measurement, and keeps its Pr.
        """
        measured = self.rows > 0
        new = self.seen * (labelled / self.rows.clamp_min(1)).view(-1, 1, 1)
        weight = self.decay * self.weight + (1 - self.decay)
        pace = torch.where(measured, (1 - self.decay) / weight, 0)
        self.Pr.add_(pace.view(-1, 1, 1) * (new - self.Pr))
        self.weight.copy_(torch.where(measured, weight, self.weight))
        self.seen.zero_()
        self.rows.zero_()

    def stats(self) -> dict[str, Tensor]:
        """Sum 0 means that nothing was mistaken, and the choice is silently that of equal probability."""
        found: dict[str, Tensor] = {}
        for s, Pr in enumerate(self.Pr):
            found |= {f"{s + 1}/Pr_sum": Pr.sum(), f"{s + 1}/Pr_norm": Pr.norm()}
        return found


def errors(p: Tensor, y: Tensor) -> Tensor:
    """[K, K]: entry (k, i != k) sums p_i over the rows of class k that are taken for i, the most probable class."""
    confidence, c = p.max(1)
    K = p.shape[1]
    wrong = F.one_hot(c, K) * (confidence * (c != y)).unsqueeze(1)
    return F.one_hot(y, K).to(p.dtype).T @ wrong
