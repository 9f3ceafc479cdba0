"""Rotation as a task without labels: by which multiple of 90 degrees was a picture turned (Gidaris et al. 2018)?"""

import torch
from torch import Tensor, nn

from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.parts.losses import cross_entropy


def turned(x: Tensor, quarters: Tensor) -> Tensor:
    """Picture i [c, s, s] turned by quarters[i] times 90 degrees."""
    all_four = torch.stack([torch.rot90(x, k, (2, 3)) for k in range(4)])  # [4, n, c, s, s]
    return all_four[quarters, torch.arange(len(x), device=x.device)]


def rotation_weight(weight: float | None, usual: float, shape: tuple[int, ...]) -> float:
    """The weight as set; none: `usual` for square pictures, else 0, since nothing else can be turned."""
    square = len(shape) == 3 and shape[1] == shape[2]
    if weight is None:
        return usual if square else 0.0
    if weight and not square:
        what = "feature vectors" if len(shape) == 1 else f"pictures of {shape[1]}x{shape[2]}"
        raise UserError(
            f"rotation={weight:g}: {what} cannot be turned by 90 degrees; leave the key out, or set it to 0"
        )
    return weight


class Rotation(nn.Module):
    """A head that says from pooled features by how much a picture was turned."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.head = nn.Linear(num_features, 4)

    def forward(self, features: nn.Module, x: Tensor, draws: Draws) -> Tensor:
        """Mean over the pictures x [n, c, s, s], each turned at random, of H(quarters, p(quarters | turned x))."""
        quarters = draws.integers(0, 4, len(x)).to(x.device)
        return cross_entropy(self.head(features(turned(x, quarters))), quarters).mean()
