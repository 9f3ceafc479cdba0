"""Which unlabelled images teach, and what: masks as pure functions of probabilities, and thresholds that change by steps.

P [n, K] are probabilities, u [n, K] how far they vary (a standard deviation), both without gradient. None for u leaves
the test of stability out. The masks of the first two are what `Unlabelled.kept` and `.negatives` want.
"""

import math

import torch
from torch import Tensor


def confident(P: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """(bool [n], int [n]): is the largest probability at least t, and which class has it?"""
    largest, best = P.max(1)
    return largest >= t, best


def positives(P: Tensor, u: Tensor | None, t_p: float, s_p: float) -> tuple[Tensor, Tensor]:
    """m+_b = 1[P_b,kbar >= t_p] 1[u_b,kbar <= s_p] [n], and kbar_b = argmax_k P_bk [n]."""
    kept, best = confident(P, t_p)
    if u is not None:
        kept = kept & (u.gather(1, best.unsqueeze(1)).squeeze(1) <= s_p)
    return kept, best


def negatives(P: Tensor, u: Tensor | None, best: Tensor, t_n: float, s_n: float) -> Tensor:
    """m-_bk = 1[P_bk <= t_n] 1[u_bk <= s_n] 1[k != best_b] [n, K]."""
    chosen = P.le(t_n)
    if u is not None:
        chosen = chosen & (u <= s_n)
    return chosen.scatter(1, best.unsqueeze(1), torch.zeros_like(best.unsqueeze(1), dtype=torch.bool))


def most_sure(confidence: Tensor, share: float) -> Tensor:
    """bool [n]: is it at or above the percentile 100 (1 - share) of all of them? None are, of none."""
    if share >= 1 or not len(confidence):
        return torch.ones_like(confidence, dtype=torch.bool)
    order = confidence.sort().values
    at = (1 - share) * (len(order) - 1)  # between two of them in a straight line, as numpy has it
    low, high = math.floor(at), math.ceil(at)
    return confidence >= torch.lerp(order[low], order[high], at - low)


def balanced(kept: Tensor, c: Tensor, K: int, deviation: Tensor, least: int) -> Tensor:
    """Of the kept images of each class c the n that deviate least, n the size of the smallest class, or `least` if more.

    bool [n]; all tensors [n]. A class that nobody is kept for counts as a smallest one (UPS).
    """
    sizes = torch.bincount(c[kept], minlength=K)
    n = max(int(sizes.min()), least)
    chosen = torch.zeros_like(kept)
    for k in range(K):
        rows = (kept & (c == k)).nonzero().squeeze(1)
        chosen[rows[deviation[rows].argsort(stable=True)[:n]]] = True
    return chosen


def raised(start: float, by: float, end: float, times: float) -> float:
    """min(start + by * times, end); `times` may be infinite."""
    return end if math.isinf(times) else min(start + by * times, end)


def lowered(start: float, factor: float, end: float, times: float) -> float:
    """max(start * factor^times, end); `times` may be infinite."""
    return end if math.isinf(times) else max(start * factor**times, end)
