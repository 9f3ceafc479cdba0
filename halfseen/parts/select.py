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


def raised(start: float, by: float, end: float, times: float) -> float:
    """min(start + by * times, end); `times` may be infinite."""
    return end if math.isinf(times) else min(start + by * times, end)


def lowered(start: float, factor: float, end: float, times: float) -> float:
    """max(start * factor^times, end); `times` may be infinite."""
    return end if math.isinf(times) else max(start * factor**times, end)
