"""What every pretrained network offers: pictures of its own normalisation in, one pooled vector for each out."""

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from halfseen.errors import UserError

CHUNK = 4 << 20  # bytes


class Backbone(nn.Module, ABC):
    """forward(x): x [n, 3, s, s] in [0, 1] -> [n, dim], any side s that `takes` lets through."""

    name: str  # as it was asked for
    key: str  # digest of weights and configuration: features under another key are other features
    side: int  # pixels; what it was trained for
    least: int  # pixels; the smallest side that it can take
    dim: int
    trainable: bool = True  # False: a graph without gradients
    fixed: bool = False  # True: it takes pictures of `side` only
    kept: Mapping[str, bytes] = MappingProxyType({})  # files by name: what `rebuild` needs beside the weights

    @abstractmethod
    def pooled(self, x: Tensor) -> Tensor:
        """Pictures in [0, 1] that fit -> [n, dim]; normalisation is the first thing it does."""

    @abstractmethod
    def layers(self) -> list[nn.Module]:
        """From the input to the output, for rates that fall layer by layer; every parameter is in exactly one."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] != x.shape[3]:
            raise UserError(
                f"the backbone {self.name} takes square colour pictures [n, 3, s, s], not {list(x.shape)}: "
                "repeat a grey channel three times, and resize"
            )
        self.takes(x.shape[2])
        return self.pooled(x)

    def takes(self, side: int) -> None:
        """Nothing, or the sentence that says why pictures of this side cannot be used."""
        if self.fixed and side != self.side:
            raise UserError(
                f"the backbone {self.name} takes pictures of {self.side} pixels only: take --size {self.side}"
            )
        if side < self.least:
            raise UserError(
                f"the backbone {self.name} needs pictures of at least {self.least} pixels, and these have {side}: "
                f"take --size {self.side}"
            )

    def frozen(self) -> "Backbone":
        """The fastest form for evaluation, with equal numbers; a copy, in evaluation mode and without gradients."""
        return copy.deepcopy(self).eval().requires_grad_(False)


def tried(net: Backbone) -> int:
    """The length of a feature vector, from one grey picture of the network's own side."""
    try:
        with torch.no_grad():
            h = net.pooled(torch.full((1, 3, net.side, net.side), 0.5))
    except UserError:
        raise
    except Exception as error:  # whatever a network of another's making does
        raise UserError(
            f"the backbone {net.name} fails on a picture of {net.side} pixels ({first_line(error)}): take another one"
        ) from error
    if not isinstance(h, Tensor) or h.ndim != 2 or len(h) != 1 or not h.shape[1]:
        shape = list(h.shape) if isinstance(h, Tensor) else type(h).__name__
        raise UserError(f"the backbone {net.name} must give features [n, d] for n pictures, and gives {shape} for one")
    if not bool(h.isfinite().all()):
        raise UserError(
            f"the backbone {net.name} gives features that are not finite: its weights are damaged, fetch them again"
        )
    return h.shape[1]


def digest(*parts: Path | str | bytes) -> str:
    """Of the contents of files, of texts and of bytes, in this order."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with open(part, "rb") as f:
                while chunk := f.read(CHUNK):
                    found.update(chunk)
        else:
            found.update(part.encode() if isinstance(part, str) else part)
        found.update(b"\0")
    return found.hexdigest()[:32]


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
