"""What every pretrained network offers: pixels in, pooled features out, with a size and a normalisation of its own."""

import hashlib
from typing import Any, Self

from torch import nn

KEY = 32  # hex digits


class Backbone(nn.Module):
    """forward(pixels [n, 3, s, s] in [0, 1]) -> features [n, dim]; it normalises by itself."""

    name: str  # as it was asked for
    key: str  # of weights and config: what a bank is known by
    side: int  # of the pictures that it was trained on
    least: int  # side that it can take
    dim: int  # numbers of a feature vector
    trainable: bool = True

    def frozen(self) -> nn.Module:
        """The fastest form for evaluation, with the same numbers up to rounding."""
        return self.eval().requires_grad_(False)

    def describe(self) -> dict[str, Any]:
        """What builds the same network without its weights: plain values, for a model's json file."""
        return {}

    def layers(self) -> list[nn.Module]:
        """From the input to the output: what is tuned with rates of its own."""
        return [self]

    def called(self, name: str) -> Self:
        self.name = name
        return self


def key_of(net: nn.Module, *about: object) -> str:
    """Of the weights and whatever else decides what the features are."""
    digest = hashlib.sha256(repr(about).encode())
    for name, value in net.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:KEY]
