"""Monte-Carlo dropout: several passes of the same view, and how far their probabilities lie apart."""

from typing import Literal

import torch
from torch import Tensor, nn

from halfseen.nets.net import Net
from halfseen.parts.forward import active_dropouts, frozen_batchnorm, only_dropout, together

PassNorm = Literal["batch", "eval"]
MOST_ROWS = 4096  # rows of one forward


@torch.no_grad()
def mc_logits(net: Net, view: Tensor, passes: int, norm: PassNorm = "batch") -> Tensor:
    """[T, n, K] float32: T = `passes` forwards of the view [n, ...] that differ by their dropout.

    norm = batch: train mode; batch norm takes the statistics of the view and does not remember them. norm = eval:
    evaluation mode with dropout at work, the passes side by side in one forward.

    Where the only dropout is that on the pooled features, everything before it is the same in all passes and is
    computed once.
    """
    if norm == "eval":
        with only_dropout(net):
            return _passes(net, view, passes, stacked=True)
    with frozen_batchnorm(net):
        return _passes(net, view, passes, stacked=False)


def _passes(net: Net, view: Tensor, passes: int, stacked: bool) -> Tensor:
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []

    def note(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        calls.append((module, args[0], out))

    dropouts = active_dropouts(net)
    hooks = [m.register_forward_hook(note) for m in dropouts if not getattr(m, "inplace", False)]
    try:
        features = net.features(view)
    finally:
        for hook in hooks:
            hook.remove()
    alone = len(dropouts) == len(calls) == 1 and calls[0][2] is features
    first = net.head(features).float()
    if alone:
        dropout, pooled, _ = calls[0]
        rest = [net.head(dropout(pooled)).float() for _ in range(passes - 1)]
    elif stacked:
        at_once = max(1, MOST_ROWS // len(view))
        counts = [min(at_once, passes - 1 - done) for done in range(0, passes - 1, at_once)]
        rest = [part.float() for n in counts for part in together(net, *[view] * n)]
    else:
        rest = [together(net, view)[0].float() for _ in range(passes - 1)]
    return torch.stack([first, *rest])


def mean_and_deviation(p: Tensor, ddof: int) -> tuple[Tensor, Tensor]:
    """Over the passes of p [T, n, K]: their mean and standard deviation, [n, K] each; one pass deviates by 0."""
    if len(p) == 1:
        return p[0], torch.zeros_like(p[0])
    deviation, mean = torch.std_mean(p, 0, correction=ddof)
    return mean, deviation
