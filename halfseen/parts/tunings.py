"""Cheap tunings of a network, whose disagreement is what an ensemble is made for; and what the ensemble says.

    head       z = W h + b                       h: pooled features of the network
    low_rank   z = W (h + U V h) + b             r rows in V, U = 0 at the start                    (LoRA's form)
    adapter    z = W (h + U relu(V h + c)) + b   a bottleneck beside the features, of r units, U = 0 (AdaptFormer's)

`block` of `blocks`: of features of several backbones that stand side by side in a row, all but its own are 0 for it.
"""

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.nets.net import Net

Tuning = Literal["head", "low_rank", "adapter"]


class Tuned(nn.Module):
    """A fresh network, tuned in one of these ways, that sees one block of the features."""

    seen: Tensor | None

    def __init__(self, make_net: Callable[..., Net], tuning: Tuning, rank: int, seen: Tensor | None = None) -> None:
        super().__init__()
        self.net = make_net()
        d = self.net.num_features
        self.down = nn.Linear(d, rank, bias=tuning == "adapter") if tuning != "head" else None
        self.up = nn.Linear(rank, d, bias=False) if tuning != "head" else None
        self.bends = tuning == "adapter"
        if self.up is not None:
            nn.init.zeros_(self.up.weight)
            like = next(self.net.head.parameters())
            self.to(like.device, like.dtype)
        self.register_buffer("seen", seen)  # [d] of 0 and 1; none: everything

    def forward(self, x: Tensor) -> Tensor:
        h = self.net.features(x if self.seen is None else x * self.seen)
        if self.down is not None and self.up is not None:
            inner = self.down(h)
            h = h + self.up(inner.relu() if self.bends else inner)
        logits: Tensor = self.net.head(h)
        return logits


class Ensemble(nn.Module):
    """logits = log of the members' mean probability."""

    def __init__(self, members: Iterable[Tuned]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        log_p = torch.stack([member(x).float().log_softmax(1) for member in self.members])
        return log_p.logsumexp(0) - torch.tensor(float(len(log_p)), device=log_p.device).log()


def blocks_of(shape: tuple[int, ...], blocks: int) -> list[Tensor | None]:
    """Which features each block sees, [d] each; one block sees all."""
    if blocks == 1:
        return [None]
    if len(shape) != 1 or shape[0] % blocks:
        what = f"rows of {shape[0]} numbers" if len(shape) == 1 else "pictures"
        raise UserError(
            f"blocks={blocks}: {what} are not the features of {blocks} backbones side by side; take blocks=1, or as many "
            "as --backbone a+b+c names"
        )
    return [torch.eye(blocks)[i].repeat_interleave(shape[0] // blocks) for i in range(blocks)]
