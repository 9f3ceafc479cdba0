"""What a run began with, written down and read again; and its images."""

import math
import shlex
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from halfseen.augment.whitening import LARGEST, Whitening
from halfseen.data import ImageSet, Split, open_data
from halfseen.data.sources import adapted
from halfseen.errors import UserError, quoted
from halfseen.machine.environment import environment
from halfseen.machine.progress import Display
from halfseen.model.facts import Facts
from halfseen.model.model import Model
from halfseen.overrides import check
from halfseen.run.folder import WHITENING_FILE, Folder
from halfseen.settings import Settings

NAMED = 12  # classes whose labels are counted one by one
SCARCE = 5  # labels of a class
TAIL = 10  # labels of one class to one of another
SHOWN = 3  # of the files left out, when a run begins
NEEDED = {"data": str, "settings": dict, "steps": int, "passes_per_step": float, "fingerprint": str}


def began_with(folder: Folder) -> tuple[dict[str, Any], Settings]:
    """What config.json says of the beginning, if it says all that a resumed run needs."""
    config = folder.read("config.json")
    try:
        for key, kind in NEEDED.items():
            check(config[key], kind, key)
        settings = Settings.from_json(config["settings"])
        for name, kind in typing.get_type_hints(Settings).items():
            check(getattr(settings, name), kind, name)
    except (KeyError, TypeError, AttributeError, UserError) as e:
        raise UserError(
            f"{folder.path / 'config.json'} is damaged or of another version ({e}); restore the file, or start again in "
            "another folder"
        ) from e
    return config, settings


def open_images(data: Any, s: Settings) -> ImageSet:
    """The images of a run."""
    if isinstance(data, ImageSet):
        return adapted(data, None if s.size is None else (s.size, s.size), s.channels, s.flip)
    return open_data(
        data,
        root=s.root,
        size=s.size,
        channels=s.channels,
        flip=s.flip,
        on_bad_image=s.on_bad_image,
        progress=not s.quiet,
    )


def open_own(config: dict[str, Any], root: Path | None, model: Model) -> ImageSet:
    """The data that the run was trained on, opened as then, so that its cache of decoded images is found."""
    if config.get("from_python"):
        raise UserError("the data of this run came from a Python program and are in no file; name images with --data")
    began = Settings.from_json(config["settings"])
    root = root or began.root
    try:
        images = open_data(
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
    images = open_data(data, root=root, **wanted)
    if images.shape != shape:
        kinds = [("pictures" if len(s) == 3 else "vectors") + f" of shape {s}" for s in (shape, images.shape)]
        raise UserError(f"the model was trained on {kinds[0]}, and {data} holds {kinds[1]}; choose other data")
    return images


def files_told(images: ImageSet, folder: Folder) -> list[str]:
    """Which files are no part of the images, and which are unlike the others."""
    said = []
    for one, many, found in (
        ("file was left out", "files were left out", images.skipped),
        ("picture is unlike the others", "pictures are unlike the others", images.odd),
    ):
        if found:
            first = "; ".join(f"{quoted(path)[1:-1]} ({why})" for path, why in found[:SHOWN])
            more = f"; all of them are in {folder.path / 'config.json'}" if len(found) > SHOWN else ""
            said.append(f"{len(found)} {one if len(found) == 1 else many}: {first}{more}")
    return said


def labels_told(y: Tensor, classes: Sequence[str]) -> list[str]:
    """How many labels each class has, and what to think of it. y: of the labelled images."""
    counts = torch.bincount(y, minlength=len(classes)).tolist()
    order = sorted(range(len(classes)), key=lambda k: counts[k])
    few, many = order[0], order[-1]
    if counts[few] == counts[many]:
        said = [f"{counts[few]} label{'s' * (counts[few] != 1)} of each class"]
    elif len(classes) <= NAMED:
        said = ["labels: " + ", ".join(f"{name} {n}" for name, n in zip(classes, counts, strict=True))]
    else:
        said = [f"labels: from {counts[few]} ({classes[few]}) to {counts[many]} ({classes[many]}) of a class"]
    scarce = [classes[k] for k in order if counts[k] < SCARCE]
    if scarce:
        which = "every class" if len(scarce) == len(classes) else ", ".join(scarce[:3]) + ", ..." * (len(scarce) > 3)
        said.append(f"fewer than {SCARCE} labels of {which}: the result hangs on which pictures they are")
    if counts[many] >= TAIL * max(counts[few], 1):
        said.append(
            f"{classes[many]} has {counts[many]} labels and {classes[few]} {counts[few]}: --class-weight balanced shows "
            "every class equally often, --logit-adjust 1 predicts as if all were equally frequent"
        )
    return said


def need_data(folder: Folder, data: Any) -> None:
    """A run on what a Python program had in hand goes on only with the same."""
    if data is None or isinstance(data, str | Path):
        raise UserError(
            f"{folder.path} was trained on data from a Python program, which are in no file: give them again, "
            f"{how_to_go_on(folder, from_python=True)}"
        )


def need_same(folder: Folder, images: ImageSet, name: str) -> None:
    """The images and labels must be those that the run began with."""
    if folder.read("config.json")["fingerprint"] != images.fingerprint():
        raise UserError(
            f"the images or labels of {name} have changed since {folder.path} began, so it cannot go on; "
            "put them back, or start anew with another --out"
        )


def how_to_go_on(folder: Folder, from_python: bool) -> str:
    """What continues a run."""
    if from_python:
        return f"halfseen.train(<the same data>, out={str(folder.path)!r}, resume=True)"
    return shlex.join(["halfseen", "train", "--out", str(folder.path), "--resume"])


def whitening_of(
    images: ImageSet, ids: Tensor, began: Folder | None, device: torch.device, display: Display
) -> Whitening:
    """Of all images that a run learns from; a run that goes on keeps what it began with."""
    d = math.prod(images.shape)
    if not images.is_images or d > LARGEST:
        raise UserError(
            f"--zca is for images of at most {LARGEST} values (36 x 36 in colour), and here are "
            f"{'images' if images.is_images else 'vectors'} of {d}; leave it out, or give a smaller --size"
        )
    if began is not None:
        return stored_whitening(began, d)
    display.say(f"ZCA: {d} x {d} covariances of {len(ids)} images, once")
    return Whitening.fit(images.x, ids, device)


def stored_whitening(folder: Folder, d: int) -> Whitening:
    """What the run began with, for images of d values."""
    stored = folder.read_arrays(WHITENING_FILE, "restore the file, or start again in another folder")
    try:
        return Whitening.of(stored, d)
    except (KeyError, TypeError, ValueError) as e:
        raise UserError(f"{folder.path / WHITENING_FILE} is damaged ({e}); restore the file or run again") from e


def describe(
    folder: Folder, config: dict[str, Any], split: Split, facts: Facts, source: Path, device: torch.device
) -> None:
    """Write down what is about to happen. source: the method's file."""
    folder.write("environment.json", environment(device))
    folder.write("split.json", split.as_json())
    if facts.whitening is not None:
        folder.write_arrays(WHITENING_FILE, {k: v.numpy() for k, v in facts.whitening.tensors().items()})
    folder.copy_source(source)
    folder.write("config.json", config)  # last: with it, the run can be resumed
