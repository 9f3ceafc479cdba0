"""How a method lets CTAugment learn: probe views of the labelled images, told how well a network still knows them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from halfseen.augment import CTAugment
from halfseen.machine import distributed
from halfseen.parts.forward import eval_mode, together
from halfseen.parts.losses import probabilities


@torch.no_grad()
def learn_strengths(strong: Callable[[Tensor], Tensor], net: nn.Module, x: Tensor, y: Tensor) -> None:
    """If the strong view is CTAugment, one update of its bins; nothing otherwise.

        omega = 1 - 1/2 sum_k |p_k - y_k|,   p = softmax of `net` (the averaged one, in eval mode) on a probe view of x

    x [B, c, h, w] raw labelled images, y [B]. All processes make the same update, from the sums over their rows.
    """
    if not isinstance(strong, CTAugment):
        return
    view, record = strong.probe(x)
    with eval_mode(net):
        p = probabilities(together(net, view)[0])
    truth = nn.functional.one_hot(y, p.shape[1])
    strong.update(record, 1 - (p - truth).abs().sum(1) / 2, add_up=_over_processes)


def _over_processes(tally: Tensor) -> Tensor:
    total = tally.clone()
    distributed.average([total])
    return total * distributed.world()
