"""A data set as tensors: what every source becomes, and all that training needs to know about it."""

import hashlib
import re
import unicodedata
import warnings
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from halfseen.draws import Draws
from halfseen.errors import UserError, quoted

STATS_VALUES = 20_000_000  # numbers that mean and deviation are measured on: more would not change the second digit
HASH_ROWS = 4_096  # rows hashed at a time, so that a memory-mapped set is never wholly in memory


class Rows(Protocol):
    """Features of images by their numbers: data/bank.py."""

    @property
    def dim(self) -> int: ...
    def look(self, kind: str, numbers: Tensor, draws: Draws) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class ImageSet:
    name: str
    classes: tuple[str, ...]
    x: Tensor  # uint8 [N, c, h, w], perhaps memory-mapped, or float32 [N, d] for feature vectors
    y: Tensor  # int64 [N]; -1 = nobody here knows
    given: Tensor  # bool [N]; the rows whose label the source shows to the learner
    mean: Tensor  # [c] of pixels in [0, 1], or [d] of features
    std: Tensor
    flip: bool  # may a picture be mirrored?
    test_x: Tensor | None = None
    test_y: Tensor | None = None
    val_x: Tensor | None = None  # only when the source has a validation part of its own
    val_y: Tensor | None = None
    paths: tuple[str, ...] | None = None  # of a folder's images, relative to it, with / on every system
    test_paths: tuple[str, ...] | None = None
    val_paths: tuple[str, ...] | None = None
    note: str = ""  # kept with every result, e.g. which images are not exact
    skipped: tuple[tuple[str, str], ...] = ()  # (path, reason) of the files left out
    odd: tuple[tuple[str, str], ...] = ()  # (path, why) of pictures that are unlike the others by kind, size or shape
    two_domains: bool = False  # the labelled images are no examples of what is to be learnt
    sums: tuple[tuple[str, str], ...] = ()  # (field, sum of its contents) where a cache has computed it already
    bank: "Rows | None" = field(
        default=None, repr=False
    )  # x are numbers of images [N, 1], and this knows their features

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image (c, h, w) or vector (d,)."""
        return tuple(self.x.shape[1:]) if self.bank is None else (self.bank.dim,)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def is_images(self) -> bool:
        return self.x.ndim == 4

    def fingerprint(self) -> str:
        """sha256 of everything a result depends on: pixels, labels, which of them are shown, and the classes' names."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        known = dict(self.sums)
        whole = hashlib.sha256("\0".join(self.classes).encode(errors="surrogateescape"))
        for name in ("x", "y", "given", "test_x", "test_y", "val_x", "val_y"):
            value = getattr(self, name)
            if value is not None:
                whole.update(f"|{name}:{tuple(value.shape)}:".encode())
                whole.update((known.get(name) or sha256_of(value)).encode())
        return whole.hexdigest()


def sha256_of(values: Tensor) -> str:
    """Of the bytes of a tensor on the CPU, read in pieces."""
    digest = hashlib.sha256()
    for start in range(0, len(values), HASH_ROWS):
        digest.update(values[start : start + HASH_ROWS].contiguous().numpy().tobytes())
    return digest.hexdigest()


def measure(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation per channel (pixels as [0, 1]) or per feature, over at most STATS_VALUES numbers."""
    rows = x[:: 1 + x.numel() // STATS_VALUES]
    if x.ndim == 4:  # exact, from counts: a float copy of the pixels would be eight times their size
        counts = torch.zeros(x.shape[1], 256, dtype=torch.float64)
        for piece in torch.split(rows, 512):
            for channel in range(x.shape[1]):
                counts[channel] += torch.bincount(piece[:, channel].flatten(), minlength=256)
        level = torch.arange(256, dtype=torch.float64) / 255
        share = counts / counts.sum(1, keepdim=True).clamp_min(1)
        mean = share @ level
        std = (share * (level - mean[:, None]) ** 2).sum(1).sqrt()
    else:
        std, mean = torch.std_mean(rows.double(), dim=0, correction=0)
    std = torch.where(std < 1e-6, torch.ones_like(std), std)  # a channel that never changes must not become infinite
    return mean.float(), std.float()


def tensor_of(array: NDArray[Any]) -> Tensor:
    """The array as a tensor without a copy, whatever the order of its axes: a memory-mapped one stays on the disk.

    torch's warning about arrays that may not be written to says nothing here, since a set is only read.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable")
        return torch.from_numpy(np.ascontiguousarray(array) if min(array.strides, default=0) < 0 else array)


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key under which img2 stands before img10."""
    parts = re.split(r"(\d+)", name)
    keys = [(0, int(p), "") if p.isdecimal() else (1, 0, p.casefold()) for p in parts if p]
    return (*keys, (-1, 0, name))


def check_set(data: ImageSet) -> ImageSet:
    """The set itself, or a sentence when nothing can be learned from it."""
    if len(data.x) == 0:
        raise UserError(f"{data.name} holds no training images: give at least two classes of them.")
    if len(data.classes) < 2:
        only = f"only the class {data.classes[0]!r}" if data.classes else "no labels at all"
        raise UserError(f"{data.name} has {only}: a classifier needs labelled examples of at least two classes.")
    if note := _alike(data):
        return replace(data, note=f"{data.note} {note}".strip())
    return data


def plain(name: str) -> str:
    """What is seen of a name: spaces, the two ways to write an accent, and 1 beside 1.0 as spreadsheets leave them."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", " ".join(unicodedata.normalize("NFC", name).split()))


def _alike(data: ImageSet) -> str:
    """A note on classes whose names differ only in case, as `A` and `a` may; refused if they differ in nothing visible."""
    seen: dict[str, str] = {}
    folded: dict[str, str] = {}
    pairs = []
    for name in data.classes:
        key = plain(name)
        if key in seen:
            raise UserError(
                f"{data.name} has the classes {quoted(seen[key])} and {quoted(name)}, which look like one: give all "
                "their images one name."
            )
        seen[key] = name
        if key.casefold() in folded:
            pairs.append(f"{quoted(folded[key.casefold()])} and {quoted(name)}")
        folded.setdefault(key.casefold(), name)
    if not pairs:
        return ""
    more = f" (and {len(pairs) - 1} more such pairs)" if len(pairs) > 1 else ""
    return f"the classes {pairs[0]}{more} differ only in case: if they are one, give them one name."
