"""What a run starts from: a pretrained backbone, whose features of every image are kept in a bank, or nothing."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from halfseen import methods
from halfseen.backbones import best_installed, load_backbone
from halfseen.backbones.backbone import Backbone
from halfseen.data import ImageSet
from halfseen.data.bank import banked
from halfseen.data.peek import middle
from halfseen.data.sources import NAMES
from halfseen.data.store import Views
from halfseen.errors import UserError
from halfseen.probes import PROBES
from halfseen.settings import AUTO, Settings

SMALL_SIDE = 40  # pixels up to which a picture is no photograph: a network from scratch is at home there
ENLARGED = 96  # side that pictures up to SMALL_SIDE are brought to for a backbone
STEPS = 1500  # on a bank, where no length is given: seconds, and more brought nothing on tuning draws
BATCH = (32, 128)  # rows on a bank
TUNED_BATCH = (16, 48)  # of pixels, through a whole backbone
HEADS = ("auto", "linear", "mlp")  # networks that features can be put into


def settled(data: Any, s: Settings) -> tuple[Settings, str]:
    """The same settings with a name in place of the backbone `auto`, with its size, and why, in one sentence."""
    found, why = named(data, s)
    if s.tune != "head" and (found.backbone == "none" or s.method in PROBES):
        what = "a backbone" if found.backbone == "none" else "a method that trains on batches"
        raise UserError(f"--tune {s.tune} needs {what}: name one, or leave --tune out")
    if s.slim and found.backbone == "none":
        raise UserError("--slim leaves the backbone out of the model, and this run has none: leave it out, or name one")
    return found, why


def named(data: Any, s: Settings) -> tuple[Settings, str]:
    if s.backbone == "none":
        return s, ""
    if s.backbone != "auto":
        return usual(sized(data, s)), ""
    of_pixels = s.net not in HEADS or (s.weak, s.strong, s.labelled) != ("auto", "auto", "auto") or s.zca or s.per_image
    found = None if of_pixels or not is_folder(data) else middle(Path(os.path.expanduser(data)))
    if found is None or found[0] <= SMALL_SIDE or not found[1]:
        return replace(s, backbone="none"), ""
    name, why = best_installed()
    if name == "none":
        return replace(s, backbone="none"), f"training from scratch: {why}"
    why = f"starting from the backbone {name}: {why}; --backbone none: from scratch"
    return usual(sized(data, replace(s, backbone=name))), why


def usual(s: Settings) -> Settings:
    """What is usual on a bank, where nothing else was asked for: its length, its batches, aligned targets."""
    if s.method in PROBES:
        return s
    tuned = s.tune != "head"  # on pixels: slow, so by the clock, and in small batches
    if (s.steps, s.epochs, s.passes, s.minutes) == (None,) * 4 and not tuned:
        s = replace(s, steps=STEPS)
    rows = TUNED_BATCH if tuned else BATCH
    given = {text.partition("=")[0].strip() for text in s.overrides}
    aligns = s.method != AUTO and hasattr(methods.load(s.method).config(), "align")
    asked = ["method.align=true"] if aligns and "method.align" not in given else []
    return replace(
        s,
        batch=s.batch or rows[0],
        unlabelled_batch=s.unlabelled_batch or rows[1],
        overrides=(*asked, *s.overrides),
    )


def is_folder(data: Any) -> bool:
    """Not a name, not an array."""
    return isinstance(data, str | Path) and str(data) not in NAMES and os.path.isdir(os.path.expanduser(data))


def sized(data: Any, s: Settings) -> Settings:
    """With the backbone's own size for photographs; small pictures are enlarged, but not so far."""
    if s.per_image or s.zca:
        raise UserError(
            f"--{'zca' if s.zca else 'per-image'} changes pixels, and the backbone {s.backbone} brings its own "
            "normalisation; leave it out, or take --backbone none"
        )
    if s.size is not None:
        return s
    side, own = load_backbone(s.backbone).side, side_of(data)
    if own is not None and own <= SMALL_SIDE:
        return replace(s, size=min(side, ENLARGED))
    return replace(s, size=side if own is None or is_folder(data) else min(side, own))


def side_of(data: Any) -> int | None:
    """The longer side of pictures, the middle one of a folder's; small, of a set by name; None: nobody knows yet."""
    if is_folder(data):
        found = middle(Path(os.path.expanduser(data)))
        return None if found is None else found[0]
    if isinstance(data, ImageSet):
        return max(data.shape[1:], default=None)
    x = data.get("x") if isinstance(data, Mapping) else data[0] if isinstance(data, tuple | list) else None
    shape = tuple(getattr(x, "shape", ()))
    if len(shape) == 4:
        return int(max(shape[1:3] if shape[3] in (1, 3, 4) else shape[2:]))
    return int(max(shape[1:])) if len(shape) == 3 else SMALL_SIDE


def started(
    images: ImageSet, s: Settings, *, only: Tensor | None = None, cache: Path | None = None
) -> tuple[ImageSet, Backbone | None]:
    """What trains in place of the pixels, and the backbone that it comes from.

    only: the images of which it looks at more than the clean view; none: all. cache: in place of the usual one.
    """
    if s.backbone in ("none", "auto"):  # auto: settings that nobody settled, of pieces put together by hand
        return images, None
    backbone = load_backbone(s.backbone)
    if s.tune != "head":
        return images, backbone
    views = Views(s.weak_views, s.strong_views)
    return banked(images, backbone, views, progress=not s.quiet, only=only, cache_dir=cache), backbone
