"""Losses as pure functions: one value per row, in the forms that stay exact when a network is very sure of itself.

With logits a [n,K], p = softmax(a), lse = log-sum-exp:
    cross_entropy   -log p_y,  or  -sum_k t_k log p_k                      gradient  p - t
    entropy         H = -sum_k p_k log p_k                                 gradient  -p (log p + H)
    kl              sum_k p_k (log p_k - log q_k)                          gradient  q - p  for the logits of q
    squared         1/K sum_k (p_k - q_k)^2
    negative        -sum_k N_k log(1 - p_k)                                gradient  N_i r_i - p_i sum_k N_k r_k,
                                                                           r = p/(1-p)
Everything is computed in float32 at least, also under autocast; float64 stays float64.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from halfseen.machine.distributed import mean_count, world


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """`target` holds a class per row (int64 [n]) or a distribution per row ([n,K])."""
    logits = wide(logits)
    return F.cross_entropy(logits, target.to(logits.dtype) if target.ndim == 2 else target, reduction="none")


def entropy(logits: Tensor) -> Tensor:
    log_p = F.log_softmax(wide(logits), 1)
    return -(log_p.exp() * log_p).sum(1)


def kl(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """KL(p || q), with gradient to both: whoever wants a fixed side detaches it."""
    log_p, log_q = F.log_softmax(wide(p_logits), 1), F.log_softmax(wide(q_logits), 1)
    return (log_p.exp() * (log_p - log_q)).sum(1)


def probabilities(logits: Tensor) -> Tensor:
    """softmax, [n, K]"""
    return F.softmax(wide(logits), 1)


def jensen_shannon(a: Tensor, b: Tensor) -> Tensor:
    """H((p + q)/2) - H(p)/2 - H(q)/2 of the softmaxes of two logits, with gradient to both."""
    log_p, log_q = F.log_softmax(wide(a), 1), F.log_softmax(wide(b), 1)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return ((log_p.exp() * (log_p - log_m)) + (log_q.exp() * (log_q - log_m))).sum(1) / 2


def squared(p: Tensor, q: Tensor) -> Tensor:
    """Mean over the classes of the squared difference of the two tensors as given (probabilities, or logits)."""
    return (wide(p) - wide(q)).square().mean(1)


def negative(
    N: Tensor,
    logits: Tensor,
    form: Literal["exact", "add_eps"] = "exact",
    eps: float = 1e-6,
    per_label: Literal["sum", "mean"] = "sum",
) -> Tensor:
    """What it costs to believe in classes that the image is said not to be; N [n,K] marks them.

    `add_eps` is -log(1 - p_k + eps), as some releases have it: its gradient vanishes once a wrong class has p_k = 1 in
    float32, where the exact form still gives 1. `mean` divides by the number of marked classes.
    """
    if form == "exact":
        log_not = log1m_softmax(logits)
    elif form == "add_eps":
        log_not = torch.log(1 - F.softmax(wide(logits), 1) + eps)
    else:
        raise ValueError(f"form={form!r}: the negative loss has the forms 'exact' and 'add_eps'")
    N = N.to(log_not.dtype)
    loss = -(N * log_not).sum(1)
    if per_label == "sum":
        return loss
    if per_label == "mean":
        return loss / N.sum(1).clamp_min(1)
    raise ValueError(
        f"per_label={per_label!r}: the negative loss takes the 'sum' or the 'mean' over the marked classes"
    )


def log1m_softmax(logits: Tensor) -> Tensor:
    """log(1 - p_k) = lse_{j != k}(a_j) - lse_j(a_j), for all k at once: [n,K].

    Every class but the largest has p_k <= 1/2, where log1p(-p_k) is exact. The largest one, where 1 - p_k may round to
    0, is written with the lse of the others: log(1 - p_k) = -softplus(a_k - lse_{j != k}).
    """
    logits = wide(logits)
    largest = logits.argmax(1, keepdim=True)  # [n,1]
    is_largest = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, largest, True)
    others = logits.masked_fill(is_largest, -torch.inf).logsumexp(1, keepdim=True)
    # softplus is linear above its threshold: at 40 the error is below float64's rounding
    of_largest = -F.softplus(logits.gather(1, largest) - others, threshold=40)
    of_rest = torch.log1p(-F.softmax(logits, 1).masked_fill(is_largest, 0))
    return torch.where(is_largest, of_largest, of_rest)


def mean_of(mask: Tensor, per_row: Tensor) -> Tensor:
    """Mean over the rows where `mask` (bool [n]) is true; 0 if there are none. The device is not stopped to count.

    Several processes: their gradients are averaged, so each divides by the mean of their counts, and the result is the
    mean over the selected rows of all of them.
    """
    count = mean_count(mask.sum().to(per_row.dtype))
    total = torch.where(mask, per_row, 0).sum()
    return total / torch.where(count > 0, count, 1)


def mean(per_row: Tensor) -> Tensor:
    """Mean over the rows (dimension 0) of all processes, of which each may have another number, or none."""
    if world() == 1:
        return per_row.mean(0)
    rows = mean_count(per_row.new_full((), len(per_row)))
    return per_row.sum(0) / rows


def weighted_mean(weights: Tensor, per_row: Tensor) -> Tensor:
    """sum w l / sum w over the rows of all processes; 0 where all weights are 0."""
    total = mean_count(weights.sum())
    return (weights * per_row).sum() / torch.where(total > 0, total, 1)


def wide(t: Tensor) -> Tensor:
    """float32 at least: half precision becomes it, and float64 stays."""
    return t if t.dtype == torch.float64 else t.float()
