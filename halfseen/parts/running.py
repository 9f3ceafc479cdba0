"""What a method follows from batch to batch: running means of numbers of the whole batch, whatever shares it.

v <- d v + (1 - d) new,   v = start at first
d = decay, or min((1 + t)/(10 + t), decay) in step t if it starts warm: a start that is no measurement is soon forgotten
"""

import torch
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.machine import distributed
from halfseen.parts.ema import early


class Running(nn.Module):
    value: Tensor

    def __init__(self, start: Tensor, decay: float, warm: bool = False) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise UserError(f"decay={decay:g}: the decay of a running mean lies between 0 and 1, 1 excluded")
        self.decay, self.warm = decay, warm
        self.register_buffer("value", start.float())

    @torch.no_grad()
    def forward(self, new: Tensor, step: int) -> Tensor:
        """The mean, after it has followed `new`: a mean over this process's rows."""
        d = early(self.decay, step) if self.warm else self.decay
        return self.value.lerp_(whole_mean(new.detach()).to(self.value.dtype), 1 - d)


def whole_mean(mine: Tensor) -> Tensor:
    """The mean over the processes, of which each has as many rows; its gradient is that of this process's part.

    A function of it may then be a loss: the trainer averages the processes' gradients.
    """
    if distributed.world() == 1:
        return mine
    mean = mine.detach().clone()
    distributed.average([mean])
    return mean + (mine - mine.detach())


@torch.no_grad()
def moments(values: Tensor) -> Tensor:
    """[2]: mean and unbiased variance of the values [n] of all processes."""
    n = len(values) * distributed.world()
    mean = whole_mean(values.mean())
    return torch.stack([mean, whole_mean((values - mean).square().mean()) * n / max(1, n - 1)])
