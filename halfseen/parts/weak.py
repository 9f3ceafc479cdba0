"""The pass of the weak view, whose prediction teaches and is not trained: in a forward of its own, or with the others."""

from typing import Literal

import torch
from torch import Tensor, nn

from halfseen.parts.forward import frozen_batchnorm, together

WeakPass = Literal["separate", "joint"]


def predict_only(net: nn.Module, view: Tensor) -> Tensor:
    """Logits without gradient, in train mode, with the view's own batch statistics; the running ones are not touched."""
    with torch.no_grad(), frozen_batchnorm(net):
        return together(net, view)[0]


def with_weak(
    net: nn.Module, labelled: Tensor, weak: Tensor, strong: Tensor, weak_pass: WeakPass
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of labelled, weak and strong views; the weak ones without gradient.

    separate: two forwards, the weak one without gradient, each normalised by its own rows. joint: one forward of all
    rows, as the FixMatch releases do, whose batch statistics and running averages include the weak rows.
    """
    if weak_pass == "joint":
        logits_x, logits_w, logits_s = together(net, labelled, weak, strong)
        return logits_x, logits_w.detach(), logits_s
    logits_w = predict_only(net, weak)
    logits_x, logits_s = together(net, labelled, strong)
    return logits_x, logits_w, logits_s
