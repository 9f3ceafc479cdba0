"""The two theorems of DNLL in numbers: as the paper prints them, exactly, and simulated with the library's own draws.

With K classes, m negatives drawn with equal probability, and
Theorem 3.1, q = how often a teacher is right:           a drawn class is the true one in (1-q)/(K-1) of the draws,
                                                         a set holds it with probability (1-q) m/(K-1)
Theorem 3.2, q = how often two networks say the same:    their sets are equal with probability
    paper             q/C(K-1,m) + (1-q)/C(K-2,m)                     = m! (K-2-m)! (K-1-qm) / (K-1)!
    exact             q/C(K-1,m) + (1-q) C(K-2,m)/C(K-1,m)^2
    paper_asymptotic  sqrt(2 pi m)/(e K) (m/K)^m
    stirling          sqrt(2 pi m) (m/(e K))^m                        for K >> m
(the theorem states 1 minus this). The paper's second term takes both sets to be drawn from the K-2 classes that neither
network predicts; each network leaves out its own class only, so each set is one of C(K-1,m), and equal sets are one of the
C(K-2,m) that both can draw.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.parts.negatives import pick_negatives

KS, MS, QS = (10, 100), (1, 2, 3, 4), (0.5, 0.9)


@dataclass(frozen=True)
class Row:
    """One case of both theorems; nan where the paper's formula has no value (m = K - 1)."""

    K: int
    m: int
    q: float
    error: float  # Theorem 3.1
    error_simulated: float
    collision_paper: float  # Theorem 3.2
    collision_paper_asymptotic: float
    collision_exact: float
    collision_stirling: float
    collision_simulated: float


def negative_error(q: float, K: int, m: int) -> float:
    """Theorem 3.1: how often the true class is among the m negatives of a teacher that is right with probability q."""
    check(q, K, m)
    return (1 - q) * m / (K - 1)


def paper(q: float, K: int, m: int) -> float:
    check(q, K, m)
    if m > K - 2:
        return math.nan
    return q / math.comb(K - 1, m) + (1 - q) / math.comb(K - 2, m)


def exact(q: float, K: int, m: int) -> float:
    check(q, K, m)
    sets = math.comb(K - 1, m)
    return q / sets + (1 - q) * math.comb(K - 2, m) / sets**2


def paper_asymptotic(K: int, m: int) -> float:
    """As printed: e^(m-1)/K times the form that Stirling gives."""
    return math.sqrt(2 * math.pi * m) / (math.e * K) * (m / K) ** m


def stirling(K: int, m: int) -> float:
    """1/C(K,m) = m!/K^m for K >> m, with Stirling's m!; q no longer matters."""
    return math.sqrt(2 * math.pi * m) * (m / (math.e * K)) ** m


def simulated(q: float, K: int, m: int, draws: int = 200_000, seed: int = 0) -> tuple[float, float]:
    """(Theorem 3.1's error, Theorem 3.2's collisions) counted over pairs of sets.

    For the first theorem class 0 is the truth, and the teacher says it with probability q, else any other class alike;
    for the second the other network repeats the teacher with probability q, else it says any other class alike.
    """
    check(q, K, m)
    random = Draws.seeded(seed)
    teacher = other_than(torch.zeros(draws, dtype=torch.long), K, 1 - q, random)
    second = other_than(teacher, K, 1 - q, random)
    Y = pick_negatives(teacher, m, K, random)
    Z = pick_negatives(second, m, K, random)
    return float(Y[:, 0].double().mean()), float((Y == Z).all(1).double().mean())


def other_than(c: Tensor, K: int, p: float, random: Draws) -> Tensor:
    """The classes c, each replaced by any other one with probability p."""
    others = random.integers(0, K - 1, len(c))
    others = others + (others >= c)
    return torch.where(random.uniform(len(c)) < p, others, c)


def check(q: float, K: int, m: int) -> None:
    if not 0 <= q <= 1:
        raise UserError(f"q={q} is a probability; take one between 0 and 1")
    if not 1 <= m < K:
        raise UserError(f"m={m} negatives need more than {m} classes, not {K}")


def table(draws: int = 200_000, seed: int = 0) -> list[Row]:
    """Both theorems for K in 10, 100; m in 1..4; q in 0.5, 0.9."""
    rows: list[Row] = []
    for K in KS:
        for m in MS:
            for q in QS:
                error, collisions = simulated(q, K, m, draws, seed)
                formulas = (paper(q, K, m), paper_asymptotic(K, m), exact(q, K, m), stirling(K, m))
                rows.append(Row(K, m, q, negative_error(q, K, m), error, *formulas, collisions))
    return rows


@dataclass(frozen=True)
class Curve:
    """A line of the figure, or (`points`) what was simulated."""

    name: str
    x: list[float]
    y: list[float]
    points: bool = False


def curves(K: int = 10, q: float = 0.9, draws: int = 200_000) -> tuple[list[Curve], list[Curve]]:
    """What `plot` draws, over m = 1..K-2: errors of Theorem 3.1, collisions of Theorem 3.2."""
    ms = list(range(1, K - 1))
    x = [float(m) for m in ms]
    found = [simulated(q, K, m, draws) for m in ms]
    errors = [
        Curve("negative label, formula", x, [negative_error(q, K, m) for m in ms]),
        Curve("negative label, simulated", x, [e for e, _ in found], points=True),
        Curve("pseudo label", x, [1 - q] * len(ms)),
    ]
    collisions = [
        Curve("exact", x, [exact(q, K, m) for m in ms]),
        Curve("simulated", x, [c for _, c in found], points=True),
        Curve("paper", x, [paper(q, K, m) for m in ms]),
        Curve("paper, asymptotic", x, [paper_asymptotic(K, m) for m in ms]),
        Curve("Stirling, K >> m", x, [stirling(K, m) for m in ms]),
    ]
    return errors, collisions


def plot(path: Path | str, K: int = 10, q: float = 0.9, draws: int = 200_000) -> Path:
    """One HTML page without network, with both theorems over m."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    titles = (f"How often a label is wrong (K={K}, q={q:g})", f"How often both sets are equal (K={K}, q={q:g})")
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles)
    for column, group in enumerate(curves(K, q, draws), start=1):
        for curve in group:
            mode = "markers" if curve.points else "lines"
            figure.add_trace(go.Scatter(x=curve.x, y=curve.y, name=curve.name, mode=mode), row=1, col=column)
    figure.update_yaxes(type="log", row=1, col=2)
    figure.update_xaxes(title="m, negatives per image")
    figure.write_html(str(path), include_plotlyjs=True)
    return Path(path)
