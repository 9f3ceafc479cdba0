"""Several pretrained networks as one: `--backbone lite0+lite1`; the features of each stand side by side in a row.

They look at the same picture, of the side that the first was trained for unless --size says otherwise.
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Self, cast

import torch
from torch import Tensor, nn

from halfseen.backbones.backbone import Backbone, digest
from halfseen.errors import UserError

PLUS = "+"


class Joint(Backbone):
    def __init__(self, name: str, parts: Sequence[Backbone]) -> None:
        super().__init__()
        sides = {part.side for part in parts if part.fixed}
        if len(sides) > 1:
            raise UserError(
                f"the backbones of {name} take pictures of {' and '.join(map(str, sorted(sides)))} pixels only, and all of "
                "them see the same picture: take others"
            )
        self.name, self.key = name, digest(*(part.key for part in parts))
        self.fixed = bool(sides)
        self.side = next(iter(sides), parts[0].side)
        self.least = max(part.least for part in parts)
        self.dim = sum(part.dim for part in parts)
        self.trainable = all(part.trainable for part in parts)
        self.parts = nn.ModuleList(parts)

    def pooled(self, x: Tensor) -> Tensor:
        return torch.cat([cast(Backbone, part).pooled(x) for part in self.parts], 1)

    def layers(self) -> list[nn.Module]:
        """Those as far from the output belong together."""
        each = [cast(Backbone, part).layers()[::-1] for part in self.parts]
        together = [nn.ModuleList([m for m in level if m is not None]) for level in zip_longest(*each)]
        return list(together[::-1])

    def frozen(self) -> Self:
        parts = [cast(Backbone, part).frozen() for part in self.parts]
        return type(self)(self.name, parts).eval()
