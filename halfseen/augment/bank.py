"""Views of images that are kept as rows of a bank: the rows of a batch are numbers of images, and a view looks one up.

weak, strong   a random one of the image's weak (strong) rows      none   its clean row
noise          Gaussian noise, of sd 0.15 in units of the features' deviation      dropout   a tenth of them at 0
"""

from typing import Protocol

import torch
from torch import Tensor

from halfseen.draws import Draws
from halfseen.errors import UserError, nearest

BANK_POLICIES = ("none", "weak", "strong", "noise", "dropout")
RATE = 0.1  # of dropout


class Rows(Protocol):
    """What is asked of the bank."""

    def look(self, kind: str, numbers: Tensor, draws: Draws) -> Tensor: ...


class Pick:
    """[n, 1] numbers of images -> [n, d] features, centred and scaled."""

    def __init__(self, name: str, bank: Rows, mean: Tensor, std: Tensor, draws: Draws, noise_sd: float = 0.15) -> None:
        parts = name.split("+")
        for part in parts:
            if part not in BANK_POLICIES:
                raise UserError(
                    f"no view {part!r} in {name!r} of images that a backbone has seen; {nearest(part, BANK_POLICIES)}"
                )
        rows = [part for part in parts if part in ("weak", "strong")]
        if len(rows) > 1:
            raise UserError(f"{name!r} names two rows of the bank; name weak or strong, once")
        self.kind = rows[0] if rows else "clean"
        self.noise, self.dropout = parts.count("noise") * noise_sd, "dropout" in parts
        self.bank, self.mean, self.std, self.draws = bank, mean, std, draws

    @torch.no_grad()
    def __call__(self, numbers: Tensor) -> Tensor:
        h = (self.bank.look(self.kind, numbers, self.draws) - self.mean) / self.std
        if self.noise:
            h += self.noise * self.draws.normal(len(h), h.shape[1]).to(h.device, non_blocking=True)
        if self.dropout:
            kept = self.draws.uniform(len(h), h.shape[1]).to(h.device, non_blocking=True) >= RATE
            h = h * kept / (1 - RATE)
        return h
