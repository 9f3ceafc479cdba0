"""Charts as SVG, drawn here: sharp at any width, nothing to run, and what a mark stands for is under the pointer.

A chart is WIDTH units wide, of which a letter takes LETTER; the page gives it the width that there is, on a phone a little
less than WIDTH pixels.
"""

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, LETTER = 440, 7.4
TOP, RIGHT, BOTTOM = 22, 18, 36  # margins: for the titles of the axes, and the last tick's label
GRID, INK, SOFT = "#E3E6EA", "#222", "#4c5661"
FONT = 'font-family="system-ui, sans-serif"'


@dataclass(frozen=True)
class Axis:
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False  # low and high are powers of ten

    def share(self, value: float) -> float:
        """Where a value lies: 0 at the low end, 1 at the high one."""
        v = math.log10(max(value, 1e-300)) if self.log else value
        return (v - self.low) / (self.high - self.low)


def linear(
    values: Iterable[float], percent: bool = False, low: float | None = None, high: float | None = None, most: int = 5
) -> Axis:
    """From the smallest to the largest value, or from `low` to `high`, with round numbers on it."""
    finite = [v for v in values if math.isfinite(v)] or [0.0]
    a, b = min(finite) if low is None else low, max(finite) if high is None else high
    if a >= b:  # one value: a mark in the middle
        a, b = a - (abs(a) or 1) / 2, a + (abs(a) or 1) / 2
    rough = (b - a) / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    ticks = [k * step for k in range(math.ceil(a / step - 1e-9), math.floor(b / step + 1e-9) + 1)]
    digits = max(0, -math.floor(math.log10(step) + 1e-9) - (2 if percent else 0))
    return Axis(a, b, tuple((v, f"{v:.{digits}%}" if percent else f"{v:,.{digits}f}") for v in ticks))


def powers(most: float) -> Axis:
    """Counts from one to `most` on a logarithmic scale, which begins below 1, so that a single one shows."""
    high = max(0.3, 1.05 * math.log10(max(1.0, most)))
    return Axis(-0.2, high, tuple((10.0**k, f"{10**k:,}") for k in range(math.floor(high) + 1)), log=True)


def places(names: Sequence[str]) -> Axis:
    """A place for each name, the first one at the top of a vertical axis."""
    return Axis(len(names) - 0.5, -0.5, tuple((i, name) for i, name in enumerate(names)))


def short(text: object, most: int = 24) -> str:
    return str(text) if len(str(text)) <= most else f"{str(text)[: most - 1]}…"


def escaped(text: object) -> str:
    return html.escape(str(text))


def width_of(text: str) -> float:
    return LETTER * len(text)


class Chart:
    """Marks between two axes; `markup` is what the page shows, its id is `figure-KEY`."""

    def __init__(
        self,
        key: str,
        x: Axis,
        y: Axis,
        titles: tuple[str, str],
        height: int = 240,
        lines: bool = True,
        below: float = 0.0,
    ) -> None:
        """lines: along the ticks of the vertical axis; where its ticks are names, along those of the other. below: room
        for what else stands under the box."""
        self.key, self.x, self.y, self.height = key, x, y, height
        self.foot = height - BOTTOM - below
        self.left = 12 + max((width_of(label) for _, label in y.ticks), default=0)
        self.named: list[str] = []
        self.keys: list[tuple[str, str]] = []  # a sample of the mark, and its name
        self.parts: list[str] = []
        for value, label in y.ticks:
            at = self.at_y(value)
            if lines:
                self.parts.append(f'<path d="M{self.left:.1f} {at:.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>')
            self.text(self.left - 6, at + 4, label, "end")
        for value, label in x.ticks:
            at = self.at_x(value)
            if not lines:
                self.parts.append(f'<path d="M{at:.1f} {TOP}V{self.foot:.1f}" stroke="{GRID}"/>')
            self.text(at, self.foot + 15, label, "middle")
        self.text(2, 12, titles[1], colour=SOFT)
        self.text(WIDTH - RIGHT, height - 5, titles[0], "end", colour=SOFT)

    def at_x(self, value: float) -> float:
        return self.left + self.x.share(value) * (WIDTH - RIGHT - self.left)

    def at_y(self, value: float) -> float:
        return self.foot - self.y.share(value) * (self.foot - TOP)

    def text(
        self, x: float, y: float, what: object, anchor: str = "start", colour: str = INK, size: int = 12, more: str = ""
    ) -> None:
        if str(what):
            said = f'text-anchor="{anchor}" fill="{colour}" font-size="{size}"{more}'
            self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" {said}>{escaped(what)}</text>')

    def line(self, xs: Sequence[float], ys: Sequence[float], name: str, colour: str, dash: str = "") -> None:
        """A line through the points, each of which says what it is; one point is a mark."""
        told = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
        points = [(self.at_x(x), self.at_y(y)) for x, y in told]
        style = f'fill="none" stroke="{colour}" stroke-width="2"' + (f' stroke-dasharray="{dash}"' if dash else "")
        if len(points) > 1:
            self.parts.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" {style}/>')
        shown = 0 if len(points) > 1 else 1
        for (x, y), (step, value) in zip(points, told, strict=True):
            said = f"{escaped(name)}: {value:.4g} at {step:,g}"
            self.parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}" opacity="{shown}"><title>{said}</title></circle>'
            )
        sample = f'<svg width="22" height="10"><path d="M0 5H22" {style}/></svg>'
        self.keys.append((f'<path d="M0 -4H22" {style}/>', short(name, 40)))
        self.named.append(f"<span>{sample} {escaped(short(name, 40))}</span>")

    def bar(self, left: float, right: float, low: float, high: float, colour: str, said: str) -> None:
        """A box between two values of each axis."""
        x, x2 = sorted((self.at_x(left), self.at_x(right)))
        y, y2 = sorted((self.at_y(low), self.at_y(high)))
        size = f'x="{x:.1f}" y="{y:.1f}" width="{max(0.6, x2 - x):.1f}" height="{max(0.6, y2 - y):.1f}"'
        self.parts.append(f'<rect {size} fill="{colour}"><title>{escaped(said)}</title></rect>')

    def dots(self, points: Iterable[Sequence[float]], colour: str, size: float, name: str, edge: str = "") -> None:
        """Points (x, y) without a word each: as many as there may be."""
        path = "".join(f"M{self.at_x(float(x)):.1f} {self.at_y(float(y)):.1f}h0" for x, y in points)
        for wide, ink in ((size + 3, edge), (size, colour)):
            if ink and path:
                style = f'stroke="{ink}" stroke-width="{wide}" stroke-linecap="round"'
                self.parts.append(f'<path d="{path}" fill="none" {style}/>')
        self.call(name, colour)

    def call(self, name: str, colour: str) -> None:
        """A name beside its colour, below the chart."""
        sample = f'<svg width="12" height="12"><rect width="12" height="12" fill="{colour}"/></svg>'
        self.keys.append((f'<path d="M5 -4H17" stroke="{colour}" stroke-width="10"/>', short(name, 40)))
        self.named.append(f"<span>{sample} {escaped(short(name, 40))}</span>")

    def markup(self) -> Markup:
        names = f'<div class="legend">{"".join(self.named)}</div>' if self.named else ""
        size = f'viewBox="0 0 {WIDTH} {self.height}"'
        body = "\n".join(self.parts)
        return Markup(f'<div class="chart" id="figure-{self.key}">{names}<svg {size} role="img">\n{body}\n</svg></div>')

    def alone(self) -> str:
        """The chart as a file of its own, its names in lines above it."""
        tall = 18 * len(self.keys)
        parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height + tall}" {FONT}>']
        parts.append(f'<rect width="{WIDTH}" height="{self.height + tall}" fill="white"/>')
        for i, (sample, name) in enumerate(self.keys):
            words = f'<text x="30" y="0" font-size="12" fill="{INK}">{escaped(name)}</text>'
            parts.append(f'<g transform="translate(8 {14 + 18 * i})">{sample}{words}</g>')
        body = "\n".join(self.parts)
        return "\n".join([*parts, f'<g transform="translate(0 {tall})">', body, "</g>", "</svg>"]) + "\n"
