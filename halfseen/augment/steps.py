"""The steps that policies are chained from, all on bytes, and the finish that turns bytes into what a network sees.

A step takes images [n, c, h, w] uint8, the affine maps that are chosen and not yet resampled, and the random numbers;
it returns the first two. Each draws the same amount for a row whatever the row shows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from halfseen.augment.chain import ID, apply_chain
from halfseen.augment.geometry import Pending, about_centre, cutout, settle, shift
from halfseen.augment.whitening import Whitening
from halfseen.draws import Draws

GREY = 127  # of a hole that follows RandAugment or CTAugment, as in the releases
JITTER = ("brightness", "contrast", "colour", "hue")


class Step(Protocol):
    def __call__(self, x: Tensor, pending: Pending | None, draws: Draws, /) -> tuple[Tensor, Pending | None]: ...


def run_steps(steps: Sequence[Step], x: Tensor, draws: Draws, fill: int) -> Tensor:
    if x.dtype != torch.uint8:
        raise TypeError(
            f"views are made of raw uint8 images, not of {x.dtype}; normalising is the view's own last step"
        )
    pending: Pending | None = None
    for step in steps:
        x, pending = step(x, pending, draws)
    return x if pending is None else settle(x, pending, fill)


@dataclass(frozen=True)
class Shift:
    """Move by up to `reach` pixels each way over the reflected border (a reflect-padded crop); flip half the rows."""

    reach: int
    flip: bool
    fill: int = 0
    sideways: bool = False  # left and right only

    def __call__(self, x: Tensor, pending: Pending | None, draws: Draws) -> tuple[Tensor, Pending | None]:
        if pending is not None:
            x = settle(x, pending, self.fill)
        offsets = draws.integers(-self.reach, self.reach + 1, len(x), 2).to(x.device, non_blocking=True)
        dy = torch.zeros_like(offsets[:, 0]) if self.sideways else offsets[:, 0]
        flipped = coins(draws, x) if self.flip else None
        return shift(x, dy, offsets[:, 1], flipped), None


def coins(draws: Draws, x: Tensor) -> Tensor:
    return draws.integers(0, 2, len(x)).to(x.device, non_blocking=True) == 1


@dataclass(frozen=True)
class Affine:
    """One random rotation, zoom, shear and move about the middle of the picture, and a flip."""

    flip: bool
    rotate: float = 15.0  # degrees either way
    zoom: float = 0.15  # the shown part is 1/(1 + zoom) to 1 + zoom times as wide as the picture
    shear: float = 0.15  # either way, along both axes
    move: float = 0.1  # of the side, either way

    def __call__(self, x: Tensor, pending: Pending | None, draws: Draws) -> tuple[Tensor, Pending | None]:
        n, _, h, w = x.shape
        turn, zoom, shear_x, shear_y, move_x, move_y = (
            draws.uniform(n, 6, low=-1.0, high=1.0).to(x.device, non_blocking=True).double().unbind(1)
        )
        matrix = about_centre(
            h,
            w,
            degrees=self.rotate * turn,
            zoom=torch.exp(math.log1p(self.zoom) * zoom),
            shear_x=self.shear * shear_x,
            shear_y=self.shear * shear_y,
            move_x=self.move * w * move_x,
            move_y=self.move * h * move_y,
        )
        if self.flip:  # output column j shows what column w - j showed
            flipped = coins(draws, x)[:, None]
            matrix[:, :, 2] += torch.where(flipped, w * matrix[:, :, 0], 0.0)
            matrix[:, :, 0] = torch.where(flipped, -matrix[:, :, 0], matrix[:, :, 0])
        before = Pending.none(n, x.device) if pending is None else pending
        return x, before.then(matrix, torch.ones(n, dtype=torch.bool, device=x.device))


@dataclass(frozen=True)
class Jitter:
    """Brightness, contrast, saturation by a factor of 1 +- strength, hue by +- turn, in random order (Pillow's ops)."""

    strength: float = 0.4
    turn: float = 0.1  # of the colour circle
    fill: int = 0

    def __call__(self, x: Tensor, pending: Pending | None, draws: Draws) -> tuple[Tensor, Pending | None]:
        n = len(x)
        order = draws.uniform(n, len(JITTER)).argsort(1)  # [n, 4] a random permutation in each row
        away = draws.uniform(n, len(JITTER), low=-1.0, high=1.0)
        ops = order + ID[JITTER[0]]
        for place, name in enumerate(JITTER):
            ops = torch.where(order == place, ID[name], ops)
        amounts = torch.where(ops == ID["hue"], self.turn * away, 1 + self.strength * away)
        ops, amounts = ops.to(x.device, non_blocking=True), amounts.to(x.device, non_blocking=True)
        grouped = x.device.type == "cpu"
        return apply_chain(x, ops, amounts, pending, self.fill, used=JITTER, grouped=grouped)


@dataclass(frozen=True)
class Cutout:
    """One square hole about a random pixel, cut off at the edge."""

    side: int | tuple[float, float]  # pixels, or from and to as a share of the shorter side
    colour: tuple[int, ...]  # of the hole; one value or one for each channel
    fill: int = 0

    def __call__(self, x: Tensor, pending: Pending | None, draws: Draws) -> tuple[Tensor, Pending | None]:
        if pending is not None:
            x = settle(x, pending, self.fill)
        n, _, h, w = x.shape
        centre_y, centre_x = draws.integers(0, h, n), draws.integers(0, w, n)
        if isinstance(self.side, int):
            side = torch.full_like(centre_y, self.side)
        else:
            side = (draws.uniform(n, low=self.side[0], high=self.side[1]) * min(h, w)).long()
        centre_y, centre_x, side = (t.to(x.device, non_blocking=True) for t in (centre_y, centre_x, side))
        return cutout(x, centre_y, centre_x, side, self.colour), None


@dataclass(frozen=True)
class Finish:
    """Bytes to float32 (x / 255 - mean) / std in channels-last order, then `noise` times N(0, sd^2)."""

    mean: Tensor  # [c] of values in [0, 1]
    std: Tensor  # [c]
    noise: int = 0
    sd: float = 0.15
    per_image: bool = False  # instead: zero mean and unit variance over each image before it was augmented
    whitening: Whitening | None = None  # instead: the pixels of the training set uncorrelated
    _rows: dict[tuple[torch.device, int], tuple[Tensor, Tensor]] = field(default_factory=dict, compare=False)

    def __call__(self, view: Tensor, raw: Tensor, draws: Draws) -> Tensor:
        if self.whitening is not None:
            return self.noisy(self.whitening(view).permute(0, 2, 3, 1), draws)
        n, c, h, w = view.shape
        out = torch.empty(n, h, w, c, device=view.device)
        for channel in range(c):  # plane by plane: the fastest way to interleave bytes into floats
            out[..., channel].copy_(view[:, channel])
        if self.per_image:
            values = raw.flatten(1).float()
            mean, sd = values.mean(1), values.std(1, correction=0).clamp_min(1.0)  # a constant image has sd 0
            out.sub_(mean[:, None, None, None]).div_(sd[:, None, None, None])
        else:
            scale, offset = self._row(view.device, w)
            lines = out.view(n * h, w * c)
            torch.addcmul(offset, lines, scale, out=lines)
        return self.noisy(out, draws)

    def noisy(self, out: Tensor, draws: Draws) -> Tensor:
        """[n, h, w, c] to [n, c, h, w], in place."""
        for _ in range(self.noise):
            out.add_(draws.normal(*out.shape).to(out.device, non_blocking=True), alpha=self.sd)
        return out.permute(0, 3, 1, 2)

    def _row(self, device: torch.device, w: int) -> tuple[Tensor, Tensor]:
        """[w * c] what a line of pixels is multiplied by, and what is added."""
        if (device, w) not in self._rows:
            mean, std = self.mean.double(), self.std.double()
            scale, offset = 1 / (255 * std), -mean / std
            self._rows[device, w] = (scale.repeat(w).float().to(device), offset.repeat(w).float().to(device))
        return self._rows[device, w]
