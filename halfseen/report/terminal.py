"""Scores of a trained model in the terminal: what `halfseen evaluate` prints, as tables or as JSON."""

import json as json_text
import sys
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from halfseen import metrics
from halfseen.data import ImageSet, Split, open_any
from halfseen.device import pick_device
from halfseen.errors import UserError, nearest
from halfseen.evaluate import logits_of
from halfseen.model import Model, load_model
from halfseen.resume import began_with
from halfseen.run import Folder
from halfseen.settings import Settings

MATRIX_CLASSES = 20  # with more, the most confused pairs say it better
PAIRS = 10
WIDE = 1000  # columns of an output that is no terminal: nothing is wrapped or cut there

Part = tuple[str, Tensor, Tensor]  # what to call it, images, labels as the model counts them


def evaluate(run: Path, data: str | None, root: Path | None, device: str, json: bool) -> None:
    """Score the run's model on the test images of its own data, or of `data`, and print the result."""
    model = load_model(run, pick_device(device))
    config, _ = began_with(Folder.open(run))
    source = config["data"] if data is None else data
    images = open_own(config, root, model) if data is None else open_other(data, root, model)
    own = data is None or images.fingerprint() == config["fingerprint"]
    name, x, y = own_part(images, run) if own else other_part(images)
    if data is None and images.fingerprint() != config["fingerprint"]:
        print(
            f"{source} has changed since this run; its figures of then are in {run / 'metrics.json'}", file=sys.stderr
        )
    y = renumber(y, images.classes, model.classes, source)
    scores = metrics.summary(logits_of(model.net, x, model.clean, model.device), y, len(model.classes))
    if json:
        about = {"run": str(run), "data": source, "part": name, "classes": list(model.classes)}
        print(json_text.dumps({**about, **scores}, indent=1))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDE)
    what = f"{model.about['method']} on {model.about['net']}, {model.about['predictor']}"
    console.print(f"{what}: {scores['n']} {name} images of {source}", markup=False, style="bold")
    show(console, scores, model.classes)


# ---- which images --------------------------------------------------------------------------------------------------------


def open_own(config: dict[str, Any], root: Path | None, model: Model) -> ImageSet:
    """The data that the run was trained on, opened as then, so that its cache of decoded images is found."""
    if config.get("from_python"):
        raise UserError("the data of this run came from a Python program and are in no file; name images with --data")
    began = Settings.from_json(config["settings"])
    root = root or began.root
    try:
        images = open_any(
            config["data"],
            root=root,
            size=began.size,
            channels=began.channels,
            flip=began.flip,
            on_bad_image=began.on_bad_image,
        )
    except UserError as e:
        raise UserError(f"the data of this run could not be opened again: {e}; name images with --data") from e
    return images if images.shape == model.facts.shape else open_other(config["data"], root, model)


def open_other(data: str, root: Path | None, model: Model) -> ImageSet:
    """Other data, at the size and with the channels that the model wants."""
    shape = model.facts.shape
    wanted: dict[str, Any] = {"size": shape[1:], "channels": shape[0]} if len(shape) == 3 else {}
    images = open_any(data, root=root, **wanted)
    if images.shape != shape:
        kinds = [("pictures" if len(s) == 3 else "vectors") + f" of shape {s}" for s in (shape, images.shape)]
        raise UserError(f"the model was trained on {kinds[0]}, and {data} holds {kinds[1]}; choose other data")
    return images


def own_part(images: ImageSet, run: Path) -> Part:
    """The test images; without any, those that validated the run, which flatters: they chose its epoch and network."""
    if images.test_x is not None and images.test_y is not None and len(images.test_x):
        return "test", images.test_x, images.test_y
    ids = Split.from_json(Folder(run).read("split.json")).val
    if len(ids):
        return "validation", images.x[ids], images.y[ids]
    if images.val_x is not None and images.val_y is not None and len(images.val_x):
        return "validation", images.val_x, images.val_y
    raise UserError("the data of this run have neither test nor validation images; name labelled images with --data")


def other_part(images: ImageSet) -> Part:
    """The test images if there is such a part, else every image with a label."""
    if images.test_x is not None and images.test_y is not None and len(images.test_x):
        return "test", images.test_x, images.test_y
    known = (images.y >= 0).nonzero().flatten()
    if not len(known):
        raise UserError(f"no image of {images.name} has a label, so there is nothing to score against; label some")
    return "labelled", images.x[known], images.y[known]


def renumber(y: Tensor, theirs: tuple[str, ...], ours: tuple[str, ...], source: str) -> Tensor:
    """Labels as positions among the model's classes, found by name."""
    for name in theirs:
        if name not in ours:
            raise UserError(f"{source} has the class {name!r}, which the model does not know; {nearest(name, ours)}")
    return torch.tensor([ours.index(name) for name in theirs])[y]


# ---- tables --------------------------------------------------------------------------------------------------------------


def show(console: Console, scores: dict[str, Any], classes: tuple[str, ...]) -> None:
    console.print(headline(scores))
    confusion = torch.tensor(scores["confusion"])
    console.print(by_class(scores, confusion, classes))
    matrix = confusion_matrix(confusion, classes)
    if len(classes) <= MATRIX_CLASSES and console.measure(matrix).minimum <= console.width:
        console.print(matrix)
    else:
        console.print(confused_pairs(confusion, classes))


def grid(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)


def headline(scores: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    low, high = scores["interval"]
    rows = [
        ("accuracy", f"{scores['accuracy']:.2%}", f"95% interval {low:.2%} to {high:.2%}"),
        ("macro-F1", f"{scores['macro_f1']:.4f}", "mean over the classes"),
        ("ECE", f"{scores['ece']:.4f}", "confidence against accuracy, 15 bins; 0 is best"),
        ("Brier", f"{scores['brier']:.4f}", "0 is best, 2 worst"),
        ("NLL", "infinite" if scores["nll"] is None else f"{scores['nll']:.4f}", "0 is best"),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def by_class(scores: dict[str, Any], confusion: Tensor, classes: tuple[str, ...]) -> Table:
    """Images, recall and precision of each class."""
    table = grid("By class")
    table.add_column("class")
    for name in ("images", "recall", "precision"):
        table.add_column(name, justify="right")
    for k, name in enumerate(classes):
        called, right = int(confusion[:, k].sum()), int(confusion[k, k])
        recall = scores["per_class"][k]
        cells = ["-" if recall is None else f"{recall:.1%}", f"{right / called:.1%}" if called else "-"]
        table.add_row(plain(name), str(int(confusion[k].sum())), *cells)
    return table


def confusion_matrix(confusion: Tensor, classes: tuple[str, ...]) -> Table:
    """Rows: what an image is; columns: what it was called, by number where the names are long."""
    short = max(map(len, classes)) <= 5
    table = grid("Confusion: rows are the true classes, columns the predicted ones")
    table.add_column("")
    for k, name in enumerate(classes):
        table.add_column(plain(name) if short else str(k + 1), justify="right", no_wrap=True)
    for k, name in enumerate(classes):
        cells = [str(n) if n else "." for n in confusion[k].tolist()]
        table.add_row(plain(name) if short else f"{k + 1} {plain(name)}", *cells)
    return table


def confused_pairs(confusion: Tensor, classes: tuple[str, ...]) -> Table:
    """The errors that are made most often."""
    table = grid(f"Most confused ({PAIRS} pairs at most)")
    for name in ("is", "was called"):
        table.add_column(name)
    for name in ("images", "of the class"):
        table.add_column(name, justify="right")
    wrong = confusion.clone().fill_diagonal_(0)
    order = wrong.flatten().argsort(descending=True, stable=True)[:PAIRS].tolist()
    for place in order:
        true, called = divmod(place, len(classes))
        if n := int(wrong[true, called]):
            share = f"{n / int(confusion[true].sum()):.1%}"
            table.add_row(plain(classes[true]), plain(classes[called]), str(n), share)
    return table


def plain(name: str) -> str:
    """A class's name, safe from rich's markup and from line breaks."""
    return (name if name.isprintable() else repr(name)).replace("[", "\\[")
