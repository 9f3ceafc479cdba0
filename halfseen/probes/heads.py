"""A fitted probe as a network on features: what is saved, exported and put on a backbone."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.probes.rows import Scale

SAME = 1 - 1e-5  # cosine above which a row is one of the pool
LEAST = 1e-6  # of a cosine, where every neighbour is turned away


class Scaled(nn.Module):
    """(x - mean) / std, and then of length 1 where the probe's Scale says so."""

    mean: Tensor
    std: Tensor

    def __init__(self, tensors: Mapping[str, Tensor], unit: bool) -> None:
        super().__init__()
        self.unit = unit
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def scaled(self, x: Tensor) -> Tensor:
        h = (x.float() - self.mean) / self.std
        return F.normalize(h, dim=1) if self.unit else h


class Flat(Scaled):
    """logits = x W + b"""

    W: Tensor  # [d, K]
    b: Tensor  # [K]; -inf for a class without a label

    def forward(self, x: Tensor) -> Tensor:
        return self.scaled(x) @ self.W + self.b


class Near(Scaled):
    """The logarithms of the mean of p over the k nearest nodes, weighed by cosine^gamma; of a node itself, its own p."""

    nodes: Tensor  # [M, d] float16, which is what a bank has
    p: Tensor  # [M, K]

    def __init__(self, tensors: Mapping[str, Tensor], k: int, gamma: float) -> None:
        super().__init__(tensors, unit=True)
        self.k, self.gamma = min(k, len(tensors["nodes"])), gamma

    def forward(self, x: Tensor) -> Tensor:
        cosines, ids = (self.scaled(x) @ self.nodes.float().T).topk(self.k, 1)
        weights = cosines.clamp_min(LEAST) ** self.gamma
        others = torch.arange(self.k, device=x.device) > 0
        weights = weights.masked_fill((cosines[:, :1] > SAME) & others, 0.0)
        found = torch.einsum("nk,nkc->nc", weights, self.p[ids]) / weights.sum(1, keepdim=True)
        return found.clamp_min(torch.finfo(torch.float32).tiny).log()


def of_scale(scale: Scale) -> dict[str, Tensor]:
    return {"mean": torch.from_numpy(scale.mean).float(), "std": torch.from_numpy(scale.std).float()}
