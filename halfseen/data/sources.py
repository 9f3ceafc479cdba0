"""open_data: one function that makes an ImageSet of whatever a user has."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

from halfseen.data import toy
from halfseen.data.adaptation import ARROW, open_pair
from halfseen.data.arrays import from_arrays, open_npz, pixels
from halfseen.data.folders import open_folder
from halfseen.data.hub import open_hub
from halfseen.data.mapstyle import MapStyle, from_map_style
from halfseen.data.named import open_named
from halfseen.data.published import PUBLISHED
from halfseen.data.sets import ImageSet
from halfseen.errors import UserError, nearest, quoted

MADE: dict[str, Callable[[], ImageSet]] = {  # sets that need no files of the user's
    "digits": toy.open_digits,
    "mnist-5k": toy.open_mnist_5k,
    "two-spirals": toy.open_two_spirals,
    "blobs": toy.open_blobs,
}
NAMES = (*MADE, *PUBLISHED)

Source = str | Path | Sequence[object] | Mapping[str, object] | MapStyle


def open_data(
    source: Source,
    *,
    root: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    flip: bool | None = None,
    cache_dir: Path | None = None,
    on_bad_image: Literal["skip", "stop"] = "skip",
    workers: int | None = None,
    progress: bool = True,
) -> ImageSet:
    """An ImageSet of any source.

    source: a folder with a subfolder per class (and `unlabelled`, and perhaps train/ val/ test/), or with a labels.csv
        (path,label); an .npz file with x and y (-1 = unlabelled) and perhaps test_x and test_y; one of NAMES; hf:NAME; from
        Python also (x, y), (x, y, test_x, test_y), a mapping of such arrays, a map-style data set of (image, int), or
        {"train": such a set, "test": another}; or "SOURCE->TARGET", labels from one set, the task on another.
    root: where the files of named sets lie (default: HALFSEEN_DATA or ./data).
    size: (height, width) or a side. Default: a folder's pictures keep theirs when all are one size of at most 64, else
        they become 32x32 when the longer side is at most 40 in the middle case, and 64x64 when it is more; arrays and
        named sets keep theirs. Pictures are stretched, not cropped, with cubic splines.
    channels: 1 or 3. Default: 3 as soon as one picture of a folder is in colour. What is transparent becomes white.
    flip: may a picture be mirrored? Default: yes for CIFAR and for colour pictures of your own, no for the other named
        sets (digits and house numbers would change their meaning) and for grey pictures (scans, writing, X-rays).
    cache_dir: where decoded folders are kept (default: HALFSEEN_CACHE or ~/.cache/halfseen).
    on_bad_image: leave bad files out and name them in `skipped` (more than a tenth stop all the same), or stop at one.
    workers: decoding processes (default: one for each core).
    """
    if channels not in (None, 1, 3):
        raise UserError(f"{channels} channels are not possible: pictures are grey (1) or in colour (3).")
    side = (size, size) if isinstance(size, int) else size
    if side is not None and min(side) < 1:
        raise UserError(f"A size of {size} is not possible: give a side of at least 1, such as 32.")
    if isinstance(source, str) and ARROW in source:
        known, _, target = source.partition(ARROW)
        how = {"root": root, "cache_dir": cache_dir, "on_bad_image": on_bad_image, "workers": workers}
        given = {"size": size, "channels": channels, "flip": flip, "progress": progress}
        return open_pair(known.strip(), target.strip(), open_data, **how, **given)
    settings: dict[str, Any] = {"size": side, "channels": channels, "flip": flip}
    if isinstance(source, str) and source in MADE:
        return adapted(MADE[source](), side, channels, flip)
    if isinstance(source, str) and source in PUBLISHED:
        return adapted(open_named(source, Path(root).expanduser() if root else None), side, channels, flip)
    if isinstance(source, str) and source.startswith("hf:"):
        return open_hub(source.removeprefix("hf:"), **settings)
    if isinstance(source, str | Path):
        path = _reach(source)
        if os.path.isdir(path):
            return open_folder(
                path,
                **settings,
                cache_dir=cache_dir,
                on_bad_image=on_bad_image,
                workers=workers,
                progress=progress,
            )
        if path.suffix == ".npz" and os.path.isfile(path):
            return open_npz(path, **settings)
        if os.path.isfile(path):
            raise UserError(f"{source} is a file and no .npz file: name the folder of the images, here {path.parent}.")
        raise UserError(
            f"{quoted(str(source))[1:-1]} is neither a folder, an .npz file nor a known set: check the path; "
            f"{nearest(str(source)[:80], NAMES)}"
        )
    if isinstance(source, Mapping):
        if {"train"} <= set(source) and not hasattr(source["train"], "dtype"):
            test = source.get("test")
            return from_map_style(cast(MapStyle, source["train"]), cast("MapStyle | None", test), **settings)
        return from_arrays(source, **settings)
    if isinstance(source, tuple | list) and len(source) in (2, 4) and hasattr(source[0], "dtype"):
        return from_arrays(source, **settings)
    return from_map_style(source, **settings)


def _reach(source: str | Path) -> Path:
    """The path, which need not exist; a sentence where the system will not even say whether it does."""
    if source == "":
        raise UserError("The name of the data is empty: give a folder of images, an .npz file or a known set.")
    path = Path(os.path.expanduser(source))  # not Path.expanduser, which raises for a user who does not exist
    try:
        os.stat(path)
    except PermissionError as error:
        raise UserError(f"{source} may not be read: check the permissions of the folders above it.") from error
    except (OSError, ValueError):
        pass  # there is none, or it can be none; the caller says so
    return path


def adapted(data: ImageSet, size: tuple[int, int] | None, channels: int | None, flip: bool | None) -> ImageSet:
    """A set at another size or depth, or mirrored against its custom."""
    if flip is not None and flip != data.flip:
        data = replace(data, flip=flip)
    if not data.is_images or (size in (None, data.shape[1:]) and channels in (None, data.shape[0])):
        return data
    new: dict[str, Any] = {
        field: pixels(value, data.name, size, channels)
        for field in ("x", "test_x", "val_x")
        if (value := getattr(data, field)) is not None
    }
    depth = new["x"].shape[1]
    mean, std = data.mean, data.std
    if depth > len(mean):
        mean, std = mean.repeat(depth), std.repeat(depth)
    elif depth < len(mean):
        mean, std = mean.mean(0, keepdim=True), std.mean(0, keepdim=True)
    return replace(data, **new, mean=mean, std=std, sums=())
