"""Label images with a trained model: a folder, one image or an .npz file in, a csv with path, label and confidence out."""

import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from halfseen.data.inputs import LeftOut, batches, shown
from halfseen.data.tables import cell
from halfseen.errors import UserError
from halfseen.machine.device import pick_device
from halfseen.machine.files import write_bytes
from halfseen.model import load_model
from halfseen.probes.strange import checked

MOST_LABELS = 20  # in the summary


def predict(
    run: Path, images: Path, out: Path, all_probabilities: bool, device: str, reject: float | None = None
) -> None:
    """Write the csv, name the files that could not be read on stderr, and print how many images got which label.

    A file that exists is not replaced, as no run folder is: people correct predictions by hand, and a corrected
    predictions.csv is just what they would train on next. With `reject` two columns say how strange each image is, and
    whether it is known: of those that belong to a class, about this share will not be.
    """
    check_out(out)
    if reject is not None:
        checked(reject)
    model = load_model(run, pick_device(device))
    text = io.StringIO()
    familiar = None if reject is None else model.need_familiar()
    strange = [] if familiar is None else ["known", "strangeness"]
    text.write(header(model.classes if all_probabilities else (), strange))
    number = torch.zeros(len(model.classes), dtype=torch.int64)  # [K] images with this label
    strangers = 0
    left_out = LeftOut()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd files: what matters is among those left out
        for names, x in batches(images, model.facts.shape, left_out):
            beside: list[list[str]] = [[]] * len(names)
            if familiar is None or reject is None:
                P = model.probabilities(x)  # [n, K]
                known = torch.ones(len(x), dtype=torch.bool)
            else:
                logits, far = model.looked(x)
                P, known = logits.softmax(1), familiar.known(far, reject)
                beside = [["yes" if k else "no", f"{s:.4f}"] for k, s in zip(known.tolist(), far.tolist(), strict=True)]
            number += torch.bincount(P.argmax(1)[known], minlength=len(number))
            strangers += int((~known).sum())
            text.writelines(lines(names, P, model.classes, all_probabilities, beside))
    left_out.report(int(number.sum()) + strangers)
    if not number.any() and not strangers:
        raise UserError(f"no image of {images} could be read, so there is nothing to label; check the files")
    check_out(out)  # again: labelling may have taken an hour
    write_bytes(out, text.getvalue().encode("utf-8", "surrogateescape"))
    refused = "" if reject is None else f"; {strangers} that may be of no class, by known=no"
    print(f"{summary(number.tolist(), model.classes)}{refused}; written to {out}")


def check_out(out: Path) -> None:
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; name the csv file to write, such as {out / 'predictions.csv'}")
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} exists already; remove it, or choose another --out")


# ---- csv and sentences out -----------------------------------------------------------------------------------------------


def header(classes: Sequence[str], strange: Sequence[str] = ()) -> str:
    return ",".join(["path", "label", "confidence", *strange, *(cell(f"p({c})") for c in classes)]) + "\n"


def lines(
    names: Sequence[str], P: Tensor, classes: Sequence[str], all_probabilities: bool, beside: Sequence[Sequence[str]]
) -> Iterator[str]:
    """A row of the csv for each image; names are data and stay as they are, also those that begin with =."""
    confidence, label = P.max(1)
    values = P.tolist() if all_probabilities else [[]] * len(names)
    for name, k, c, strange, row in zip(names, label.tolist(), confidence.tolist(), beside, values, strict=True):
        yield ",".join([cell(name), cell(classes[k]), f"{c:.6g}", *strange, *(f"{v:.6g}" for v in row)]) + "\n"


def summary(number: Sequence[int], classes: Sequence[str]) -> str:
    """How many images got which label, the most frequent first."""
    order = sorted((k for k in range(len(classes)) if number[k]), key=lambda k: -number[k])
    said = [f"{number[k]} {shown(classes[k])}" for k in order[:MOST_LABELS]]
    if rest := order[MOST_LABELS:]:
        said.append(f"{sum(number[k] for k in rest)} of {len(rest)} other labels")
    return f"{sum(number)} images: {', '.join(said)}" if said else "no image of a known class"
