"""How good a classifier is, and how well it knows: accuracy, confusion, calibration, and how sure one can be of them.

P [n,K] are probabilities, y [n] the true classes. Everything is computed in float64 on the device of P.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 15


def accuracy(P: Tensor, y: Tensor) -> float:
    """Share of rows whose largest probability is that of the true class; NaN without rows."""
    return float((P.argmax(1) == y).double().mean())


def confusion(P: Tensor, y: Tensor) -> Tensor:
    """[K,K] counts: row = true class, column = predicted class."""
    K = P.shape[1]
    return torch.bincount(y * K + P.argmax(1), minlength=K * K).view(K, K)


def per_class(P: Tensor, y: Tensor) -> Tensor:
    """[K] recall: the share of each class's images that were recognised; NaN for a class without images."""
    C = confusion(P, y).double()
    return C.diagonal() / C.sum(1)


def macro_f1(P: Tensor, y: Tensor) -> float:
    """Mean over the classes of 2 TP / (2 TP + FP + FN); a class that neither occurs nor is predicted is left out."""
    C = confusion(P, y).double()
    found = C.sum(0) + C.sum(1)
    return float((2 * C.diagonal() / found)[found > 0].mean())


@dataclass(frozen=True)
class Reliability:
    """Per bin of confidence (lo, hi]: how many images, how sure the network was, how often it was right."""

    edges: Tensor  # [bins + 1]
    count: Tensor  # [bins]
    confidence: Tensor  # [bins] mean; NaN in an empty bin
    accuracy: Tensor  # [bins] NaN in an empty bin


def reliability_bins(P: Tensor, y: Tensor, bins: int = BINS) -> Reliability:
    confidence, predicted = P.double().max(1)
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=P.device)
    # right=False: the first edge that is not below the confidence closes its bin, so a bin is (lo, hi]
    which = torch.bucketize(confidence, edges[1:-1], right=False)
    count = torch.bincount(which, minlength=bins)

    def mean(values: Tensor) -> Tensor:
        return torch.bincount(which, weights=values, minlength=bins) / count

    return Reliability(edges, count, mean(confidence), mean((predicted == y).double()))


def ece(P: Tensor, y: Tensor, bins: int = BINS) -> float:
    """Expected calibration error: sum over the bins of their share of the rows times |accuracy - confidence|."""
    if not len(y):
        return float("nan")
    r = reliability_bins(P, y, bins)
    return float((r.count.double() / len(y) * (r.accuracy - r.confidence).abs()).nansum())


def brier(P: Tensor, y: Tensor) -> float:
    """Mean of sum_k (p_k - 1[k = y])^2: 0 at best, 2 at worst."""
    P = P.double()
    return float((P - F.one_hot(y, P.shape[1])).square().sum(1).mean())


def nll(logits: Tensor, y: Tensor) -> float:
    """Mean of -log p_y, from logits, so that no probability has to be clamped."""
    return float(F.cross_entropy(logits.double(), y))


def bootstrap_interval(correct: Tensor, draws: int = 1000, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of accuracy over resamples of the test images, `correct` [n] being right or wrong for each.

    The number right in a resample with replacement is binomial, so it is drawn as such.
    """
    n = correct.numel()
    if n == 0:
        return float("nan"), float("nan")
    right = np.random.default_rng(seed).binomial(n, float(correct.double().mean()), draws) / n
    low, high = np.quantile(right, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def summary(logits: Tensor, y: Tensor, classes: int) -> dict[str, Any]:
    """Everything above as plain numbers and lists, ready for JSON: what is undefined is None."""
    if logits.shape[1] != classes:
        raise ValueError(f"logits of {logits.shape[1]} classes for data with {classes}")
    if not len(y):
        raise ValueError("no images to evaluate on")
    P = logits.double().softmax(1)
    r = reliability_bins(P, y)
    low, high = bootstrap_interval(P.argmax(1) == y)
    return {
        "n": len(y),
        "accuracy": accuracy(P, y),
        "interval": [low, high],
        "macro_f1": macro_f1(P, y),
        "ece": ece(P, y),
        "brier": brier(P, y),
        "nll": _plain(nll(logits, y)),
        "per_class": _plain(per_class(P, y).tolist()),
        "confusion": confusion(P, y).tolist(),
        "reliability": {
            "edges": r.edges.tolist(),
            "count": r.count.tolist(),
            "confidence": _plain(r.confidence.tolist()),
            "accuracy": _plain(r.accuracy.tolist()),
        },
    }


def _plain(value: Any) -> Any:
    """NaN and infinities are no JSON."""
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value if np.isfinite(value) else None


def most_confused(counts: Sequence[Sequence[int]], most: int) -> list[tuple[int, int, int, float]]:
    """(true, predicted, images, share of the true class) of a confusion matrix's errors, the most frequent first."""
    wrong = [
        (true, called, n, n / sum(row))
        for true, row in enumerate(counts)
        for called, n in enumerate(row)
        if n and true != called
    ]
    return sorted(wrong, key=lambda error: -error[2])[:most]
