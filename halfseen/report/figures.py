"""The page's figures, from a run's record to charts (report/chart.py)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup

from halfseen.machine.progress import NOT_NUMBERS
from halfseen.report.chart import BOTTOM, LETTER, TOP, WIDTH, Axis, Chart, linear, places, powers, short
from halfseen.report.record import Array, Predictions, Record

# Okabe and Ito's colours without the light ones: told apart by colour-blind readers too, and dark enough on white
BLUE, VERMILION, GREEN, PURPLE, BROWN, BLACK = "#0072B2", "#C4500A", "#00785A", "#A6487E", "#8A6100", "#333333"
GREY, PALE = "#8A919A", "#B9C2CC"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, BROWN, BLACK)
DASHES = ("", "6 4", "2 3", "7 3 2 3")
MOST_CELLS = 30  # classes up to which a confusion matrix can be read
MOST_BARS = 30
MOST_POINTS = 250  # of a line
ROW = 22  # units of a bar that stands beside its name
BLUES = ((0.0, (255, 255, 255)), (0.02, (220, 234, 246)), (0.5, (127, 178, 218)), (1.0, (8, 81, 156)))
SHARES = {  # logged name -> what it says
    "mask_rate": "share of images used",
    "pseudo_accuracy": "right among those used",
    "labelled_pseudo_accuracy": "right among those used that are labelled",
    "negative_error": "wrong among negative labels",
}


# ---- training ---------------------------------------------------------------------------------------------------------


def numbers(log: list[dict[str, Any]]) -> list[str]:
    """The names of what the method logged, in order: no learning rates, no shares."""
    found: dict[str, None] = {}
    for row in log:
        found.update(
            dict.fromkeys(k for k in row if k not in NOT_NUMBERS and k not in SHARES and not k.startswith("lr/"))
        )
    return list(found)


def is_loss(key: str) -> bool:
    """Loss terms are called L_something, as in the papers; in a composed method after a slash."""
    return key.rpartition("/")[2].startswith("L")


def lines(
    key: str, found: dict[str, tuple[list[float], list[float]]], y: str, percent: bool = False, whole: bool = False
) -> Markup | None:
    """Lines by name over the steps; `whole`: all of the scale from 0 to 1."""
    found = {name: thinned(*points) for name, points in found.items() if points[0]}
    if not found:
        return None
    xs = linear([x for points in found.values() for x in points[0]], most=4)
    values = [v for points in found.values() for v in points[1]]
    ys = linear(values, percent, -0.02, 1.02) if whole else linear(values, percent)
    chart = Chart(key, xs, ys, ("step", y))
    for i, (name, points) in enumerate(found.items()):
        chart.line(*points, name, COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)])
    return chart.markup()


def thinned(xs: list[float], ys: list[float]) -> tuple[list[float], list[float]]:
    """At most MOST_POINTS of a line: means of as many neighbours, at the last of them. The log of a long run is long."""
    size = -(-len(xs) // MOST_POINTS)
    if size == 1:
        return xs, ys
    starts = range(0, len(xs), size)
    groups = [[y for y in ys[i : i + size] if np.isfinite(y)] for i in starts]
    means = [sum(group) / len(group) if group else float("nan") for group in groups]
    return [xs[min(i + size, len(xs)) - 1] for i in starts], means


def curves(log: list[dict[str, Any]], names: dict[str, str]) -> dict[str, tuple[list[float], list[float]]]:
    """What was logged under these keys, by the names that are shown."""
    rows = {key: [row for row in log if key in row] for key in names}
    return {names[k]: ([row["step"] for row in found], [row[k] for row in found]) for k, found in rows.items()}


def losses(record: Record) -> Markup | None:
    keys = [k for k in numbers(record.log) if is_loss(k)]
    return lines("losses", curves(record.log, {k: k for k in keys}), "loss, weighted")


def other_numbers(record: Record) -> Markup | None:
    """What the method logged besides losses."""
    keys = [k for k in numbers(record.log) if not is_loss(k)]
    return lines("other", curves(record.log, {k: k for k in keys}), "value")


def teaching(record: Record) -> Markup | None:
    """How many of the unlabelled images were used, and how right the method was about them."""
    return lines("teaching", curves(record.log, SHARES), "share", percent=True, whole=True)


def accuracy_curves(record: Record) -> Markup | None:
    """Validation accuracy, and test accuracy where it was logged, of every predictor."""
    found: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for row in record.evaluations:
        for predictor, parts in row["predictors"].items():
            for part, scores in parts.items():
                xs, ys = found.setdefault((part, predictor), ([], []))
                xs.append(row["step"])
                ys.append(scores["accuracy"])
    called = {"val": "validation", "test": "test, chose nothing"}
    named = {
        f"{predictor} ({called.get(part, part)})": points for (part, predictor), points in sorted(found.items())[::-1]
    }
    return lines("accuracy", named, "accuracy", percent=True)


# ---- scores -----------------------------------------------------------------------------------------------------------


def confusion(counts: Array, classes: Sequence[str]) -> Markup:
    """Rows are true classes, columns predicted ones; colour is the share of the row, text the count."""
    K = len(classes)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = [short(c, 14) for c in classes]
    columns = Axis(-0.5, K - 0.5, ())
    longest = LETTER * max(map(len, names))
    room = WIDTH - 26 - longest
    turned = longest > room / K  # names of columns that do not fit beside each other
    below = longest + 8 if turned else 0.0
    height = round(room * min(1.0, 0.5 + K / 20) + TOP + BOTTOM + below)
    chart = Chart("confusion", columns, places(names), ("predicted", "true"), height, lines=False, below=below)
    size = 12 if K <= 12 else 9 if K <= 20 else 7
    for i, row in enumerate(counts.tolist()):
        for j, n in enumerate(row):
            said = f"true {names[i]}, predicted {names[j]}: {n} ({share[i, j]:.1%} of the class)"
            chart.bar(j - 0.48, j + 0.48, i - 0.48, i + 0.48, blue(float(share[i, j])), said)
            dark = share[i, j] > 0.6
            text = str(n) if n else ""
            chart.text(chart.at_x(j), chart.at_y(i) + size / 3, text, "middle", "white" if dark else "#222", size)
    for j, name in enumerate(names):
        x, y = chart.at_x(j), height - BOTTOM - below + (8 if turned else 15)
        turn = f' transform="rotate(-90 {x + 4:.1f} {y:.1f})"' if turned else ""
        chart.text(x + (4 if turned else 0), y, name, "end" if turned else "middle", more=turn)
    return chart.markup()


def blue(share: float) -> str:
    """White for nothing, a tint for little, dark for all."""
    for (low, one), (high, two) in pairwise(BLUES):
        if share <= high:
            t = (share - low) / (high - low)
            return "#" + "".join(f"{round(a + t * (b - a)):02x}" for a, b in zip(one, two, strict=True))
    return "#08519c"


def per_class(recall: Sequence[float | None], counts: Array, classes: Sequence[str]) -> Markup:
    """Accuracy of each class as bars, the worst of them first where there are too many."""
    order = sorted(range(len(classes)), key=lambda k: (recall[k] is None, recall[k] or 0.0))[:MOST_BARS]
    if len(classes) <= MOST_BARS:
        order = list(range(len(classes)))
    rows = places([short(classes[k]) for k in order])
    share = linear([], percent=True, low=0, high=1)
    height = TOP + BOTTOM + ROW * len(order)
    chart = Chart("classes", share, rows, ("share of the class recognised", ""), height, lines=False)
    for i, k in enumerate(order):
        value, n = recall[k], int(counts[k].sum())
        said = "no image" if value is None else f"{value:.1%} of {n}"
        chart.bar(0, value or 0.0, i - 0.4, i + 0.4, BLUE, f"{classes[k]}: {said}")
        inside = (value or 0.0) > 0.4
        at = chart.at_x(0) + 6 if inside else chart.at_x(value or 0.0) + 6
        chart.text(at, chart.at_y(i) + 4, said, colour="white" if inside else "#222")
    return chart.markup()


def reliability(bins: dict[str, Any]) -> Markup:
    """How often the network is right when it is that sure; on the diagonal it knows exactly."""
    share = linear([], percent=True, low=0, high=1)
    chart = Chart("reliability", share, linear([], percent=True, low=0, high=1.1), ("confidence", "right"))
    edges = bins["edges"]
    for i, n in enumerate(bins["count"]):
        if n:
            low, high, right = edges[i], edges[i + 1], bins["accuracy"][i]
            gap = 0.04 * (high - low)
            said = f"{n} images, {bins['confidence'][i]:.1%} sure, {right:.1%} right"
            chart.bar(low + gap, high - gap, 0, right, BLUE, said)
            chart.text(chart.at_x((low + high) / 2), chart.at_y(1.04), n, "middle", "#555", 10 if n < 1000 else 8)
    chart.call("right", BLUE)
    chart.line([0, 1], [0, 1], "as sure as right", BLACK, DASHES[1])
    return chart.markup()


def confidence_histogram(found: Predictions) -> Markup:
    """How sure the network is of the unlabelled images, split by right and wrong where that is known."""
    edges = np.linspace(0, 1, 21)
    groups = [
        (title, np.histogram(found.confidence[rows], edges)[0], colour)
        for title, rows, colour in (
            ("right", found.right, GREEN),
            ("wrong", found.known & ~found.right, VERMILION),
            ("label unknown", ~found.known, GREY),
        )
        if rows.any()
    ]
    top = powers(float(max(counts.max() for _, counts, _ in groups)))
    chart = Chart("confidence", linear([], percent=True, low=0, high=1), top, ("confidence", "images (logarithmic)"))
    width = (edges[1] - edges[0]) / len(groups)
    for g, (title, counts, colour) in enumerate(groups):
        for i, n in enumerate(counts):
            if n:
                left, between = edges[i] + g * width, f"{edges[i]:.0%} to {edges[i + 1]:.0%} sure"
                chart.bar(left + 0.002, left + width - 0.002, 10**top.low, float(n), colour, f"{title}, {between}: {n}")
        chart.call(f"{title} ({int(counts.sum())})", colour)
    return chart.markup()


def predicted_counts(found: Predictions, classes: Sequence[str]) -> Markup:
    """How many unlabelled images went to each class, beside how many are of it where all are known."""
    K = len(classes)
    said = np.bincount(found.label, minlength=K)
    order = np.arange(K) if K <= MOST_BARS else np.argsort(-said, kind="stable")[:MOST_BARS]
    groups = [("predicted", said, BLUE)]
    if found.known.all():
        groups.append(("true", np.bincount(found.y, minlength=K), PALE))
    rows = places([short(classes[k]) for k in order])
    most = float(max(counts[order].max() for _, counts, _ in groups))
    height = TOP + BOTTOM + ROW * len(order)
    chart = Chart(
        "predicted", linear([], low=0, high=1.02 * most, most=4), rows, ("unlabelled images", ""), height, lines=False
    )
    thick = 0.84 / len(groups)
    for g, (title, counts, colour) in enumerate(groups):
        for i, k in enumerate(order):
            above = i - 0.42 + g * thick
            chart.bar(0, float(counts[k]), above, above + thick, colour, f"{classes[k]}, {title}: {counts[k]}")
        chart.call(title, colour)
    return chart.markup()
