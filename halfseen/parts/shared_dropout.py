"""Dropout whose mask for a row is that of one process, however many share the batch (machine/shares.py)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from halfseen.machine.shares import for_our_rows

KINDS = {nn.Dropout: F.dropout, nn.Dropout1d: F.dropout1d, nn.Dropout2d: F.dropout2d, nn.Dropout3d: F.dropout3d}


class SharedDropout(_DropoutNd):
    """The mask is what torch's own layer of this kind makes of ones."""

    def __init__(self, like: _DropoutNd) -> None:
        super().__init__(like.p)
        self.kind = type(like)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        form = x if self.kind is nn.Dropout else x[(slice(None), slice(None), *[slice(1)] * (x.ndim - 2))]
        with torch.no_grad():
            mask = for_our_rows(lambda rows: KINDS[self.kind](torch.ones_like(rows), self.p), form)
        return x * mask


def with_shared_dropout(module: nn.Module) -> nn.Module:
    """The module with every dropout of these kinds in it replaced."""
    for name, child in module.named_children():
        if isinstance(child, _DropoutNd) and type(child) in KINDS:
            setattr(module, name, SharedDropout(child))
        else:
            with_shared_dropout(child)
    return module
