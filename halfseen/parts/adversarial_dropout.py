"""Adversarial dropout: the mask on a network's pooled features that changes a prediction most (Park et al. 2018).

J = grad_e D(e)  at e = 1        D(e): the divergence of the prediction with mask e from another one, in each row
an entry may be flipped if that raises D to first order:  e = 1 and J < 0,  or  e = 0 and J > 0
of these the floor(delta d) with the largest |J| are flipped, and the mask is multiplied by d / sum e
"""

from collections.abc import Callable

import torch
from torch import Tensor


def flipped(mask: Tensor, J: Tensor, most: int) -> Tensor:
    """[n, d] the 0/1 mask with at most `most` flips in each row, all of which raise the divergence; not rescaled."""
    raising = torch.where(mask > 0, J < 0, J > 0)
    strength = torch.where(raising, J.abs(), 0)
    best = strength.topk(min(most, mask.shape[1]), 1).indices
    chosen = torch.zeros_like(raising).scatter_(1, best, True) & raising
    return torch.where(chosen, 1 - mask, mask)


def adversarial_mask(features: Tensor, divergence: Callable[[Tensor], Tensor], delta: float) -> Tensor:
    """[n, d] constant; `divergence` of masked features [n, d], a value in each row [n].

    The caller sees to it that no parameter gets a gradient: only that of the mask is asked for.
    """
    fixed = features.detach()
    e = torch.ones_like(fixed, requires_grad=True)
    with torch.enable_grad():
        (J,) = torch.autograd.grad(divergence(fixed * e).sum(), e)
    d = fixed.shape[1]
    mask = flipped(torch.ones_like(fixed), J, int(delta * d + 1e-9))
    return mask * d / mask.sum(1, keepdim=True).clamp_min(1)
