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

from halfseen.data import ImageSet, Split
from halfseen.errors import UserError, meant, nearest
from halfseen.machine.device import pick_device
from halfseen.machine.progress import stdout
from halfseen.model import load_model
from halfseen.model.model import Model
from halfseen.probes.strange import SHARE
from halfseen.run.beginning import began_with, open_other, open_own
from halfseen.run.folder import Folder
from halfseen.training import metrics

MATRIX_CLASSES = 20  # with more, the most confused pairs say it better
PAIRS = 10

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
    theirs, y = y, renumber(y, images.classes, model.classes, source)
    known = y >= 0
    logits, far = (model.logits(x), None) if known.all() or model.familiar is None else model.looked(x)
    scores = metrics.summary(logits[known], y[known], len(model.classes))
    rest = {} if known.all() else of_strangers(model, theirs, known, far, images.classes)
    if json:
        about = {"run": str(run), "data": source, "part": name, "classes": list(model.classes)}
        print(json_text.dumps({**about, **scores, **({"strangers": rest} if rest else {})}, indent=1))
        return
    console = stdout()
    what = f"{model.about['method']} on {model.about['net']}, {model.about['predictor']}"
    console.print(f"{what}: {scores['n']} {name} images of {source}", markup=False, style="bold")
    print_scores(console, scores, model.classes)
    if rest:
        print_strangers(console, rest, model.classes)


# ---- which images --------------------------------------------------------------------------------------------------------


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
    """Labels as positions among the model's classes, found by name; -1: the model does not know that class."""
    found = torch.tensor([ours.index(name) if name in ours else -1 for name in theirs])[y]
    if not (found >= 0).any():
        name = theirs[int(y[0])]
        raise UserError(
            f"the model knows none of the classes of {source}, such as {name!r}: {nearest(name, ours)}, or name a folder of "
            "the same classes"
        )
    return found


def of_strangers(
    model: Model, y: Tensor, known: Tensor, far: Tensor | None, classes: tuple[str, ...]
) -> dict[str, Any]:
    """Images of classes that the model does not know, and whether strangeness tells them. y: places among `classes`."""
    refused = None if far is None else ~model.need_familiar().known(far, SHARE)

    def about(here: Tensor) -> dict[str, Any]:
        told: dict[str, Any] = {"images": int(here.sum())}
        if far is not None and refused is not None:
            told |= {"auroc": metrics.auroc(far[known], far[here]), "refused": float(refused[here].double().mean())}
        return told

    found = {**about(~known), "classes": {classes[k]: about(y == k) for k in torch.unique(y[~known]).tolist()}}
    if refused is not None:
        found |= {"share": SHARE, "known_refused": float(refused[known].double().mean())}
    return found


# ---- tables --------------------------------------------------------------------------------------------------------------


def print_scores(console: Console, scores: dict[str, Any], classes: tuple[str, ...]) -> None:
    console.print(headline(scores))
    confusion = torch.tensor(scores["confusion"])
    console.print(by_class(scores, confusion, classes))
    matrix = confusion_matrix(confusion, classes)
    if len(classes) <= MATRIX_CLASSES and console.measure(matrix).minimum <= console.width:
        console.print(matrix)
    else:
        console.print(confused_pairs(confusion, classes))


def print_strangers(console: Console, found: dict[str, Any], classes: tuple[str, ...]) -> None:
    table = grid("Classes that the model does not know, which are no part of the scores above")
    table.add_column("class")
    table.add_column("images", justify="right")
    measured = "auroc" in found
    for name in ("AUROC", "refused") if measured else ():
        table.add_column(name, justify="right")
    for name, about in found["classes"].items():
        close = meant(name, classes, alike=0.6)
        said = plain(name) + (f" (did you mean {plain(close)}?)" if close is not None else "")
        cells = [f"{about['auroc']:.3f}", f"{about['refused']:.1%}"] if measured else []
        table.add_row(said, str(about["images"]), *cells)
    console.print(table)
    if measured:
        console.print(
            f"AUROC: how often one of these is stranger than one of the known classes, {found['auroc']:.3f} of all. "
            f"predict --reject {found['share']:g} would refuse {found['refused']:.1%} of these, and "
            f"{found['known_refused']:.1%} of the known classes.",
            markup=False,
        )
    else:
        console.print("How strange they are is not known: an older version made this model, train it again.")


def grid(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)


def headline(scores: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    low, high = scores["interval"]
    rows = [
        ("accuracy", f"{scores['accuracy']:.2%}", f"95% interval {low:.2%} to {high:.2%}"),
        ("balanced", f"{scores['balanced_accuracy']:.2%}", "mean recall of the classes, each counted once"),
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
    for true, called, n, share in metrics.most_confused(confusion.tolist(), PAIRS):
        table.add_row(plain(classes[true]), plain(classes[called]), str(n), f"{share:.1%}")
    return table


def plain(name: str) -> str:
    """A class's name, safe from rich's markup and from line breaks."""
    return (name if name.isprintable() else repr(name)).replace("[", "\\[")
