"""A copy of a network, without gradient, that follows it as a running average of its weights."""

import copy
from collections.abc import Iterable
from typing import Literal, cast

import torch
from torch import Tensor, nn

from halfseen.nets.net import Net
from halfseen.parts.ramps import warm_decay


def early(decay: float, step: int) -> float:
    """min((1 + t)/(10 + t), decay): an average meant for evaluation only, which spans the last tenth of a short run."""
    return min((1 + step) / (10 + step), decay)


class Ema(nn.Module):
    """theta' <- d theta' + (1 - d) theta, to be called after the optimiser's step."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).requires_grad_(False)

    @torch.no_grad()
    def follow(
        self,
        net: nn.Module,
        decay: float,
        warm_step: int | None = None,
        buffers: Literal["copied", "averaged", "own", "measured"] = "copied",
    ) -> None:
        """`warm_step` (1 at the first update): decay min(1 - 1/(warm_step + 1), decay), so the start is soon forgotten.

        `buffers`, the statistics of batch norm: `copied` from the network, `averaged` like the weights (counters are
        copied), or `own`: those of the copy's own passes in train mode, which is what a Mean Teacher has. `measured`
        ones replace them when the copy is scored (parts/norms.py), and until then they are copied.
        """
        d = decay if warm_step is None else warm_decay(warm_step, decay)
        torch._foreach_lerp_(_tensors(self.net.parameters()), _tensors(net.parameters()), 1 - d)
        if buffers == "own":
            return
        pairs = list(zip(self.net.buffers(), net.buffers(), strict=True))
        averaged = [pair for pair in pairs if buffers == "averaged" and pair[0].is_floating_point()]
        copied = [pair for pair in pairs if buffers != "averaged" or not pair[0].is_floating_point()]
        if averaged:
            torch._foreach_lerp_([a for a, _ in averaged], [b for _, b in averaged], 1 - d)
        if copied:
            torch._foreach_copy_([a for a, _ in copied], [b for _, b in copied])

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.net(x))

    def features(self, x: Tensor) -> Tensor:
        return self._as_net.features(x)

    def two(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._as_net.two(x)

    @property
    def head(self) -> nn.Linear:
        return self._as_net.head

    @property
    def num_features(self) -> int:
        return self._as_net.num_features

    @property
    def _as_net(self) -> Net:
        return cast(Net, self.net)


def _tensors(parameters: Iterable[Tensor]) -> list[Tensor]:
    return list(parameters)
