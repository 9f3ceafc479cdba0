"""Label images with a trained model: a folder, one image or an .npz file in, a csv with path, label and confidence out."""

import io
import os
import sys
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from halfseen.checkpoint import write_bytes
from halfseen.data.arrays import PARTS, pixels
from halfseen.data.folders import TABLE, images_in
from halfseen.data.images import BadImageError, decode
from halfseen.data.sets import natural
from halfseen.device import pick_device
from halfseen.errors import UserError
from halfseen.model import load_model
from halfseen.progress import Meter

CHUNK = 256  # images that are decoded, labelled and forgotten together
MOST_LABELS = 20  # in the summary


@dataclass
class LeftOut:
    """Files without a label in the csv."""

    bad: list[tuple[str, str]] = field(default_factory=list)  # (path, reason) of pictures that cannot be read
    others: list[tuple[str, str]] = field(default_factory=list)  # of files that are no picture by their name

    def report(self, good: int) -> None:
        if self.bad:
            print(f"{len(self.bad)} of {len(self.bad) + good} images could not be read:", file=sys.stderr)
            for path, reason in self.bad:
                print(f"  {shown(path)}: {reason}", file=sys.stderr)
        if self.others:
            first = shown(self.others[0][0])
            print(f"left aside, no images by their names: {len(self.others)}, such as {first}", file=sys.stderr)


def predict(run: Path, images: Path, out: Path, all_probabilities: bool, device: str) -> None:
    """Write the csv, name the files that could not be read on stderr, and print how many images got which label.

    A file that exists is not replaced, as no run folder is: people correct predictions by hand, and a corrected
    predictions.csv is just what they would train on next.
    """
    check_out(out)
    model = load_model(run, pick_device(device))
    text = io.StringIO()
    text.write(header(model.classes if all_probabilities else ()))
    number = torch.zeros(len(model.classes), dtype=torch.int64)  # [K] images with this label
    left_out = LeftOut()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd files: what matters is among those left out
        for names, x in batches(images, model.facts.shape, left_out):
            P = model.probabilities(x)  # [n, K]
            number += torch.bincount(P.argmax(1), minlength=len(number))
            text.writelines(lines(names, P, model.classes, all_probabilities))
    left_out.report(int(number.sum()))
    if not number.any():
        raise UserError(f"no image of {images} could be read, so there is nothing to label; check the files")
    check_out(out)  # again: labelling may have taken an hour
    write_bytes(out, text.getvalue().encode("utf-8", "surrogateescape"))
    print(f"{summary(number.tolist(), model.classes)}; written to {out}")


def check_out(out: Path) -> None:
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; name the csv file to write, such as {out / 'predictions.csv'}")
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} exists already; remove it, or choose another --out")


# ---- images in -----------------------------------------------------------------------------------------------------------


def batches(source: Path, shape: tuple[int, ...], left_out: LeftOut) -> Iterator[tuple[list[str], Tensor]]:
    """(names, raw images of the shape that the model was trained on), a chunk at a time."""
    if source.suffix == ".npz" and source.is_file():
        x = rows_of(source, shape)
        with Meter("labelling", len(x)) as meter:
            for start in range(0, len(x), CHUNK):
                piece = x[start : start + CHUNK]
                yield [str(start + i) for i in range(len(piece))], piece
                meter.advance(len(piece))
        return
    if len(shape) != 3:
        raise UserError(f"the model was trained on vectors of {shape[0]} numbers; give an .npz file with an array x")
    root, paths = files(source, left_out)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool, Meter("labelling", len(paths)) as meter:
        for start in range(0, len(paths), CHUNK):
            names, rows = [], []
            chunk = paths[start : start + CHUNK]
            for path, found in zip(chunk, pool.map(lambda p: read(root / p, shape), chunk), strict=True):
                meter.advance(1)
                if isinstance(found, str):
                    left_out.bad.append((path, found))
                else:
                    names.append(path)
                    rows.append(found)
            if rows:
                yield names, torch.stack(rows)


def files(source: Path, left_out: LeftOut) -> tuple[Path, list[str]]:
    """A folder and the images below it, in natural order; or one file, whatever its name."""
    if source.is_dir():
        paths = sorted(images_in(source, source, left_out.others, but=TABLE), key=natural)
        if not paths:
            raise UserError(f"{source} holds no images; name the folder that they are in")
        return source, paths
    if not source.exists():
        raise UserError(f"there is no file or folder {source}; name a folder of images, one image or an .npz file")
    return Path(), [str(source)]


def read(path: Path, shape: tuple[int, ...]) -> Tensor | str:
    """One picture [c, h, w], decoded and resized exactly as for training, or the reason why not."""
    try:
        return torch.from_numpy(decode(path, (shape[1], shape[2]), shape[0]).transpose(2, 0, 1).copy())
    except BadImageError as error:
        return str(error)


def rows_of(source: Path, shape: tuple[int, ...]) -> Tensor:
    """The array x of an .npz file (or its only array), as images of the model's shape or as vectors."""
    try:
        with np.load(source, allow_pickle=False) as stored:
            known = [key for key in PARTS["x"] if key in stored.files] or (
                stored.files if len(stored.files) == 1 else []
            )
            if not known:
                there = ", ".join(stored.files) or "nothing"
                raise UserError(f"{source} has no array 'x' but {there}; name the array of images x")
            values = stored[known[0]]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        raise UserError(
            f"{source} could not be read as an .npz file of plain arrays ({error}); save it again"
        ) from error
    if len(shape) == 3:
        return pixels(values, f"{source}: {known[0]}", (shape[1], shape[2]), shape[0])
    return pixels(values, f"{source}: {known[0]}")


# ---- csv and sentences out -----------------------------------------------------------------------------------------------


def header(classes: Sequence[str]) -> str:
    return ",".join(["path", "label", "confidence", *(cell(f"p({c})") for c in classes)]) + "\n"


def lines(names: Sequence[str], P: Tensor, classes: Sequence[str], all_probabilities: bool) -> Iterator[str]:
    """A row of the csv for each image; names are data and stay as they are, also those that begin with =."""
    confidence, label = P.max(1)
    values = P.tolist() if all_probabilities else [[]] * len(names)
    for name, k, c, row in zip(names, label.tolist(), confidence.tolist(), values, strict=True):
        yield ",".join([cell(name), cell(classes[k]), *(f"{v:.6g}" for v in (c, *row))]) + "\n"


def cell(text: str) -> str:
    """RFC 4180. Not csv.writer: with plain line feeds it leaves a carriage return inside a name unquoted."""
    if any(c in text for c in ',"\r\n') or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


def summary(number: Sequence[int], classes: Sequence[str]) -> str:
    """How many images got which label, the most frequent first."""
    order = sorted((k for k in range(len(classes)) if number[k]), key=lambda k: -number[k])
    said = [f"{number[k]} {shown(classes[k])}" for k in order[:MOST_LABELS]]
    if rest := order[MOST_LABELS:]:
        said.append(f"{sum(number[k] for k in rest)} of {len(rest)} other labels")
    return f"{sum(number)} images: {', '.join(said)}"


def shown(name: str) -> str:
    """A name that may hold line breaks or bytes that are no text, for a person's eyes."""
    return name if name.isprintable() else repr(name)
