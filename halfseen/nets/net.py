"""What every network of this library offers: pooled features, and a linear head (at times a second one) on them."""

import torch
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.machine.shares import for_our_rows


class Net(nn.Module):
    """forward(x) = head(features(x)). A user's own module need not inherit from this, only look like it."""

    num_features: int
    head: nn.Linear
    head2: nn.Linear | None  # the second head of networks that were asked for one

    def __init__(self) -> None:
        super().__init__()
        self.head2 = None

    def features(self, x: Tensor) -> Tensor:
        """[n, num_features]"""
        raise NotImplementedError(f"{type(self).__name__} must define features(x)")

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits

    def two(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of both heads."""
        if self.head2 is None:
            raise ValueError(f"this {type(self).__name__} has one head: make it with heads=2")
        h = self.features(x)
        return self.head(h), self.head2(h)


class InputNoise(nn.Module):
    """Gaussian noise on the input while training; two public networks leave it on at test time by accident."""

    def __init__(self, sd: float) -> None:
        super().__init__()
        self.sd = sd

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.sd <= 0:
            return x
        return torch.add(x, for_our_rows(torch.randn_like, x), alpha=self.sd)

    def extra_repr(self) -> str:
        return f"sd={self.sd}"


def picture(name: str, shape: tuple[int, ...], smallest: int) -> tuple[int, int, int]:
    """(channels, height, width), or the sentence that says why these data do not fit this network."""
    if len(shape) != 3:
        raise UserError(f"net {name!r} is for pictures, and the data are vectors of {shape[0]} numbers: take --net mlp")
    c, h, w = shape
    if min(h, w) < smallest:
        raise UserError(
            f"net {name!r} needs pictures of at least {smallest}x{smallest} pixels, and these have {h}x{w}: "
            "take --net small, or a larger --size"
        )
    return c, h, w


def heads_are(heads: int) -> None:
    if heads not in (1, 2):
        raise UserError(f"heads={heads}: a network has 1 or 2 heads")


def rate_is(name: str, rate: float) -> None:
    if not 0 <= rate < 1:
        raise UserError(f"{name}={rate}: the share of features to drop lies between 0 and 1, 1 excluded")
