"""Virtual adversarial training: the small change of the input that changes a prediction most, and what it costs.

    d ~ N(0, I);   d <- grad_d KL(p(x) || p(x + xi d/||d||));   r = eps d/||d||       one power iteration on H
    A(x) = KL(p(x) || p(x + r))          p(x) and r constant

For a linear model, logits W^T x, the gradient is xi H d/||d|| + O(xi^2) with H = W (diag p - p p^T) W^T. All three passes
have batch norm with the statistics of the same rows, and the same dropout masks and input noise, as the reference has
(one seed for all its passes): otherwise KL(p(x) || p(x)) is not 0, and its first-order part drowns H d.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.parts.forward import eval_mode, frozen_batchnorm, frozen_parameters
from halfseen.parts.losses import cross_entropy, kl

# xi as a share of eps. Cosine of the direction found and the true one (`small` on 128 digits, before training, after 30 and
# 119 steps): xi 1e-6, the reference's, .01 -.13 .07: rounding is all that float32 leaves; xi .1 .99 1 1; xi 1 .91 .97 .98;
# xi 10 .39 .75 .74. Under bf16 autocast xi .1 gives .42 .57 .63 and xi 1 .89 .96 .97. A tenth of eps (.65 here) serves both.
XI_SHARE = 0.1


@dataclass(frozen=True)
class Radius:
    """An L2 length of r, and the scale of the images that it is meant in."""

    length: float
    scale: Literal["pixels", "normalised", "zca"]  # pixels: values in [0, 1], shifted or not


RADII = {
    "mnist": Radius(2.0, "pixels"),
    "cifar10": Radius(6.0, "normalised"),  # TorchSSL
    "cifar100": Radius(6.0, "normalised"),
    "cifar-zca": Radius(8.0, "zca"),  # takerum/vat_tf
    "svhn": Radius(3.5, "pixels"),  # takerum/vat_tf, on x/255 - .5
    "two-spirals": Radius(0.1, "normalised"),
}


def network_eps(radius: Radius, std: float) -> float:
    """The length in the scale that the network sees: the one place where scales are converted.

    std: what the input pipeline divides pixels in [0, 1] by (for ZCA: nothing is divided, give 1).
    """
    return radius.length / std if radius.scale == "pixels" else radius.length


def usual_eps(shape: tuple[int, ...]) -> float:
    """A length for images of this shape when none is given: the table's, with equal change of each number.

    Grey pictures as MNIST (6.5 at 28x28), colour ones as CIFAR (6 at 32x32), feature vectors as the spirals (.1 for two).
    """
    d = math.prod(shape)
    if len(shape) == 1:
        return 0.1 * math.sqrt(d / 2)
    return 6.5 * math.sqrt(d / 784) if shape[0] == 1 else 6.0 * math.sqrt(d / 3072)


def lengths(eps: float | None, xi: float | None, shape: tuple[int, ...]) -> tuple[float, float]:
    """(eps, xi) as set, or what is usual for images of this shape."""
    for name, value in (("eps", eps), ("xi", xi)):
        if value is not None and value <= 0:
            raise UserError(f"{name}={value}: the length of a change of the input must be more than 0")
    radius = usual_eps(shape) if eps is None else eps
    return radius, XI_SHARE * radius if xi is None else xi


# ---- passes -----------------------------------------------------------------------------------------------------------


def noise_state(device: torch.device) -> Tensor:
    """Where torch's random numbers stand: take it before the clean pass, so that `same_noise` can repeat its masks."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


@contextmanager
def same_noise(state: Tensor, device: torch.device) -> Iterator[None]:
    """Dropout masks and input noise are those of the pass that began at `state`; afterwards all goes on as before."""
    before = noise_state(device)
    _set(state, device)
    try:
        yield
    finally:
        _set(before, device)


def _set(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def unit(d: Tensor) -> Tensor:
    """Every row divided by its length, however small; rows of zeros stay."""
    rows = d.flatten(1)
    largest = rows.abs().amax(1, keepdim=True)
    rows = rows / torch.where(largest > 0, largest, 1)  # first: squares of tiny numbers would vanish
    length = rows.norm(dim=1, keepdim=True)
    return (rows / torch.where(length > 0, length, 1)).view_as(d)


def adversarial(
    net: nn.Module, x: Tensor, logits: Tensor, draws: Draws, eps: float, xi: float, state: Tensor
) -> Tensor:
    """r [n, ...] of length eps in each row (0 where no direction changes the prediction); logits [n, K] = net(x).

    Batch-norm statistics and the parameters' gradients stay as they are.
    """
    d = draws.normal(len(x), *x.shape[1:]).to(x, non_blocking=True)
    step = (xi * unit(d)).requires_grad_(True)
    with torch.enable_grad(), frozen_batchnorm(net), frozen_parameters(net), same_noise(state, x.device):
        # the sum, not the mean: rows are apart, and a direction has no length
        divergence = kl(logits.detach(), net(x + step)).sum()
        (gradient,) = torch.autograd.grad(divergence, step)
    return eps * unit(gradient.to(x.dtype))


def virtual_adversarial(
    net: nn.Module, x: Tensor, logits: Tensor, draws: Draws, eps: float, xi: float, state: Tensor
) -> Tensor:
    """A(x) [n]: KL(p(x) || p(x + r)), with gradient through the second p only."""
    r = adversarial(net, x, logits, draws, eps, xi, state)
    with frozen_batchnorm(net), same_noise(state, x.device):
        return kl(logits.detach(), net(x + r))


def usual_fgsm(shape: tuple[int, ...]) -> float:
    """.02 of pixels in [0, 1] in the scale of the network, with a deviation of .31 for grey pictures and .25 for others."""
    return 0.02 / (0.31 if len(shape) == 3 and shape[0] == 1 else 0.25)


def fgsm(net: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """x + eps sign grad_x CE(p(x), y), without gradient; evaluation mode, so that no statistic moves and no mask differs.

    The parameters' gradients stay as they are.
    """
    leaf = x.detach().requires_grad_(True)
    with torch.enable_grad(), eval_mode(net), frozen_parameters(net):
        (gradient,) = torch.autograd.grad(cross_entropy(net(leaf), y).sum(), leaf)
    return x.detach() + eps * gradient.sign().to(x.dtype)
