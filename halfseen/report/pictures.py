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
MOST_STRANGE = 24
MOST_TWINS = 8  # pairs
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
    if record.strange is not None and len(record.strange.ids):
        found.append(strangest(record))
    found += twins(record)
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


BY = {
    "distance": "Least like any labelled image by the features of the backbone",
    "energy": "Those whose logits are lowest (energy)",
}


def strangest(record: Record) -> Gallery:
    """What may be of no class; what the run has been told to leave out has no prediction."""
    assert record.strange is not None
    about, rows = record.metrics["strangers"], record.strange.most(MOST_STRANGE)
    ids = record.strange.ids[rows]
    said: dict[int, Picture] = {}
    if record.unlabelled is not None:
        place = {int(i): row for row, i in enumerate(record.unlabelled.ids)}
        there = np.array([place[int(i)] for i in ids if int(i) in place], dtype=np.int64)
        shown = predicted(record.images.x, record.unlabelled, there, record.classes)
        said = {int(record.unlabelled.ids[row]): picture for row, picture in zip(there, shown, strict=True)}
    pictures = [said.get(int(i)) or Picture(*png(record.images.x[int(i)]), None, "left out") for i in ids]
    text = f"{BY[about['score']]}: of no class, perhaps, or of a kind that no label shows."
    if about["score"] == "distance":
        beyond, level = f"{about['beyond']:,} of {about['pictures']:,}", f"{1 - about['share']:.0%}"
        text += f" {beyond} are stranger than {level} of the labelled images."
    return Gallery("strangest", "Strangest images without a label", text, pictures)


def twins(record: Record) -> list[Gallery]:
    """Pairs of near-duplicates: of the training images, and of test images among these."""
    found, x, test = record.metrics.get("twins", {}), record.images.x, record.images.test_x
    galleries = []
    if (within := found.get("training")) and within["pairs"]:
        text = f"{within['pictures']:,} of {within['looked']:,} training images have one; the most alike pairs."
        shown = [one for i, j in within["pairs"][:MOST_TWINS] for one in pair(x, i, x, j, record)]
        galleries.append(Gallery("twins", "Near-duplicates among the training images", text, shown))
    if (between := found.get("test")) and between["pairs"] and test is not None:
        text = (
            f"{between['pictures']:,} of {between['looked']:,} test images have one among the training images, so the test "
            "score flatters; first the training image, then that of the test."
        )
        shown = [one for i, j in between["pairs"][:MOST_TWINS] for one in pair(x, i, test, j, record)]
        galleries.append(Gallery("test-twins", "Near-duplicates between training and test images", text, shown))
    return galleries


def pair(x: Tensor, i: int, other: Tensor, j: int, record: Record) -> list[Picture]:
    """By the names of their files, where they have any."""
    images = record.images
    names = images.paths, (images.paths if other is x else images.test_paths)
    return [
        Picture(*png(rows[k]), paths[k] if paths else f"image {k}")
        for rows, k, paths in ((x, i, names[0]), (other, j, names[1]))
    ]


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
