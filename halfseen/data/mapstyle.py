"""Map-style data sets that the user has already, torchvision's and Hugging Face's among them, made into an ImageSet."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from halfseen.data.arrays import from_arrays, pixel_scale, pixels
from halfseen.data.images import choose_side, picture_to_array, seen_as
from halfseen.data.sets import ImageSet
from halfseen.errors import UserError

SAMPLE = 64  # rows that decide on the size and the colours when none were asked for
IMAGE_COLUMNS = ("image", "img", "pixel_values", "x")
LABEL_COLUMNS = ("label", "labels", "fine_label", "y")


class MapStyle(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> object: ...


def from_map_style(
    train: MapStyle,
    test: MapStyle | None = None,
    *,
    name: str = "dataset",
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    flip: bool | None = None,
) -> ImageSet:
    """From rows (PIL image or array, int), or {"image": ..., "label": ...}; a label of -1 or None is unknown."""
    _check_rows(train, name)
    if not len(train):
        raise UserError(f"{name} holds no images: give at least two classes of them.")
    sample = [_pair(train[i], name, i)[0] for i in range(0, len(train), 1 + len(train) // SAMPLE)]
    scale: float | None = None
    if all(np.ndim(image) != 1 for image in sample if not isinstance(image, Image.Image)):  # pictures, not vectors
        arrays_seen = [np.asarray(image).ravel() for image in sample if not isinstance(image, Image.Image)]
        scale = pixel_scale(np.concatenate(arrays_seen), name) if arrays_seen else None
        looks = [_look(image) for image in sample]
        size = size or choose_side([side for side, _ in looks])
        channels = channels or (3 if any(colour for _, colour in looks) else 1)
    arrays: dict[str, object] = {}
    for part, rows in (("", train), ("test_", test)):
        if rows is not None:
            _check_rows(rows, name)
            arrays[f"{part}x"], arrays[f"{part}y"] = _collect(rows, name, size, channels, scale)
    names = getattr(train, "classes", None) or _feature_names(train)
    if names:
        arrays["classes"] = [str(c) for c in names]
    return from_arrays(arrays, name=name, flip=flip)


def _collect(
    rows: MapStyle, name: str, size: tuple[int, int] | None, channels: int | None, scale: float | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pictures as uint8 [N, h, w, c], each resized as it comes, so that large originals are never held together."""
    out: NDArray[Any] | None = None
    labels: list[object] = []
    for index in range(len(rows)):
        image, label = _pair(rows[index], name, index)
        if isinstance(image, Image.Image):
            row: NDArray[Any] = picture_to_array(image, size, channels)
        elif size is not None:
            values = image[None] if hasattr(image, "dtype") else np.asarray(image)[None]
            row = pixels(values, f"{name}[{index}]", size, channels, scale).numpy()[0].transpose(1, 2, 0)
        else:
            row = np.asarray(image, dtype=np.float32)
        if out is None:
            out = np.empty((len(rows), *row.shape), dtype=row.dtype)
        if row.shape != out.shape[1:]:
            raise UserError(
                f"{name}[{index}] has the shape {row.shape}, the rows before it {out.shape[1:]}: give one shape."
            )
        out[index] = row
        labels.append(-1 if label is None else label)
    return (out if out is not None else np.empty((0, 1))), np.asarray(labels)


def _look(image: object) -> tuple[tuple[int, int], bool]:
    if isinstance(image, Image.Image):
        return seen_as(image)
    shape = np.shape(cast(Any, image))
    if len(shape) == 2:
        return (shape[0], shape[1]), False
    if len(shape) == 3 and shape[0] in (1, 3, 4) and shape[2] not in (1, 3, 4):
        return (shape[1], shape[2]), shape[0] != 1
    return (shape[0], shape[1]), shape[-1] != 1


def _check_rows(rows: object, name: str) -> None:
    if not (hasattr(rows, "__len__") and hasattr(rows, "__getitem__")):
        raise UserError(
            f"{name} is a {type(rows).__name__}: give a folder, a name, arrays, or a data set with len() and rows by "
            "number."
        )


def _pair(row: object, name: str, index: int) -> tuple[Any, Any]:
    if isinstance(row, Mapping):
        images = [k for k in IMAGE_COLUMNS if k in row]
        labels = [k for k in LABEL_COLUMNS if k in row]
        if images:
            return row[images[0]], row[labels[0]] if labels else None
        raise UserError(f"{name} has the columns {', '.join(map(str, row))}: name the one with the pictures 'image'.")
    if isinstance(row, Sequence) and not isinstance(row, str) and len(row) >= 2:
        return row[0], row[1]
    raise UserError(f"{name}[{index}] is no pair (image, label): give a data set whose rows are such pairs.")


def _feature_names(rows: object) -> Sequence[str] | None:
    """The classes as a Hugging Face data set names them."""
    features = getattr(rows, "features", None)
    if isinstance(features, Mapping):
        for column in LABEL_COLUMNS:
            if column in features:
                return cast("Sequence[str] | None", getattr(features[column], "names", None))
    return None
