"""What a trained model is given: files, folders, arrays, tensors or pictures become raw rows of the model's own shape.

The rule is that of training: a picture is turned upright, stretched to the size with cubic splines, put on white where
it is transparent, and made grey or coloured as the model's pictures were.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from halfseen.data.arrays import PARTS, pixel_scale, pixels, read_npz
from halfseen.data.folders import TABLE, images_in
from halfseen.data.images import BadImageError, decode, picture_to_array
from halfseen.data.sets import natural
from halfseen.errors import UserError
from halfseen.machine.progress import Meter

CHUNK = 256  # images that are decoded, labelled and forgotten together
DEPTHS = (1, 3, 4)  # channels that a picture may have


@dataclass
class LeftOut:
    """Files that get no label."""

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

    def refuse(self) -> None:
        """For a caller who counts on a row for each image."""
        if self.bad:
            path, reason = self.bad[0]
            raise UserError(f"{shown(path)} could not be read: {reason}; leave it out, or mend the file")


def shown(name: str) -> str:
    """A name that may hold line breaks or bytes that are no text, for a person's eyes."""
    return name if name.isprintable() else repr(name)


# ---- files ---------------------------------------------------------------------------------------------------------------


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
    need_pictures(shape)
    root, paths = files(source, left_out)
    yield from each(paths, [root / path for path in paths], shape, left_out)


def need_pictures(shape: tuple[int, ...]) -> None:
    if len(shape) != 3:
        raise UserError(f"the model was trained on vectors of {shape[0]} numbers; give an .npz file with an array x")


def each(
    names: Sequence[str], pictures: Sequence[Any], shape: tuple[int, ...], left_out: LeftOut, scale: float | None = None
) -> Iterator[tuple[list[str], Tensor]]:
    """Pictures of any size, decoded by all cores, a chunk at a time; scale: what `read` wants to know of arrays."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool, Meter("labelling", len(names)) as meter:
        for start in range(0, len(names), CHUNK):
            good, rows = [], []
            chunk = names[start : start + CHUNK]
            found = pool.map(lambda p: read(p, shape, scale), pictures[start : start + CHUNK])
            for name, row in zip(chunk, found, strict=True):
                meter.advance(1)
                if isinstance(row, str):
                    left_out.bad.append((name, row))
                else:
                    good.append(name)
                    rows.append(row)
            if rows:
                yield good, torch.stack(rows)


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


def read(picture: Any, shape: tuple[int, ...], scale: float | None = None) -> Tensor | str:
    """One picture [c, h, w], decoded and resized exactly as for training, or the reason why not.

    It is a path, a picture of Pillow's, or an array [h, w], [h, w, c] or [c, h, w], with the scale of its numbers.
    """
    side, channels = (shape[1], shape[2]), shape[0]
    if isinstance(picture, str | Path):
        try:
            return upright(decode(Path(picture), side, channels))
        except BadImageError as error:
            return str(error)
    if isinstance(picture, Image.Image):
        try:
            return upright(picture_to_array(picture, side, channels))
        except Exception as error:  # a file that Pillow has only opened so far may turn out to be damaged in any way
            return f"damaged ({error or type(error).__name__})"
    return pixels(picture[None], "a picture of the list", side, channels, scale)[0]


def upright(picture: np.ndarray[Any, Any]) -> Tensor:
    """[h, w, c] -> [c, h, w]"""
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())


def rows_of(source: Path, shape: tuple[int, ...]) -> Tensor:
    """The array x of an .npz file (or its only array), as images of the model's shape or as vectors."""
    stored = read_npz(source)
    known = [key for key in PARTS["x"] if key in stored] or (list(stored) if len(stored) == 1 else [])
    if not known:
        raise UserError(f"{source} has no array 'x' but {', '.join(stored) or 'nothing'}; name the array of images x")
    values = stored[known[0]]
    if len(shape) == 3:
        return pixels(values, f"{source}: {known[0]}", (shape[1], shape[2]), shape[0])
    return pixels(values, f"{source}: {known[0]}")


# ---- what Python programs have in hand -----------------------------------------------------------------------------------


def given(images: Any, shape: tuple[int, ...]) -> Iterator[Tensor]:
    """Raw rows, a chunk at a time, of anything that `Model.predict` takes; a row for each image, or a sentence."""
    left_out = LeftOut()
    if isinstance(images, str | Path):
        chunks = batches(Path(os.path.expanduser(images)), shape, left_out)
    else:
        if isinstance(images, Image.Image):
            images = [images]
        elif isinstance(images, Iterator) or getattr(getattr(images, "dtype", None), "kind", "") in ("U", "O"):
            images = list(images)  # such as Path.glob's, or a column of paths
        if not (isinstance(images, list | tuple) and are_pictures(images, shape)):
            yield whole(images, shape)
            return
        paths = [Path(os.path.expanduser(p)) if isinstance(p, str) else p for p in images]
        names = [str(p) if isinstance(p, Path) else f"images[{i}]" for i, p in enumerate(paths)]
        chunks = each(names, paths, shape, left_out, common_scale(paths))
    for _, x in chunks:
        left_out.refuse()
        yield x
    left_out.refuse()


def are_pictures(items: Sequence[object], shape: tuple[int, ...]) -> bool:
    """Whether these are pictures one by one, each of its own size; else they are taken together, as one array."""
    if any(isinstance(item, str | Path | Image.Image) for item in items):
        need_pictures(shape)
    kinds = (str, Path, Image.Image, np.ndarray, Tensor)
    return len(shape) == 3 and len(items) > 0 and all(isinstance(item, kinds) for item in items)


def common_scale(items: Iterable[object]) -> float | None:
    """What the pixels of these arrays are multiplied by, as if they were one array; None: there are none."""
    arrays = [np.asarray(item) for item in items if isinstance(item, np.ndarray | Tensor) and item.shape]
    ends = [end for array in arrays if array.size for end in (array.min(), array.max())]
    return pixel_scale(np.asarray(ends), "the list of images") if ends else None


def whole(values: Any, shape: tuple[int, ...]) -> Tensor:
    """One array, tensor, data frame or list of numbers: all images together, or a single one."""
    if not isinstance(values, Tensor):
        try:
            values = np.asarray(values)
        except ValueError as error:
            raise UserError(f"the images cannot be made one array ({error}); give them as [n, ...]") from error
    if values.shape[:1] == (0,):
        return torch.empty(0, *shape)
    if len(shape) == 1:
        if values.ndim not in (1, 2):
            raise UserError(f"the model was trained on vectors; give an array [n, {shape[0]}], not {dims(values)}")
        return pixels(values if values.ndim == 2 else values[None], "the array of vectors")
    return pixels(as_batch(values, shape), "the array of images", (shape[1], shape[2]), shape[0])


def as_batch(values: Any, shape: tuple[int, ...]) -> Any:
    """[n, h, w], [n, h, w, c] or [n, c, h, w], also of a single picture; what may be read in two ways is refused."""
    own, size = tuple(values.shape), shape[1:]
    if len(own) == 2:
        if own != size:
            raise UserError(
                f"an array {dims(values)} may be one picture or rows of pixels: give [n, h, w], and one picture as [x]"
            )
        return values[None]
    if len(own) == 3 and not (shape[0] == 1 and own[1:] == size):  # else: grey pictures of the model's own size
        if own == shape or (not isinstance(values, Tensor) and own[2] in DEPTHS):
            return values[None]
        if isinstance(values, Tensor) and own[0] in DEPTHS[1:]:
            raise UserError(
                f"a tensor {dims(values)} may be one picture or {own[0]} grey ones: give [n, c, h, w], and one as [x]"
            )
    return values


def dims(values: Any) -> str:
    return str(list(values.shape))
