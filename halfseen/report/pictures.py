"""Pictures on the page: which images say most about a network, as small PNGs inside the HTML; or the plane itself."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from halfseen.report.chart import Chart, linear
from halfseen.report.figures import COLOURS
from halfseen.report.record import Array, Predictions, Record

MOST_LABELLED = 60
MOST_UNSURE = 24
SIDE = 96  # pixels; larger pictures are made smaller
GRID = 140  # points of a side at which a decision is drawn
MOST_POINTS = 20_000  # of the plane


@dataclass(frozen=True)
class Picture:
    source: str  # data:image/png;base64,...
    small: bool  # fewer pixels than it is shown with: draw them as squares
    true: str | None
    said: str | None = None
    confidence: str = ""
    right: bool | None = None


@dataclass(frozen=True)
class Gallery:
    key: str
    title: str
    text: str
    pictures: list[Picture]


def png(image: Tensor) -> tuple[str, bool]:
    """One raw image [c, h, w] as a data URI, and whether it is smaller than it will be shown."""
    values = image.numpy()
    picture = Image.fromarray(values.transpose(1, 2, 0)) if len(values) == 3 else Image.fromarray(values[0])
    small = max(picture.size) < SIDE
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(), small


def predicted(x: Tensor, found: Predictions, rows: Array, classes: tuple[str, ...]) -> list[Picture]:
    shown = []
    for i in rows.tolist():
        known = bool(found.known[i])
        right = bool(found.right[i]) if known else None
        true = classes[int(found.y[i])] if known else None
        shown.append(
            Picture(*png(x[int(found.ids[i])]), true, classes[int(found.label[i])], f"{found.confidence[i]:.0%}", right)
        )
    return shown


def galleries(record: Record) -> list[Gallery]:
    """The labelled images, and those that the network is least sure of or most surely wrong about."""
    images, classes = record.images, record.classes
    if not images.is_images:
        return []
    chosen = record.split.labelled.tolist()
    chosen.sort(key=lambda i: int(images.y[i]))
    step = -(-len(chosen) // MOST_LABELLED)  # a part of every class, where there are too many
    few = chosen[::step]
    some = f"{len(few)} of the {len(chosen)}" if step > 1 else f"All {len(chosen)}"
    text = f"{some} images whose labels it was given."
    found = [
        Gallery("labelled", "Labelled images", text, [Picture(*png(images.x[i]), classes[images.y[i]]) for i in few])
    ]
    if record.unlabelled is not None:
        rest = record.unlabelled.rows(~np.isin(record.unlabelled.ids, record.split.labelled.numpy()))
        rows = rest.unsure(MOST_UNSURE)
        text = "The predictions with the least confidence. Labels for these would teach it most."
        found.append(
            Gallery(
                "unsure-unlabelled",
                "Unlabelled images it is least sure of",
                text,
                predicted(images.x, rest, rows, classes),
            )
        )
    if record.test is not None and images.test_x is not None:
        rows = record.test.unsure(MOST_UNSURE)
        text = "The test images with the least confidence: a person may want to look at such ones."
        pictures = predicted(images.test_x, record.test, rows, classes)
        found.append(Gallery("unsure-test", "Test images it is least sure of", text, pictures))
        rows = record.test.confident_mistakes(MOST_UNSURE)
        text = f"The most confident of its {int((~record.test.right).sum())} mistakes on the test images."
        if not len(rows):
            text = "It makes no mistake on the test images."
        pictures = predicted(images.test_x, record.test, rows, classes)
        found.append(Gallery("mistakes", "Confident mistakes on test images", text, pictures))
    return found


def plane(record: Record) -> Markup | None:
    """For data with two features: the points, the labelled ones large, over the regions of the classes."""
    import torch

    from halfseen.model import load_model

    x = record.images.x
    if record.images.shape != (2,):
        return None
    low, high = x.min(0).values, x.max(0).values
    margin = 0.08 * (high - low)
    xs, ys = (torch.linspace(float(a), float(b), GRID) for a, b in zip(low - margin, high + margin, strict=True))
    grid = torch.cartesian_prod(xs, ys)
    (low_x, high_x), (low_y, high_y) = ((float(axis[0]), float(axis[-1])) for axis in (xs, ys))
    K = len(record.classes)
    region = load_model(record.folder.path).probabilities(grid).argmax(1).view(GRID, GRID).T
    chart = Chart("plane", linear(xs.tolist()), linear(ys.tolist()), ("first feature", "second feature"), 400)
    colours = [COLOURS[k % len(COLOURS)] for k in range(K)]
    half = [float(axis[1] - axis[0]) / 2 for axis in (xs, ys)]
    for row, y in zip(region.tolist(), ys.tolist(), strict=True):
        start = 0
        for i in range(1, GRID + 1):  # a box for as long as the class is the same
            if i == GRID or row[i] != row[start]:
                left, right = (max(low_x, min(high_x, float(v))) for v in (xs[start] - half[0], xs[i - 1] + half[0]))
                under, above = (max(low_y, min(high_y, v)) for v in (y - half[1], y + half[1]))
                chart.bar(left, right, under, above, tint(colours[row[start]]), record.classes[row[start]])
                start = i
    free, given = x[record.split.unlabelled], record.split.labelled
    chart.dots(free[:MOST_POINTS].tolist(), "#7A8087", 2.5, "unlabelled")
    for k, title in enumerate(record.classes):
        rows = given[record.images.y[given] == k]
        if len(rows):
            chart.dots(x[rows].tolist(), colours[k], 8, f"labelled {title}", "black")
    return chart.markup()


def tint(colour: str) -> str:
    """The colour at a fifth of its strength, on white."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(255 - 0.18 * (255 - p)):02x}" for p in parts)
