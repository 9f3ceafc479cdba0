"""A class head and a consistency head on the same features, for any network: the second is made where it has none."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from halfseen.nets.net import Net
from halfseen.parts.forward import together


class TwoHeads(nn.Module):
    """As a module it is its class head; `net` is the network with it. heads = 1: both are the class head."""

    def __init__(self, make_net: Callable[..., Net], heads: Literal[1, 2] = 2) -> None:
        super().__init__()
        self.heads = heads
        self.net = make_net(prefer={"heads": heads})
        own = getattr(self.net, "head2", None)  # a user's network need not have the attribute
        # the head of a fresh network has the right kind (weight norm, mean-only norm) and start
        self.second = make_net(prefer={"heads": 1}).head if heads == 2 and own is None else None

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits

    def both(self, *views: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Class and consistency logits of each view, all in one forward."""
        return [(part.chunk(2, 1)[0], part.chunk(2, 1)[1]) for part in together(self._side_by_side, *views)]

    def _side_by_side(self, x: Tensor) -> Tensor:
        """[n, 2K]"""
        h = self.net.features(x)
        c: Tensor = self.net.head(h)
        if self.heads == 1:
            return torch.cat([c, c], 1)
        second = self.second if self.second is not None else self.net.head2
        assert second is not None
        return torch.cat([c, second(h)], 1)


class Beside(nn.Module):
    """[n, 2K]: the network's logits, and those of a second head that learns on the same features and does not change them.

    The second head begins as a copy of the first.
    """

    def __init__(self, make_net: Callable[..., Net]) -> None:
        super().__init__()
        self.net = make_net()
        self.second = make_net().head  # of the right kind: weight norm, mean-only norm
        self.second.load_state_dict(self.net.head.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        h = self.net.features(x)
        return torch.cat([self.net.head(h), self.second(h.detach())], 1)
