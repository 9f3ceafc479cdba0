"""What scikit-learn users hold, read: labels with gaps in any notation, and images of any scale as bytes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from halfseen.errors import UserError

Array = NDArray[Any]
ROWS = 4096  # images whose pixels are scaled at a time: a float copy of all would be eight times their bytes


# ---- labels --------------------------------------------------------------------------------------------------------------


def read_labels(y: Any) -> tuple[NDArray[np.bool_], Array]:
    """(which rows are labelled, the labels of those rows in order).

    Unlabelled is -1 among numbers; "", "-1", -1, None or NaN among names; None or NaN in a column of numbers.
    """
    values = column(y)
    kind = values.dtype.kind
    if kind in "US":
        labelled = ~np.isin(values, np.array(["", "-1"], dtype=values.dtype))
        if kind == "U" and (values == "nan").any():
            raise UserError(
                "y has the label 'nan', which is what numpy makes of a missing value among names: give y as a list or with "
                "dtype=object, and None where a label is missing"
            )
    elif kind == "O":
        labelled = np.array([not missing(v) for v in values.tolist()], dtype=bool)
    elif kind == "f":
        if np.isinf(values).any():
            raise UserError("y has infinite values: give whole numbers or names as labels")
        labelled = ~np.isnan(values) & (values != -1)
    elif kind in "iu":
        labelled = values != -1
    elif kind == "b":
        labelled = np.ones(len(values), dtype=bool)
    else:
        raise UserError(f"y holds {values.dtype}: give whole numbers or names as labels")
    return labelled, checked_labels(of_one_kind(values[labelled]))


def column(y: Any) -> Array:
    """y as one array with a label for each row, whatever held it."""
    values = np.asarray(y)
    if values.dtype.kind == "U" and isinstance(y, list | tuple):
        values = np.asarray(y, dtype=object)  # numpy would write a missing value among names as 'nan'
    one: Array = column_or_1d(values, warn=True)
    return one


def missing(label: Any) -> bool:
    """None, NaN, pandas' NA, "" or -1, be it a number or text."""
    if label is None or type(label).__name__ == "NAType":
        return True
    if isinstance(label, str):
        return label in ("", "-1")
    return bool(label != label) or bool(label == -1)


def of_one_kind(labels: Array) -> Array:
    """Labels from a column of objects as the numbers that they are, or as the texts that they are."""
    if labels.dtype.kind != "O" or not len(labels):
        return labels
    texts = sum(isinstance(v, str) for v in labels)
    if texts == len(labels):
        return labels
    if texts:
        raise UserError(
            "y mixes names and numbers: give all labels as names or all as numbers, None where one is missing"
        )
    return np.array(labels.tolist())


def checked_labels(labels: Array) -> Array:
    """The labels themselves, if they name classes."""
    if not len(labels):
        raise UserError("y has no labelled row, all are -1 or missing: label a few rows of each class")
    check_classification_targets(labels)
    if labels.dtype.kind in "if" and labels.min() < 0:
        raise UserError(
            f"y has the label {labels.min():g} beside -1, which means unlabelled: number the classes from 0, or name them"
        )
    return labels


def classes_of(labels: Array, gaps: bool) -> tuple[Array, NDArray[np.int64]]:
    """(the classes, the number of each label's class); `gaps`: some rows have no label."""
    classes, numbers = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        hint = ""
        if gaps and classes.dtype.kind in "if":
            hint = " (-1 means unlabelled; where it is a class, write the two as 0 and 1, or as names)"
        raise UserError(
            f"y has only one class, {classes[0]!s}{hint}: a classifier needs labelled rows of at least two classes"
        )
    return classes, numbers.astype(np.int64)


# ---- images --------------------------------------------------------------------------------------------------------------


def as_images(X: Array, shape: Any) -> Array:
    """Rows of numbers [n, d] as the images that they are, [n, h, w] or [n, h, w, c]."""
    try:
        sides = tuple(int(side) for side in shape)
    except (TypeError, ValueError):
        sides = ()
    if len(sides) not in (2, 3) or min(sides) < 1:
        raise UserError(f"image_shape is (height, width) or (height, width, channels), not {shape!r}")
    if X.shape[1:] == sides:
        return X
    if X.ndim != 2 or X.shape[1] != np.prod(sides):
        raise UserError(
            f"X has rows of shape {X.shape[1:]}, and the images are {sides}: give those, as they are or flattened"
        )
    return X.reshape(len(X), *sides)


@dataclass(frozen=True)
class PixelRange:
    """The numbers that stand for black and white, the same for all images that a classifier ever sees."""

    low: float
    high: float

    @classmethod
    def of(cls, X: Array, asked: Any = None) -> "PixelRange":
        """uint8 is 0..255, floats in [0, 1] are just that, everything else reaches from its least to its largest number."""
        if asked is not None:
            try:
                low, high = (float(v) for v in asked)
            except (TypeError, ValueError):
                low, high = 0.0, 0.0
            if not low < high:
                raise UserError(
                    f"pixel_range is (black, white), two numbers of which the second is larger, not {asked!r}"
                )
            return cls(low, high)
        if X.dtype == np.uint8:
            return cls(0, 255)
        low, high = float(X.min()), float(X.max())
        if X.dtype.kind == "b" or (X.dtype.kind == "f" and low >= 0 and high <= 1):
            return cls(0, 1)
        return cls(low, high)

    def as_bytes(self, X: Array) -> NDArray[np.uint8]:
        """X stretched so that the range becomes 0..255; what lies a little beyond it is cut."""
        if X.dtype == np.uint8 and (self.low, self.high) == (0, 255):
            return X
        self.check(X)
        scaled = np.empty(X.shape, dtype=np.uint8)
        factor = 255 / (self.high - self.low or 1)
        for start in range(0, len(X), ROWS):
            piece = X[start : start + ROWS].astype(np.float64)
            scaled[start : start + ROWS] = np.rint((piece - self.low) * factor).clip(0, 255)
        return scaled

    def check(self, X: Array) -> None:
        """Images in another scale than those of the training would be recognised wrongly, all of them."""
        low, high, span = float(X.min()), float(X.max()), self.high - self.low
        beyond = low < self.low - span or high > self.high + span
        small = X.dtype.kind == "f" and self.high > 2 and 0 <= low <= high <= 1 and bool((np.rint(X) != X).any())
        if beyond or small:
            raise UserError(
                f"X has pixels from {low:g} to {high:g}, and the range of the classifier is {self.low:g} to {self.high:g}: "
                "give all images in one scale, or say which with pixel_range"
            )
