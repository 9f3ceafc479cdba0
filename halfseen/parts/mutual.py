"""Two networks that learn from each other: what one forward leaves, and the divergence from the peer."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from halfseen.nets.net import Net
from halfseen.parts.adversarial import noise_state
from halfseen.parts.forward import frozen_batchnorm
from halfseen.parts.losses import kl

Rows = Literal["unlabelled", "all"]


@dataclass(frozen=True)
class Pass:
    """One network on the labelled rows and on the unlabelled ones."""

    f_x: Tensor  # [B, d] features
    g_x: Tensor  # [B, K] logits
    f_u: Tensor  # [U, d]
    g_u: Tensor  # [U, K]
    noise: Tensor  # torch's random state before the unlabelled rows: with it the same masks come again

    def detached(self) -> "Pass":
        return replace(self, f_x=self.f_x.detach(), g_x=self.g_x.detach(), f_u=self.f_u.detach(), g_u=self.g_u.detach())


def read(net: Net, x: Tensor, u: Tensor, learns: bool = True) -> Pass:
    """Both kinds of rows, each normalised by its own statistics. One that does not learn leaves the running ones alone."""
    with torch.set_grad_enabled(learns), nullcontext() if learns else frozen_batchnorm(net):
        f_x = net.features(x)
        noise = noise_state(u.device)
        f_u = net.features(u)
        return Pass(f_x, net.head(f_x), f_u, net.head(f_u), noise)


def mutual(own: Pass, peer: Pass, rows: Rows) -> Tensor:
    """Mean KL(sg p_peer || p_own) over the unlabelled rows, or over all."""
    if rows == "unlabelled":
        return kl(peer.g_u.detach(), own.g_u).mean()
    return kl(torch.cat([peer.g_x, peer.g_u]).detach(), torch.cat([own.g_x, own.g_u])).mean()
