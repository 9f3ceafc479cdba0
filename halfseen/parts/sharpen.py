"""Sharpening: a distribution made surer of what it says, without gradient (MixMatch, arXiv:1905.02249, equation 7)."""

import torch
from torch import Tensor

from halfseen.errors import UserError


@torch.no_grad()
def sharpen(p: Tensor, T: float) -> Tensor:
    """p_k^(1/T) / sum_j p_j^(1/T) [n, K]; of p = softmax(a) it is softmax(a/T). T = 1 changes nothing."""
    powered = (p / p.amax(1, keepdim=True)) ** (1 / T)  # the largest is 1: none of the sums can vanish
    return powered / powered.sum(1, keepdim=True)


def temperature_is(T: float) -> float:
    if not 0 < T <= 1:
        raise UserError(f"T={T:g}: give sharpening a temperature above 0 and at most 1, where it changes nothing")
    return T
