"""MixUp (Zhang et al. 2018, arXiv:1710.09412): convex combinations of images and of their targets.

x' = lambda x_i + (1 - lambda) x_j,  y' = lambda y_i + (1 - lambda) y_j,  lambda ~ Beta(a, a)
"""

import torch
from torch import Tensor

from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.machine.distributed import gather_rows, world


def mixing_weights(draws: Draws, a: float, n: int, *, per_image: bool = True, near_first: bool = False) -> Tensor:
    """lambda ~ Beta(a, a) [n], one for all rows unless `per_image`; `near_first` takes max(lambda, 1 - lambda).

    The one lambda of a batch is that of its first row over all processes, so that it is the same in each.
    """
    if a <= 0:
        raise UserError(f"mixup's a={a} must be above 0; leave mixup out to mix nothing")
    if per_image:
        lam = draws.beta(a, a, n)
    else:
        lam = Draws(draws.generator).beta(a, a, 1).expand(n)
    return torch.maximum(lam, 1 - lam) if near_first else lam


def mix_partners(draws: Draws, n: int) -> Tensor:
    """[n] this process's part of a permutation of the rows of all processes, each of which has n."""
    order = Draws(draws.generator).uniform(n * world()).argsort()
    return order[draws.rank :: draws.world]


def mixup(x: Tensor, y: Tensor, lam: Tensor, partner: Tensor) -> tuple[Tensor, Tensor]:
    """Mix row i with row partner[i] with weights lam[i] and 1 - lam[i]; x [n, ...], y [n, K] one-hot or soft.

    Partners are rows of the batch of all processes, numbered as in one process.
    """
    return _mix(x, lam, partner), _mix(y, lam, partner)


def _mix(values: Tensor, lam: Tensor, partner: Tensor) -> Tensor:
    weight = lam.to(values.device, values.dtype).view(-1, *[1] * (values.ndim - 1))
    return torch.lerp(gather_rows(values)[partner.to(values.device)], values, weight)
