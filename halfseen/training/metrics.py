"""How good a classifier is, and how well it knows: accuracy, confusion, calibration, and how sure one can be of them.

P [n,K] are probabilities, y [n] the true classes. Everything is computed in float64 on the device of P.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
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


def balanced_accuracy(P: Tensor, y: Tensor) -> float:
    """The mean recall of the classes that have images: each counts once, however many images it has."""
    return float(per_class(P, y).nanmean())


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


def exact_interval(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share of which `right` of n were counted: 40 of 40 may still be 91%.

    Its ends are the shares p at which a count as large, or as small, has a probability of (1 - level)/2. NaN without rows.
    """
    if n == 0:
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low = 0.0 if right == 0 else solved(lambda p: at_least(right, n, p) > tail)
    high = 1.0 if right == n else solved(lambda p: 1 - at_least(right + 1, n, p) < tail)
    return low, high


def solved(beyond: Callable[[float], bool]) -> float:
    """Where a condition that holds for large p begins to hold."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if beyond(middle) else (middle, high)
    return high


def at_least(k: int, n: int, p: float) -> float:
    """P(X >= k), X binomial of n and p."""
    i = np.arange(k, n + 1) if 2 * k > n else np.arange(k)
    with np.errstate(divide="ignore"):
        terms = log_choose(n, i) + i * np.log(p) + (n - i) * np.log1p(-p)
    total = float(np.exp(terms).sum())
    return total if 2 * k > n else 1 - total


def log_choose(n: int, k: NDArray[np.int64]) -> NDArray[np.float64]:
    log = np.concatenate([[0.0], np.log(np.arange(1, n + 1)).cumsum()])  # log k!
    found: NDArray[np.float64] = log[n] - log[k] - log[n - k]
    return found


def auroc(low: Tensor, high: Tensor) -> float:
    """How often one of `high` [n] is above one of `low` [m]; equal ones count half (Mann and Whitney)."""
    if not len(low) or not len(high):
        return float("nan")
    ordered = low.double().sort().values
    below = torch.searchsorted(ordered, high.double())
    not_above = torch.searchsorted(ordered, high.double(), right=True)
    return float((below + not_above).double().mean() / (2 * len(low)))


def temperature(logits: Tensor, y: Tensor) -> float:
    """T > 0 of least -log p_y of softmax(logits / T), on images that were held out; by golden section over log T."""
    logits, shrink = logits.double(), (5**0.5 - 1) / 2

    def loss(t: float) -> float:
        return float(F.cross_entropy(logits / np.exp(t), y))

    low, high = -3.0, 3.0
    for _ in range(60):
        a, b = high - shrink * (high - low), low + shrink * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return float(np.exp((low + high) / 2))


def paired_interval(gained: int, lost: int, n: int) -> tuple[float, float, float]:
    """The difference of two accuracies on the same n images, and its 95% interval by the normal approximation.

    gained: right with the one and wrong with the other; lost: the reverse. One is added to both for the deviation, so that
    no difference in few images is no certainty.
    """
    d = (gained - lost) / n
    error = 1.96 * np.sqrt(max(gained + lost + 2 - (gained - lost) ** 2 / n, 0.0)) / n
    return d, d - error, d + error


def summary(logits: Tensor, y: Tensor, classes: int) -> dict[str, Any]:
    """Everything above as plain numbers and lists, ready for JSON: what is undefined is None."""
    if logits.shape[1] != classes:
        raise ValueError(f"logits of {logits.shape[1]} classes for data with {classes}")
    if not len(y):
        raise ValueError("no images to evaluate on")
    P = logits.double().softmax(1)
    r = reliability_bins(P, y)
    low, high = exact_interval(int((P.argmax(1) == y).sum()), len(y))
    return {
        "n": len(y),
        "accuracy": accuracy(P, y),
        "interval": [low, high],
        "balanced_accuracy": balanced_accuracy(P, y),
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
