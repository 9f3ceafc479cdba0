"""How a network wants its pictures: side, mean and deviation, as a preprocessor_config.json beside its weights says."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from halfseen.errors import UserError

FILE = "preprocessor_config.json"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation of red, green and blue
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # to [-1, 1]
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True)
class Pixels:
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Normalise(nn.Module):
    """(x - mean) / std of each channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, pixels: Pixels) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(pixels.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(pixels.std).view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def read_pixels(folder: Path, side: int, usual: tuple[Sequence[float], Sequence[float]]) -> Pixels:
    """What the file in this folder says; `side` and the `usual` mean and deviation for what it leaves open."""
    file = folder / FILE
    said = read_settings(file) if file.is_file() else {}
    try:
        crop = said.get("crop_size") if said.get("do_center_crop", True) else None
        sides = [side_of(size) for size in (crop, said.get("size")) if size is not None]
        mean, std = (
            three(said.get(key, usually)) for key, usually in zip(("image_mean", "image_std"), usual, strict=True)
        )
        if said.get("do_normalize") is False:
            mean, std = (0.0,) * 3, (1.0,) * 3
        if min(std) <= 0 or (sides or [side])[0] < 1:
            raise ValueError("sides and deviations are above 0")
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{file} does not say size, image_mean and image_std as usual ({error}): mend it") from error
    return Pixels((sides or [side])[0], mean, std)


def read_settings(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_bytes())
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error}): fetch it again") from error
    if not isinstance(said, dict):
        raise UserError(f"{file} is damaged (it holds no settings by name): fetch it again")
    return said


def side_of(size: Any) -> int:
    """224, or {"height": 224, "width": 224}, or {"shortest_edge": 224}."""
    if not isinstance(size, dict):
        return int(size)
    known = [size[key] for key in ("height", "width", "shortest_edge") if size.get(key) is not None]
    if not known:
        raise ValueError(f"a size of {sorted(size)}")
    return min(int(number) for number in known)


def three(numbers: Any) -> tuple[float, ...]:
    found = tuple(float(number) for number in (numbers if isinstance(numbers, Sequence) else [numbers] * 3))
    if len(found) != 3:
        raise ValueError(f"{len(found)} numbers for three channels")
    return found
