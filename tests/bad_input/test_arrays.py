"""Arrays and .npz files: wrong values, wrong shapes, files that are something else, and pickles."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from halfseen.data import arrays, open_data
from halfseen.errors import UserError
from halfseen.training import checkpoint
from tests.bad_input.given import PIXELS, SOME, npz

VECTORS = np.random.default_rng(0).normal(size=(12, 5))


def with_value(values: np.ndarray, value: float) -> np.ndarray:
    values = values.astype(np.float64)
    values[3, 1] = value
    return values


WRONG_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "nan": ({"x": with_value(PIXELS, np.nan)}, "nan or infinite values in 1 rows, the first being 3: mend or drop"),
    "inf": ({"x": with_value(PIXELS, np.inf)}, "nan or infinite values in 1 rows"),
    "nan in vectors": ({"x": with_value(VECTORS, np.nan)}, "nan or infinite values in 1 rows"),
    "-inf in vectors": ({"x": with_value(VECTORS, -np.inf)}, "nan or infinite values in 1 rows"),
    "beyond float32": ({"x": with_value(VECTORS, 1e300)}, "features up to 1e+300, too large for float32: scale them"),
    "vast pixels": ({"x": with_value(PIXELS, 1e300)}, "pixels up to 1e+300: give pictures as 0..255"),
    "negative pixels": ({"x": with_value(PIXELS, -3)}, "negative pixels (-3)"),
    "no features": ({"x": np.zeros((12, 0))}, "has the shape (12, 0): give [N,h,w]"),
    "no pixels": ({"x": np.zeros((12, 8, 0))}, "has the shape (12, 8, 0)"),
    "a number": ({"x": np.float32(3)}, "has the shape ()"),
    "a number that is none": ({"x": np.float32("nan")}, "has the shape ()"),
    "texts for pixels": ({"x": np.array(["a"] * 12)}, "and not numbers"),
    "complex pixels": ({"x": PIXELS.astype(complex)}, "holds complex128 and not numbers"),
    "objects": ({"x": np.array([{}] * 12)}, "it holds Python objects"),
    "no rows": ({"x": PIXELS[:0], "y": SOME[:0]}, "no training images"),
    "no label": ({"y": np.full(12, -1)}, "has no labels at all"),
    "negative labels": ({"y": np.array([-5, 1, 0] * 4)}, "has the label -5: labels count from 0, and -1 means unl"),
    "fractions": ({"y": np.array([0.5, 1, 0] * 4)}, "holds fractions"),
    "infinite labels": ({"y": np.array([np.inf, 1, 0] * 4)}, "has the label inf: give smaller numbers, or names"),
    "vast labels": ({"y": np.array([2**64 - 1, 1, 0] * 4, dtype=np.uint64)}, "label 1.84467e+19: give smaller"),
    "complex labels": ({"y": SOME.astype(complex)}, "holds complex128: give whole numbers or names"),
    "too few labels": ({"y": SOME[:5]}, "x has 12 rows and y has 5: give one label per row"),
    "one-hot labels": ({"y": np.eye(12)}, "y has the shape (12, 12): give one label for each row"),
    "names in a square": ({"classes": np.array([["a", "b"]])}, "classes has the shape (1, 2)"),
    "too few names": ({"classes": np.array(["a"])}, "names 1 classes but holds the label 1"),
}


@pytest.mark.parametrize("name", WRONG_ARRAYS)
@pytest.mark.filterwarnings("error")  # numpy's or torch's own words would stand beside the sentence
def test_arrays_that_are_wrong(name: str, wrong_data: Callable[[str | Path], str]) -> None:
    stored, said = WRONG_ARRAYS[name]
    assert said in wrong_data(npz(**stored))


def test_rows_that_differ_in_shape() -> None:
    with pytest.raises(UserError, match="its rows differ in shape: give all rows one shape"):
        open_data({"x": [[1, 2], [3]], "y": np.array([0, 1])})


@pytest.mark.parametrize(
    "labels", [[3, 7, 42] * 4, [3.0, 7.0, 42.0] * 4, ["3", "7", "42"] * 4, [b"3", b"7", b"42"] * 4]
)
def test_labels_that_are_not_contiguous(labels: list[Any]) -> None:
    data = open_data(npz(y=np.array(labels)))
    assert data.classes == ("3", "7", "42")
    assert data.y.tolist() == [0, 1, 2] * 4


WRONG_NPZ: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "could not be read as an .npz file"),
    "text": (lambda: b"x,y\n1,2\n", "could not be read as an .npz file"),
    "cut": (lambda: npz().read_bytes()[:300], "could not be read as an .npz file"),
    "a pickle": (lambda: pickle.dumps({"x": 1}), "could not be read as an .npz file"),
    "an .npy file": (lambda: (np.save("a.npy", PIXELS), Path("a.npy").read_bytes())[1], "could not be read as an .npz"),
    "other arrays": (lambda: (np.savez("a.npz", a=PIXELS), Path("a.npz").read_bytes())[1], "has no array 'x' but a"),
}


@pytest.mark.parametrize("name", WRONG_NPZ)
def test_files_that_are_no_npz(name: str, wrong_data: Callable[[str | Path], str]) -> None:
    make, said = WRONG_NPZ[name]
    raw = make()
    for made in Path().glob("*.np?"):
        made.unlink()
    Path("mine.npz").write_bytes(raw)
    assert said in wrong_data("mine.npz")


class Loaded:
    """What a pickle in an array would do to the machine."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("pickle-was-opened"),))


def test_pickles_are_never_opened(tmp_path: Path, wrong: Callable[..., str]) -> None:
    said = wrong("train", npz(x=np.array([Loaded()] * 12, dtype=object)), "--out", "run")
    assert "it holds Python objects" in said
    assert "unsafe" not in said  # numpy would advise to load it all the same
    torch.save({"method": Loaded()}, "last.pt")
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load(Path("last.pt"))
    assert not Path("pickle-was-opened").exists()


def test_arrays_larger_than_the_memory_are_not_begun(
    wrong: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "LARGE", 100)
    monkeypatch.setattr(os, "sysconf", lambda name: 10)
    assert "GiB, more than the memory of this machine" in wrong("train", npz(), "--out", "run")
