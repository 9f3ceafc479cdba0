"""A plain network for vectors [n,d] (pictures are flattened): ReLU layers, and the last hidden layer as features."""

import math

from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.nets.net import Net, rate_is


class MLP(Net):
    """d - width - ... - width - classes; the toy of CCN is 2-300-300-300-2."""

    def __init__(
        self, classes: int, shape: tuple[int, ...], *, width: int = 300, depth: int = 3, dropout: float = 0.0
    ) -> None:
        super().__init__()
        rate_is("dropout", dropout)
        if width < 1 or depth < 1:
            raise UserError(f"width={width}, depth={depth}: an mlp needs at least one layer of one unit")
        self.num_features = width
        layers: list[nn.Module] = []
        for d_in in [math.prod(shape)] + [width] * (depth - 1):
            layers += [nn.Linear(d_in, width), nn.ReLU(inplace=True)]
            if dropout:
                layers.append(nn.Dropout(dropout))
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width, classes)

    def features(self, x: Tensor) -> Tensor:
        h: Tensor = self.body(x.flatten(1))
        return h
