"""Charts: round numbers on the axes, marks where they belong, every text inside and escaped."""

import math
import re

import numpy as np
import pytest

from halfseen.report import figures
from halfseen.report.chart import LETTER, WIDTH, Axis, Chart, linear, places, powers, short


def labels(axis: Axis) -> list[str]:
    return [label for _, label in axis.ticks]


def test_axes_carry_round_numbers() -> None:
    assert labels(linear([0.0, 1.0], percent=True)) == ["0%", "20%", "40%", "60%", "80%", "100%"]
    assert labels(linear([0.951, 0.964], percent=True)) == ["95.5%", "96.0%"]
    assert labels(linear([1, 48_000], most=4)) == ["20,000", "40,000"]
    assert labels(linear([0.0012, 0.0031])) == ["0.0015", "0.0020", "0.0025", "0.0030"]
    assert labels(linear([-2.0, 2.0])) == ["-2", "-1", "0", "1", "2"]
    assert labels(powers(2500)) == ["1", "10", "100", "1,000"]
    for values in ([], [3.0], [0.0, 0.0], [math.nan, math.inf], [5.0, math.nan]):
        axis = linear(values)
        assert axis.low < axis.high
        assert 1 <= len(axis.ticks) <= 7


def test_values_lie_where_they_belong() -> None:
    assert linear([2, 4]).share(3) == 0.5
    assert places(["a", "b"]).share(0) == 0.75  # the first at the top
    assert powers(100).share(1) == pytest.approx(0.2 / 2.3)
    chart = Chart("k", linear([0, 10]), linear([0, 1]), ("x", "y"))
    assert chart.at_x(0) == chart.left
    assert chart.at_y(0) > chart.at_y(1)


def test_a_line_leaves_out_what_is_no_number_and_says_each_point() -> None:
    chart = Chart("k", linear([0, 30]), linear([0, 1]), ("step", "loss"))
    chart.line([0, 10, 20, 30], [1.0, math.nan, 0.5, 0.25], "L_<s>", "#000")
    drawn = str(chart.markup())
    assert len(re.search(r'points="([^"]*)"', drawn)[1].split()) == 3
    assert "<title>L_&lt;s&gt;: 0.25 at 30</title>" in drawn
    assert "nan" not in drawn


def test_a_long_log_becomes_means_of_neighbours() -> None:
    xs, ys = [float(i) for i in range(1, 1002)], [float(i % 5) for i in range(1001)]
    ys[500] = math.nan
    few, means = figures.thinned(xs, ys)
    assert len(few) == len(means) <= figures.MOST_POINTS
    assert few[:2] == [5.0, 10.0]
    assert few[-1] == 1001.0
    assert means[0] == 2.0
    assert means[100] == 2.5  # without what is no number
    assert figures.thinned(xs[:9], ys[:9]) == (xs[:9], ys[:9])
    drawn = str(figures.lines("losses", {f"L_{k}": (xs * 20, ys * 20) for k in range(20)}, "loss"))
    assert len(drawn) < 700_000


def everything() -> list[str]:
    """Charts with the longest of names, and the most classes that each can have."""
    names = [f"{'W' * 30} {k}" for k in range(40)]
    rng = np.random.default_rng(0)
    found = []
    for K in (2, 10, 30, 40):
        counts = rng.integers(0, 50_000, (K, K))
        recall = [None, *rng.random(K - 1)]
        found.append(str(figures.per_class(recall, counts, names[:K])))
        if K <= figures.MOST_CELLS:
            found.append(str(figures.confusion(counts, names[:K])))
    bins = {"edges": np.linspace(0, 1, 16), "count": [9] * 15, "accuracy": [0.5] * 15, "confidence": [0.5] * 15}
    return [*found, str(figures.reliability(bins))]


@pytest.mark.parametrize("drawn", everything())
def test_every_text_is_inside(drawn: str) -> None:
    height = float(re.search(r'viewBox="0 0 440 ([\d.]+)"', drawn)[1])
    turned = re.compile(
        r'<text x="([\d.-]+)" y="([\d.-]+)" text-anchor="(\w+)"[^>]*font-size="(\d+)"( transform[^>]*)?>([^<]*)<'
    )
    texts = turned.findall(drawn)
    assert len(texts) > 4
    for x, y, anchor, size, turn, text in texts:
        long = len(text) * LETTER * int(size) / 12
        at = float(y) if turn else float(x)
        low = at - {"start": 0, "middle": long / 2, "end": long}[anchor]
        if turn:  # a quarter to the left: its end is at the top
            assert at + long <= height + 1, text
        else:
            assert low >= -1, text
            assert low + long <= WIDTH + 1, text
            assert 0 < float(y) < height
    for x, y, w, h in re.findall(r'<rect x="([\d.-]+)" y="([\d.-]+)" width="([\d.-]+)" height="([\d.-]+)"', drawn):
        assert float(x) >= 0
        assert float(y) >= 0
        assert float(x) + float(w) <= WIDTH
        assert float(y) + float(h) <= height


def test_colours_of_shares() -> None:
    assert figures.blue(0.0) == "#ffffff"
    assert figures.blue(1.0) == "#08519c"
    assert figures.blue(0.5) == "#7fb2da"


def test_names_are_shortened() -> None:
    assert short("a" * 24) == "a" * 24
    assert short("a" * 25) == "a" * 23 + "…"
