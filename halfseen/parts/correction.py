"""The correction head of CCN: from the logits of one network and the features of another to corrected logits."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.nets.net import Net

Extra = Literal["net2", "net1", "both"]


class Correction(nn.Module):
    """z_C = g_1 + delta_C(g_1, f_2):

    u = FC K->64 (g_1),  v = FC d->64 (f_2),  one more FC 64->64 on a branch,  delta = FC 32->K (FC 128->32 ([u, v])),
    with leaky ReLUs between. `extra`: the branch with the additional layer (net2: that of f_2). `zero_last`: delta = 0 at
    the start of training.
    """

    def __init__(
        self, classes: int, num_features: int, *, extra: Extra = "net2", slope: float = 0.1, zero_last: bool = False
    ) -> None:
        super().__init__()
        self.slope = slope
        self.of_logits, self.of_features = nn.Linear(classes, 64), nn.Linear(num_features, 64)
        self.more_logits = nn.Linear(64, 64) if extra in ("net1", "both") else None
        self.more_features = nn.Linear(64, 64) if extra in ("net2", "both") else None
        self.joined, self.last = nn.Linear(128, 32), nn.Linear(32, classes)
        if zero_last:
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)

    def delta(self, g: Tensor, f: Tensor) -> Tensor:
        """[n, K] what is added to the logits g [n, K], given the features f [n, d]."""
        u = F.leaky_relu(self.of_logits(g), self.slope)
        v = F.leaky_relu(self.of_features(f), self.slope)
        if self.more_logits is not None:
            u = F.leaky_relu(self.more_logits(u), self.slope)
        if self.more_features is not None:
            v = F.leaky_relu(self.more_features(v), self.slope)
        d: Tensor = self.last(F.leaky_relu(self.joined(torch.cat([u, v], 1)), self.slope))
        return d

    def forward(self, g: Tensor, f: Tensor) -> Tensor:
        """[n, K] in float32 at least: it is compared with a running average, and a rounded sum would not settle."""
        wide = torch.promote_types(g.dtype, torch.float32)
        return g.to(wide) + self.delta(g, f).to(wide)


class Corrected(nn.Module):
    """What CCN as a whole predicts, as one network: the logits z_C of images."""

    def __init__(self, net1: Net, net2: Net, correction: Correction) -> None:
        super().__init__()
        self.net1, self.net2, self.correction = net1, net2, correction

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.correction(self.net1(x), self.net2.features(x))
        return z
