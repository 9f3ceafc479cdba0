"""Shake-Shake 26 (Gastaldi 2017): two residual branches, mixed in proportions that are drawn for each image."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.machine.shares import for_our_rows
from halfseen.nets.net import Net, heads_are, picture


class ShakeShake(Net):
    """conv3 16 (no norm) - 3 stages of 4 blocks, widths c 2c 4c - mean - head; no ReLU before the mean."""

    def __init__(self, classes: int, shape: tuple[int, ...], *, width: int = 96, heads: Literal[1, 2] = 1) -> None:
        super().__init__()
        channels, _, _ = picture(f"shake-26-2x{width}d", shape, smallest=8)
        heads_are(heads)
        self.num_features = 4 * width
        self.stem = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        blocks: list[nn.Module] = []
        c_in = 16
        for stage, c_out in enumerate((width, 2 * width, 4 * width)):
            for i in range(4):
                blocks.append(Block(c_in, c_out, stride=2 if stage > 0 and i == 0 else 1))
                c_in = c_out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(c_in, classes)
        self.head2 = nn.Linear(c_in, classes) if heads == 2 else None
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out")

    def features(self, x: Tensor) -> Tensor:
        h: Tensor = self.blocks(self.stem(x))
        return h.mean((2, 3))


class Block(nn.Module):
    """skip(x) + a branch_1(x) + (1 - a) branch_2(x)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_branch(c_in, c_out, stride) for _ in range(2))
        self.skip: nn.Module = nn.Identity()
        if stride == 2:
            self.skip = ShiftedSkip(c_in, c_out)
        elif c_in != c_out:
            self.skip = nn.Sequential(nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        one, two = (branch(x) for branch in self.branches)
        if self.training:
            a, b = for_our_rows(_pairs, x[:, :1, :1, :1]).to(one.dtype).unbind(1)  # [n,1,1,1] each
            mixed: Tensor = _Mix.apply(one, two, a, b)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
        else:
            mixed = (one + two) / 2
        out: Tensor = self.skip(x) + mixed
        return out


def _pairs(x: Tensor) -> Tensor:
    """Two uniform numbers for each row of x [n,1,1,1]: [n,2,1,1,1]."""
    return torch.rand(2, *x.shape, device=x.device).transpose(0, 1)


class ShiftedSkip(nn.Module):
    """ReLU, the pixels 0::2 and those 1::2 side by side, a 1x1 convolution in two groups, norm: half the size."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * c_in, c_out, 1, groups=2)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(F.relu(x), (0, x.shape[3] % 2, 0, x.shape[2] % 2))  # odd sides: the branches round up
        shifted = torch.cat((x[:, :, 0::2, 0::2], x[:, :, 1::2, 1::2]), 1)
        out: Tensor = self.norm(self.conv(shifted))
        return out


class _Mix(torch.autograd.Function):
    """a x + (1-a) y forward, and an independent b for the gradient: b g to x, (1-b) g to y."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(b)
        return torch.lerp(y, x, a)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (b,), (g,) = ctx.saved_tensors, grads
        to_x = g * b
        return to_x, g - to_x, None, None


def _branch(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU(inplace=True),
        nn.Conv2d(c_out, c_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(c_out),
    )
