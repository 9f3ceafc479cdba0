"""Wide residual networks of depth 28 as the FixMatch family uses them (Zagoruyko and Komodakis 2016)."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.nets.net import Net, picture, rate_is


class WRN(Net):
    """conv3 16 - 3 stages of 4 blocks, widths 16w 32w 64w, strides 1 2 2 - norm - pool - head.

    `bias`: the convolutions have one (TorchSSL). `dropout_site`: "block", between the convolutions of a block, or
    "head", on the pooled features. `release_skip`: see Block.
    """

    def __init__(
        self,
        classes: int,
        shape: tuple[int, ...],
        *,
        width: int = 2,
        bias: bool = False,
        dropout: float = 0.0,
        dropout_site: Literal["block", "head"] = "block",
        release_skip: bool = False,
    ) -> None:
        super().__init__()
        channels, _, _ = picture(f"wrn-28-{width}", shape, smallest=8)
        rate_is("dropout", dropout)
        if dropout_site not in ("block", "head"):
            raise UserError(f"dropout_site={dropout_site!r}: the sites are 'block' and 'head'")
        in_block, at_head = (dropout, 0.0) if dropout_site == "block" else (0.0, dropout)
        widths = (16, 16 * width, 32 * width, 64 * width)
        self.num_features = widths[-1]
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1, bias=bias)
        self.blocks = nn.Sequential(
            *(
                Block(
                    widths[stage] if i == 0 else widths[stage + 1],
                    widths[stage + 1],
                    stride=2 if stage > 0 and i == 0 else 1,
                    bias=bias,
                    dropout=in_block,
                    activate_first=stage == 0 and i == 0,
                    release_skip=release_skip,
                )
                for stage in range(3)
                for i in range(4)
            )
        )
        self.norm = _norm(widths[-1])
        self.dropout = nn.Dropout(at_head)
        self.head = nn.Linear(widths[-1], classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, a=0.1, mode="fan_out", nonlinearity="leaky_relu")
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
        nn.init.xavier_normal_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def features(self, x: Tensor) -> Tensor:
        h = _act(self.norm(self.blocks(self.stem(x)))).mean((2, 3))
        kept: Tensor = self.dropout(h)
        return kept


class Block(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))), the left x through a 1x1 convolution where the width changes.

    `activate_first`: the left x is act(norm(x)) too (the first block of the network). `release_skip`: in the other
    blocks that change the width the first convolution gets the raw x, as in the PyTorch releases, where the norm above
    it exists and is not used.
    """

    def __init__(
        self, c_in: int, c_out: int, stride: int, bias: bool, dropout: float, activate_first: bool, release_skip: bool
    ) -> None:
        super().__init__()
        self.activate_first = activate_first
        self.raw = release_skip and not activate_first and c_in != c_out
        self.norm1 = _norm(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=bias)
        self.norm2 = _norm(c_out)
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=bias)
        self.skip = nn.Conv2d(c_in, c_out, 1, stride, bias=bias) if c_in != c_out else None
        if self.raw:
            self.norm1.requires_grad_(False)  # a trained parameter must get a gradient

    def forward(self, x: Tensor) -> Tensor:
        h = x if self.raw else _act(self.norm1(x))
        if self.activate_first:
            x = h
        h = _act(self.norm2(self.conv1(h)))
        if self.dropout is not None:
            h = self.dropout(h)
        h = self.conv2(h)
        # in place: on a CPU a new block of memory costs more than the sum
        out: Tensor = h.add_(x if self.skip is None else self.skip(x))
        return out


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=1e-3)


def _act(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1, inplace=True)
