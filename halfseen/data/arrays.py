"""Arrays, tensors and .npz files, in any usual layout, made into an ImageSet."""

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from halfseen.data.images import resize_all
from halfseen.data.sets import ImageSet, check_set, measure, natural, tensor_of
from halfseen.errors import UserError, nearest

Array = NDArray[Any]
PARTS = {  # names that a part's arrays go by
    "x": ("x", "X", "x_train", "train_x", "images"),
    "y": ("y", "Y", "y_train", "train_y", "labels"),
    "test_x": ("x_test", "test_x", "X_test"),
    "test_y": ("y_test", "test_y", "Y_test"),
    "val_x": ("x_val", "val_x", "X_val"),
    "val_y": ("y_val", "val_y", "Y_val"),
    "classes": ("classes", "names"),
}


MAX_LABEL = 2**63  # what a label must be below; infinity is above it too
LARGE = 1 << 30  # bytes; below it, no archive is too large
MAX_RATIO = 200  # how much more a large archive may hold than it weighs: sparse masks reach 100, zeros 230 to 1,000


def open_npz(path: Path, **settings: Any) -> ImageSet:
    return from_arrays(read_npz(path), name=path.stem, **settings)


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file. Pickles in it are never opened, and nothing is unpacked that cannot fit into memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        _check_weight(path, sum(e.file_size for e in entries), sum(e.compress_size for e in entries))
        with np.load(path, allow_pickle=False) as stored:
            return {key: np.asarray(stored[key]) for key in stored.files}
    except UserError:
        raise
    except Exception as error:  # damaged archives make zipfile, zlib and numpy raise almost anything
        reason = "it holds Python objects" if "allow_pickle" in str(error) else str(error) or type(error).__name__
        raise UserError(
            f"{path} could not be read as an .npz file of plain arrays ({reason}): save it again with numpy.savez."
        ) from error


def _check_weight(path: Path, unpacked: int, packed: int) -> None:
    if unpacked <= LARGE:
        return
    if unpacked > MAX_RATIO * packed:
        raise UserError(f"{path} would unpack {packed:,} bytes to {unpacked:,}: save it again with numpy.savez.")
    if hasattr(os, "sysconf") and unpacked > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        raise UserError(
            f"{path} holds {unpacked / 2**30:.1f} GiB, more than the memory of this machine: give a folder of images."
        )


def from_arrays(
    source: Mapping[str, object] | Sequence[object],
    *,
    name: str = "arrays",
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    flip: bool | None = None,
) -> ImageSet:
    """From (x, y), (x, y, test_x, test_y) or a mapping of names to arrays; -1, None, nan or "" is an unknown label."""
    parts = _named(source, name)
    x = pixels(parts["x"], f"{name}: x", size, channels)
    raw: dict[str, Array] = {
        field: _labels(parts[field], f"{name}: {field}") for field in ("y", "test_y", "val_y") if field in parts
    }
    classes = _classes(raw["y"], parts.get("classes"), name)
    positional = "classes" in parts  # a list of names says what each number means
    tensors: dict[str, Tensor] = {"x": x, "y": _numbers(raw["y"], classes, positional, name, hidden_allowed=True)}
    for part in ("test", "val"):
        if f"{part}_x" in parts:
            same_kind = getattr(parts["x"], "dtype", None) == getattr(parts[f"{part}_x"], "dtype", None)
            scale = pixel_scale(_array(parts["x"], name), name) if same_kind and x.ndim == 4 else None
            tensors[f"{part}_x"] = pixels(parts[f"{part}_x"], f"{name}: {part}_x", size, channels, scale)
            tensors[f"{part}_y"] = _numbers(raw[f"{part}_y"], classes, positional, f"{name}: {part}_y", False)
            if tensors[f"{part}_x"].shape[1:] != x.shape[1:]:
                raise UserError(
                    f"{name}: {part}_x does not have the shape of x: give rows of shape {tuple(x.shape[1:])}."
                )
    for part in ("", "test_", "val_"):
        if f"{part}x" in tensors and len(tensors[f"{part}x"]) != len(tensors[f"{part}y"]):
            lengths = len(tensors[f"{part}x"]), len(tensors[f"{part}y"])
            raise UserError(
                f"{name}: {part}x has {lengths[0]} rows and {part}y has {lengths[1]}: give one label per row."
            )
    mean, std = measure(x) if len(x) else (torch.zeros(1), torch.ones(1))
    optional: dict[str, Any] = {field: value for field, value in tensors.items() if field not in ("x", "y")}
    return check_set(
        ImageSet(
            name=name,
            classes=classes,
            x=x,
            y=tensors["y"],
            given=tensors["y"] >= 0,
            mean=mean,
            std=std,
            flip=(x.ndim == 4 and x.shape[1] == 3) if flip is None else flip,
            **optional,
        )
    )


def _named(source: Mapping[str, object] | Sequence[object], name: str) -> dict[str, Any]:
    if not isinstance(source, Mapping):
        if len(source) not in (2, 4):
            raise UserError(f"{name}: {len(source)} arrays were given: give (x, y) or (x, y, test_x, test_y).")
        source = dict(zip(("x", "y", "test_x", "test_y"), source, strict=False))
    known = {alias: part for part, aliases in PARTS.items() for alias in aliases}
    parts: dict[str, Any] = {known[key]: value for key, value in source.items() if key in known and value is not None}
    for needed in ("x", "y"):
        if needed not in parts:
            there = ", ".join(source) or "nothing"
            raise UserError(f"{name} has no array {needed!r} but {there}: name them x and y, {nearest(needed, known)}")
    for part in ("test", "val"):
        if (f"{part}_x" in parts) != (f"{part}_y" in parts):
            raise UserError(f"{name} has only one of {part}_x and {part}_y: give both or none.")
    return parts


def pixels(
    values: object,
    name: str,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    scale: float | None = None,
) -> Tensor:
    """uint8 [N, c, h, w] from pictures in any usual layout and number format, or float32 [N, d] from vectors."""
    channels_first = isinstance(values, Tensor)
    array = _array(values, name)
    if array.dtype.kind not in "uifb":
        raise UserError(f"{name} holds {array.dtype} and not numbers: give an array of pixels or features.")
    if array.ndim < 2 or 0 in array.shape[1:]:
        raise UserError(
            f"{name} has the shape {array.shape}: give [N,h,w], [N,h,w,c], [N,c,h,w] (c 1, 3 or 4) or [N,d]."
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        rows = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(1))
        raise UserError(
            f"{name} has nan or infinite values in {len(rows)} rows, the first being {rows[0]}: mend or drop them."
        )
    if array.ndim == 2:
        with np.errstate(over="ignore"):
            vectors = array.astype(np.float32, copy=False)
        if not np.isfinite(vectors).all():
            raise UserError(f"{name} has features up to {np.abs(array).max():g}, too large for float32: scale them.")
        return tensor_of(vectors)
    array = _bytes(array, name, pixel_scale(array, name) if scale is None else scale)
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4:
        last = array.shape[3] in (1, 3, 4) and not (array.shape[1] in (1, 3, 4) and channels_first)
        array = array.transpose(0, 3, 1, 2) if last else array
    if array.ndim != 4 or array.shape[1] not in (1, 3, 4):
        raise UserError(
            f"{name} has the shape {array.shape}: give [N,h,w], [N,h,w,c], [N,c,h,w] (c 1, 3 or 4) or [N,d]."
        )
    return tensor_of(resize_all(array, size, channels))


def pixel_scale(array: Array, name: str) -> float:
    """What the pixels are multiplied by to lie in 0..255: nothing is clipped, and a set has one scale."""
    if array.dtype == np.uint8:
        return 1
    if array.dtype == np.bool_:
        return 255
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if low < 0:
        raise UserError(f"{name} has negative pixels ({low:g}): give pictures as 0..255 or as floats in [0, 1].")
    if array.dtype.kind == "f" and high <= 1:
        return 255
    if high <= 255 and array.dtype != np.uint16:
        return 1
    if high <= 65535 and array.dtype.kind in "ui":
        return 1 / 257
    raise UserError(f"{name} has pixels up to {high:g}: give pictures as 0..255 or as floats in [0, 1].")


def _bytes(array: Array, name: str, scale: float) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return np.asarray(array, np.uint8)
    scaled: Array = np.rint(array * np.float32(scale))
    if array.size and not (scaled.min() >= 0 and scaled.max() <= 255):
        raise UserError(
            f"{name} has pixels up to {array.max():g}, other rows are smaller by far: give all in one scale."
        )
    return np.asarray(scaled, np.uint8)


def _array(values: object, name: str) -> Array:
    try:
        return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    except ValueError as error:  # numpy's, of a list of unequal rows
        raise UserError(f"{name} is no array, its rows differ in shape: give all rows one shape.") from error


def _labels(values: object, name: str) -> Array:
    """One label per row, as given: int64 with -1, or str with "" for the unknown ones."""
    array = _array(values, name)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise UserError(f"{name} has the shape {array.shape}: give one label for each row.")
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), -1, array)
        if not (array == np.rint(array)).all():
            raise UserError(f"{name} holds fractions: give whole numbers or names as labels.")
    if array.dtype.kind in "uifb":
        if (array < -1).any():
            raise UserError(f"{name} has the label {array.min():g}: labels count from 0, and -1 means unlabelled.")
        if array.dtype.kind in "uf" and (array >= MAX_LABEL).any():
            raise UserError(f"{name} has the label {array.max():g}: give smaller numbers, or names as labels.")
        return array.astype(np.int64)
    if array.dtype.kind in "cV":
        raise UserError(f"{name} holds {array.dtype}: give whole numbers or names as labels.")
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    unknown = (None, -1, "", "-1")
    return np.array(["" if v in unknown or v != v else str(v) for v in array.tolist()], dtype=str)


def _classes(y: Array, names: object, name: str) -> tuple[str, ...]:
    known = np.unique(y[y != ""] if y.dtype.kind == "U" else y[y >= 0])
    if names is None:
        found = [str(k) for k in known.tolist()]
        return tuple(sorted(found, key=natural) if y.dtype.kind == "U" else found)
    listed = _array(names, f"{name}: classes")
    if listed.ndim != 1:
        raise UserError(f"{name}: classes has the shape {listed.shape}: give a list with one name for each class.")
    listed = np.char.decode(listed, "utf-8", "replace") if listed.dtype.kind == "S" else listed
    given = tuple(str(c) for c in listed.tolist())
    if y.dtype.kind != "U" and len(known) and known[-1] >= len(given):
        raise UserError(f"{name} names {len(given)} classes but holds the label {known[-1]}: name every class.")
    if len(set(given)) < len(given):
        raise UserError(f"{name} names a class twice: give each class its own name.")
    return given


def _numbers(y: Array, classes: tuple[str, ...], positional: bool, name: str, hidden_allowed: bool) -> Tensor:
    """Labels as positions in classes, int64 [N], -1 for unknown; `positional` numbers are positions already."""
    table = {c: k for k, c in enumerate(classes)}
    if positional and y.dtype.kind != "U":
        numbers = y
        lost = y[y >= len(classes)]
    else:
        texts = [str(v) if v != -1 else "" for v in y.tolist()]
        numbers = np.array([table.get(t, -1 if t == "" else -2) for t in texts], dtype=np.int64)
        lost = y[numbers == -2]
    if len(lost):
        raise UserError(
            f"{name} has the label {lost.tolist()[0]!r}, which no training image has: known are {', '.join(classes[:9])}."
        )
    if not hidden_allowed and (numbers < 0).any():
        raise UserError(
            f"{name} has {int((numbers < 0).sum())} rows without a label, which cannot be tested: leave them out."
        )
    return tensor_of(numbers.astype(np.int64))
