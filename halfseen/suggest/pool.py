"""The pictures that may be labelled next: a folder's, with features, labels so far, and what a run says of them."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from halfseen.backbones import best_installed, load_backbone
from halfseen.data import ImageSet
from halfseen.data.bank import Bank, banked
from halfseen.data.folders import TABLE, open_folder
from halfseen.data.store import Views
from halfseen.data.tables import of_no_class
from halfseen.errors import UserError
from halfseen.model import load_model
from halfseen.probes.rows import Array, scale_of
from halfseen.run.beginning import began_with
from halfseen.run.folder import Folder
from halfseen.run.start import sized
from halfseen.settings import Settings
from halfseen.suggest.after import said_by
from halfseen.suggest.look import Look
from halfseen.suggest.strategies import Seen


@dataclass(frozen=True, eq=False)
class Pool:
    folder: Path
    paths: tuple[str, ...]  # below the folder, with /
    labels: tuple[str, ...]  # of each; "" = none
    aside: dict[str, str]  # labels of the pictures in val and test, which are never asked for
    x: Array  # [N, d] features, centred and of length 1
    classes: tuple[str, ...]  # of the labels, and of the run
    p: Array | None = None  # [N, K] what the run says
    committee: Array | None = None  # [M, N, K] what each of its networks says
    says: tuple[str, ...] = ()  # the K classes
    val: tuple[Array, tuple[str, ...]] | None = None  # features and labels of a validation part
    of_no_class: frozenset[str] = frozenset()  # paths: somebody has looked at them

    @property
    def labelled(self) -> Array:
        return np.flatnonzero([bool(label) for label in self.labels])

    @property
    def seen(self) -> Seen:
        """What is of no class counts as covered: neither it nor its like is asked for."""
        settled = [bool(label) or path in self.of_no_class for path, label in zip(self.paths, self.labels, strict=True)]
        return Seen(self.x, np.flatnonzero(settled), self.p, self.committee)


def open_pool(source: Path, look: Look, quiet: bool = False) -> Pool:
    """Of a folder of pictures, or of the folder of a run on one."""
    source = Path(os.path.expanduser(source))
    if is_run(source):
        return of_run(source, look, quiet)
    if not source.is_dir():
        raise UserError(f"there is no folder {source}: name a folder of pictures, or of a run")
    name, why = (look.backbone, "") if look.backbone != "auto" else best_installed()
    if name == "none":
        raise UserError(f"pictures are chosen by what a backbone makes of them, and {why}")
    side = look.size
    if side is None:
        side = sized(source, Settings(backbone=name)).size
    assert side is not None
    images = open_folder(source, size=(side, side), pool=True, albums=look.albums, progress=not quiet)
    h, val = features(images, name, quiet)
    return pooled(source, images, h.numpy(), val)


def is_run(source: Path) -> bool:
    return (source / "config.json").is_file() and (source / "split.json").is_file()


def of_run(run: Path, look: Look, quiet: bool) -> Pool:
    """The pictures of a run's folder as they are labelled now, which may be more than when it began."""
    if look != Look():
        raise UserError(
            f"{run} is a run, which has looked at its pictures in its own way: leave out --backbone, --size, --albums"
        )
    config, began = began_with(Folder.open(run))
    folder = Path(os.path.expanduser(str(config["data"])))
    if config.get("from_python") or not folder.is_dir():
        raise UserError(
            f"{run} was trained on {config['data']}, which is no folder of pictures here: suggestions name files to look at"
        )
    model = load_model(run)
    shape = model.facts.shape
    size = (shape[1], shape[2])
    images = open_folder(folder, size=size, channels=shape[0], flip=began.flip, pool=True, progress=not quiet)
    if began.backbone in ("none", "auto"):
        said = said_by(run, model, images, None, quiet)
        return pooled(folder, images, said.features, None, said.p, said.committee, model.classes)
    h, val = features(images, began.backbone, quiet)
    said = said_by(run, model, images, h, quiet)
    return pooled(folder, images, h.numpy(), val, said.p, said.committee, model.classes)


def features(images: ImageSet, backbone: str, quiet: bool) -> tuple[Tensor, Tensor | None]:
    """[N, d] of the pictures, and of those of a validation part; from the bank, which a training finds there later."""
    made = banked(images, load_backbone(backbone), Views(), only_clean=True, progress=not quiet)
    bank = made.bank
    assert isinstance(bank, Bank)
    return bank.clean(made.x[:, 0]), None if made.val_x is None else bank.clean(made.val_x[:, 0])


def pooled(
    folder: Path,
    images: ImageSet,
    h: Array,
    val: Tensor | None,
    p: Array | None = None,
    committee: Array | None = None,
    says: tuple[str, ...] = (),
) -> Pool:
    names = {-1: "", **dict(enumerate(images.classes))}
    aside: dict[str, str] = {}
    for paths, y in ((images.val_paths, images.val_y), (images.test_paths, images.test_y)):
        aside |= {path: names[k] for path, k in zip(paths or (), [] if y is None else y.tolist(), strict=True)}
    assert images.paths is not None
    scale = scale_of(h, "unit")
    return Pool(
        folder,
        images.paths,
        tuple(names[k] for k in images.y.tolist()),
        aside,
        scale(h),
        tuple(dict.fromkeys((*images.classes, *says))),
        p,
        committee,
        says,
        None
        if val is None or images.val_y is None
        else (scale(val.numpy()), tuple(names[k] for k in images.val_y.tolist())),
        frozenset(of_no_class(folder / TABLE)) if (folder / TABLE).is_file() else frozenset(),
    )
