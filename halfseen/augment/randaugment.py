"""RandAugment (Cubuk et al. 2020, arXiv:1909.13719) in the two variants that semi-supervised releases use.

`tenths` (kekmodel/FixMatch-pytorch, the default): n = 2 ops, each applied with probability 1/2, strength v tenths of
its range with v in 1..9, the sign of rotations, shears and translations by a coin, translations in whole pixels.
`uniform` (TorchSSL): n = 3 ops, always applied, strength uniform over the range.
Ops are drawn with replacement. The hole that follows them is a step of its own (policies.py).

Departures: geometric ops are bilinear (the releases take Pillow's nearest pixel), and neighbouring ones are resampled
once together.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from halfseen.augment.chain import ID, apply_chain
from halfseen.augment.geometry import Pending
from halfseen.draws import Draws

SIGNED = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
Range = tuple[float, float]
ENHANCE: Range = (0.05, 0.95)
OPS_14: tuple[tuple[str, Range], ...] = (  # amount at strength 0 and 1; translations as a share of the side
    ("autocontrast", (1.0, 1.0)),
    ("brightness", ENHANCE),
    ("colour", ENHANCE),
    ("contrast", ENHANCE),
    ("equalise", (1.0, 1.0)),
    ("identity", (0.0, 0.0)),
    ("posterise", (4.0, 8.0)),
    ("rotate", (0.0, 30.0)),
    ("sharpness", ENHANCE),
    ("shear_x", (0.0, 0.3)),
    ("shear_y", (0.0, 0.3)),
    ("solarise", (256.0, 0.0)),
    ("translate_x", (0.0, 0.3)),
    ("translate_y", (0.0, 0.3)),
)


@dataclass(frozen=True)
class Menu:
    """Tensors that turn a choice among named ops, and a strength, into what chain.apply_chain takes."""

    ids: Tensor  # [ops] place in chain.OPS
    low: Tensor  # [ops] amount at strength 0
    span: Tensor  # [ops] amount at strength 1, minus that
    signed: Tensor  # [ops] bool
    moves: Tensor  # [ops] bool: the amount counts pixels


@lru_cache(maxsize=32)
def menu(ranges: tuple[tuple[str, Range], ...], h: int, w: int, device: torch.device) -> Menu:
    """Kept, so that a step copies nothing from the host to the device."""
    side = {"translate_x": w, "translate_y": h}
    names = [name for name, _ in ranges]
    low = torch.tensor([pair[0] * side.get(name, 1) for name, pair in ranges], device=device)
    high = torch.tensor([pair[1] * side.get(name, 1) for name, pair in ranges], device=device)
    return Menu(
        torch.tensor([ID[name] for name in names], device=device),
        low,
        high - low,
        torch.tensor([name in SIGNED for name in names], device=device),
        torch.tensor([name in side for name in names], device=device),
    )


@dataclass(frozen=True)
class RandAugment:
    variant: Literal["tenths", "uniform"] = "tenths"
    n: int = 2
    fill: int = 0  # grey level of what a geometric op leaves empty

    def draw(self, rows: int, draws: Draws, h: int, w: int) -> tuple[Tensor, Tensor]:
        """Ops (places in chain.OPS) and their amounts, both [rows, n]."""
        choices = menu(OPS_14, h, w, draws.device)
        choice = draws.integers(0, len(OPS_14), rows, self.n)
        ids, signed = choices.ids[choice], choices.signed[choice]
        if self.variant == "uniform":
            strength = draws.uniform(rows, self.n)
            strength = torch.where(signed, 2 * strength - 1, strength)
            return ids, choices.low[choice] + choices.span[choice] * strength
        strength = draws.integers(1, 10, rows, self.n) / 10
        coins = draws.integers(0, 2, rows, self.n, 2)
        strength = torch.where(signed & (coins[..., 0] == 1), -strength, strength)
        amounts = choices.low[choice] + choices.span[choice] * strength
        whole = (amounts + 1e-4 * amounts.sign()).trunc()  # .3 * .5 * 40 is 6, not 5.9999998
        return ids * coins[..., 1], torch.where(choices.moves[choice], whole, amounts)

    def __call__(self, x: Tensor, pending: Pending | None, draws: Draws) -> tuple[Tensor, Pending | None]:
        ops, amounts = (t.to(x.device, non_blocking=True) for t in self.draw(len(x), draws, *x.shape[-2:]))
        used = tuple(name for name, _ in OPS_14)
        return apply_chain(x, ops, amounts, pending, self.fill, used=used, grouped=x.device.type == "cpu")
