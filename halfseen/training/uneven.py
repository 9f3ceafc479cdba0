"""Uneven labels: how often an image of a rare class is drawn, and what is taken off the logits of a frequent one.

    balanced    in a lap of L labelled rows an image of class k comes  e_k = L / (K' n_k)  times on average, K' the classes
                with labels: the mean of any loss over labelled rows is then, in expectation, that of the loss weighed by e_k
    adjusted    a_k - tau log pi_k,   pi_k = max(n_k, 1) / L        (Menon et al. 2021, arXiv:2007.07314: post hoc)

Both are outside of the methods, so that they are for every one of them. A weight inside the loss would need a line in each
method's file, and would miss those whose labelled rows come mixed with others or with labels that are no class (mixup). The
logits are changed where a network is scored, saved or asked, and not where it teaches: what it says of the pool while it
trains should have the pool's own frequencies.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

ClassWeight = Literal["none", "balanced"]


def times(y: Tensor, weight: ClassWeight) -> Tensor | None:
    """[L] float64: e of each labelled image, of mean 1; None: all alike. y [L]: its classes."""
    if weight == "none":
        return None
    n = torch.bincount(y).double()
    return len(y) / (int((n > 0).sum()) * n[y])


def shift_of(y: Tensor, classes: int, tau: float) -> tuple[float, ...]:
    """[K] what is added to the logits, none for tau = 0. y [L]: the labels that were learned from."""
    if tau == 0:
        return ()
    n = torch.bincount(y, minlength=classes).double().clamp_min(1)
    return tuple((-tau * (n / len(y)).log()).tolist())


class Shift:
    """A forward hook that adds numbers to what a network says; its weights and what it is made of stay as they are."""

    def __init__(self, by: tuple[float, ...]) -> None:
        self.by = torch.tensor(by)

    def __call__(self, net: nn.Module, given: Any, logits: Tensor) -> Tensor:
        return logits + self.by.to(logits.device, logits.dtype)


def shift(net: nn.Module, by: tuple[float, ...]) -> nn.Module:
    """The same network, whose logits are moved from now on."""
    if by:
        net.register_forward_hook(Shift(by))
    return net


@contextmanager
def shifted(net: nn.Module, by: tuple[float, ...]) -> Iterator[None]:
    """Within the block its logits are moved."""
    hook = net.register_forward_hook(Shift(by)) if by else None
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()
