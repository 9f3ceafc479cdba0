"""Methods ranked over several blocks, and whether the ranks differ: Friedman's test, Nemenyi's distance, their picture.

    r_bj      rank of method j in block b, 1 the best, ties the mean of their ranks;   R_j = 1/n sum_b r_bj
    chi2      12 n/(k (k + 1)) [sum_j R_j^2 - k (k + 1)^2/4] / (1 - sum_ties (t^3 - t)/(n k (k^2 - 1)))      k - 1 degrees
    CD        q_alpha sqrt(k (k + 1)/(6 n)),  q_alpha the studentised range's quantile over sqrt 2         (Demsar 2006)

A block is what all methods were scored on: a set, or one draw of a set's labels. Draws of one set say how methods rank
on that set and no other. CD grows with the number of methods k, and shrinks with the root of the number of blocks n.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

Scores = Sequence[Sequence[float]]  # [n blocks][k methods], more is better

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
INK, GREY, BAR = "#222", "#8A919A", "#0072B2"
WIDE, SIDE, ROW, TOP = 900, 250, 20, 96  # pixels: of the picture, of a side's names, of a name, above the axis' names
LETTER = 7  # pixels of one of a name: longer ones than usual widen the picture


@dataclass(frozen=True)
class Test:
    chi2: float
    p: float  # of ranks as far apart, if all methods were alike


def ranks(values: Sequence[float]) -> list[float]:
    """1 for the largest; equal ones share the mean of their places."""
    order = sorted(values, reverse=True)
    return [order.index(v) + (order.count(v) + 1) / 2 for v in values]


def mean_ranks(scores: Scores) -> list[float]:
    each = [ranks(block) for block in scores]
    return [sum(column) / len(each) for column in zip(*each, strict=True)]


def friedman(scores: Scores) -> Test:
    from scipy.stats import chi2 as chi_squared

    n, k = len(scores), len(scores[0])
    R = mean_ranks(scores)
    ties = sum(t**3 - t for block in scores for t in (block.count(v) for v in set(block)))
    spread = 12 * n / (k * (k + 1)) * (sum(r * r for r in R) - k * (k + 1) ** 2 / 4)
    chi2 = spread / (1 - ties / (n * k * (k * k - 1)))
    return Test(chi2, float(chi_squared.sf(chi2, k - 1)))


def critical_difference(k: int, n: int, alpha: float = 0.05) -> float:
    """How far apart the mean ranks of two of k methods must lie over n blocks (Nemenyi)."""
    return _q(k, alpha) * math.sqrt(k * (k + 1) / (6 * n))


def blocks_for(k: int, apart: float, alpha: float = 0.05) -> int:
    """Blocks after which mean ranks that lie so far apart are told from each other."""
    return math.ceil((_q(k, alpha) / apart) ** 2 * k * (k + 1) / 6 - 1e-9)


def _q(k: int, alpha: float) -> float:
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(1 - alpha, k, math.inf)) / math.sqrt(2)


def alike(R: Sequence[float], CD: float) -> list[tuple[float, float]]:
    """The longest stretches of ranks (from, to) whose ends CD does not tell apart, of two methods at least."""
    order = sorted(R)
    found: list[tuple[float, float]] = []
    for i, start in enumerate(order):
        end = max(r for r in order if r <= start + CD)
        if order[i + 1 :] and end > start and not (found and end <= found[-1][1]):
            found.append((start, end))
    return found


def sentence(names: Sequence[str], scores: Scores) -> str:
    """What the ranks say, and what they cannot."""
    k, n = len(names), len(scores)
    test, CD = friedman(scores), critical_difference(k, n)
    said = (
        f"{k} methods in {n} blocks: Friedman's chi2 = {test.chi2:.1f}, p = {test.p:.2g}; two mean ranks differ if they "
        f"lie {CD:.1f} apart (Nemenyi, 5%)"
    )
    if (k - 1) / 2 <= CD:
        apart = max(1.0, k / 10)
        said += f", which is half of the scale or more: to tell ranks {apart:g} apart it needs {blocks_for(k, apart)} blocks"
    return said


def drawing(names: Sequence[str], scores: Scores, about: str) -> str:
    """Mean ranks on a line, bars over those that cannot be told apart; one SVG without a library."""
    k = len(names)
    R, CD = mean_ranks(scores), critical_difference(k, len(scores))
    bars = alike(R, CD)
    order = sorted(range(k), key=lambda j: R[j])
    left, right = order[: (k + 1) // 2], order[(k + 1) // 2 :][::-1]
    axis = TOP + 12 * len(bars)
    edge = max(SIDE, 36 + round(LETTER * max(len(f"{name}  0.00") for name in names)))
    wide = WIDE + 2 * (edge - SIDE)
    high = axis + 40 + ROW * max(len(left), len(right)) + 46

    def x(rank: float) -> float:
        return edge + (wide - 2 * edge) * (rank - 1) / max(1, k - 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" '
        f'font-family="{html.escape(FONT)}" font-size="13" fill="{INK}">',
        f"<title>{html.escape(about)}</title>",
        f'<rect width="{wide}" height="{high}" fill="white"/>',
        text(12, 24, about, weight="bold"),
        line(x(1), 60, min(x(1 + CD), wide - 12), 60, BAR, 3),
        text(x(1), 52, f"critical difference {CD:.2f}" + (" (longer than the scale)" if k < 1 + CD else "")),
        line(x(1), axis, x(k), axis, INK, 1),
    ]
    for rank in range(1, k + 1):
        whole = k <= 12 or rank in (1, k) or rank % 5 == 0
        parts.append(line(x(rank), axis - (6 if whole else 3), x(rank), axis, INK, 1))
        if whole:
            parts.append(text(x(rank), axis - 9, str(rank), "middle"))
    for i, (start, end) in enumerate(bars):
        parts.append(line(x(start) - 3, axis + 8 + 12 * i - 12 * len(bars) - 26, x(end) + 3, None, BAR, 4))
    for side, names_of in (("end", left), ("start", right)):
        for i, j in enumerate(names_of):
            y = axis + 30 + ROW * i
            at = edge - 24 if side == "end" else wide - edge + 24
            parts.append(line(x(R[j]), axis, x(R[j]), y, GREY, 1))
            parts.append(line(x(R[j]), y, at, y, GREY, 1))
            parts.append(text(at + (-6 if side == "end" else 6), y + 4, f"{names[j]}  {R[j]:.2f}", side))
    said = sentence(names, scores).split("; ")
    parts += [text(12, high - 26 + 16 * i, part, colour="#555") for i, part in enumerate(said)]
    return "\n".join([*parts, "</svg>\n"])


def line(x1: float, y1: float, x2: float, y2: float | None, colour: str, width: int) -> str:
    end = y1 if y2 is None else y2
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{end:.1f}" stroke="{colour}" stroke-width="{width}" '
        'stroke-linecap="round"/>'
    )


def text(x: float, y: float, said: str, anchor: str = "start", weight: str = "normal", colour: str = INK) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">'
        f"{html.escape(said)}</text>"
    )
