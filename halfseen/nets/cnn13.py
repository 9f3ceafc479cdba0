"""ConvLarge, or CNN-13: the network of Temporal Ensembling, VAT, Mean Teacher, Dual Student, DNLL and CCN."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import weight_norm

from halfseen.errors import UserError, nearest
from halfseen.machine.distributed import channel_means, world
from halfseen.nets.net import InputNoise, Net, heads_are, picture, rate_is

Norm = Literal["wn_bn", "bn", "bn_bias", "wn_mean_only", "mean_only"]
NORMS = ("wn_bn", "bn", "bn_bias", "wn_mean_only", "mean_only")


class CNN13(Net):
    """noise - conv3 128 x3 - pool - dropout - conv3 256 x3 - pool - dropout - conv3 512 - conv1 256 - conv1 128 - mean.

    `norm` after each convolution:  `bn` (VAT), `bn_bias` (the same, convolutions with bias), `wn_bn` (weight norm and
    batch norm: Dual Student, LP, DNLL), `wn_mean_only` (weight norm and mean-only batch norm, head included: Temporal
    Ensembling, SNTG; it starts from data, by `init_from_data`), `mean_only` (VAdD). `logits_norm`: batch norm on the
    logits too (VAT on SVHN).
    """

    def __init__(
        self,
        classes: int,
        shape: tuple[int, ...],
        *,
        norm: Norm = "wn_bn",
        heads: Literal[1, 2] = 1,
        input_noise: float = 0.15,
        dropout: float = 0.5,
        logits_norm: bool = False,
    ) -> None:
        super().__init__()
        channels, _, _ = picture("cnn13", shape, smallest=12)
        heads_are(heads)
        rate_is("dropout", dropout)
        if norm not in NORMS:
            raise UserError(f"cnn13 has no norm {norm!r}: {nearest(str(norm), NORMS)}")
        if logits_norm and norm == "wn_mean_only":
            raise UserError("cnn13 with norm wn_mean_only has a norm on its logits already; leave out logits_norm")
        self.num_features = 128
        self.starts_from_data = norm == "wn_mean_only"  # whoever makes it knows data, and calls `init_from_data`
        c = (channels, 128, 128, 128, 256, 256, 256, 512, 256, 128)
        kernels = (3, 3, 3, 3, 3, 3, 3, 1, 1)
        layers: list[nn.Module] = [InputNoise(input_noise)]
        for i, k in enumerate(kernels):
            layers += [*_conv(c[i], c[i + 1], k, padding=1 if i < 6 else 0, norm=norm), nn.LeakyReLU(0.1, inplace=True)]
            if i in (2, 5):
                layers += [nn.MaxPool2d(2), nn.Dropout(dropout)]
        self.body = nn.Sequential(*layers)
        self.head = _head(128, classes, norm, logits_norm)
        self.head2 = _head(128, classes, norm, logits_norm) if heads == 2 else None

    def features(self, x: Tensor) -> Tensor:
        h: Tensor = self.body(x)
        return h.mean((2, 3))  # any size: maps of 28x28 pictures are 5x5 here, of 32x32 pictures 6x6


class MeanOnlyNorm(_BatchNorm):
    """Batch norm that takes away the mean and leaves the variance alone; for maps [n,c,h,w] and vectors [n,c].

    In train mode the mean is that of the batch, and its running value moves by a tenth.
    """

    bias: nn.Parameter

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=0.1, affine=False)
        self.register_buffer("running_var", None)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        assert self.running_mean is not None
        mean = self.running_mean
        if self.training:
            axes = [0, *range(2, x.ndim)]
            mean = x.mean(axes) if world() == 1 else channel_means(x, axes)[0]
            if self.track_running_stats:
                with torch.no_grad():
                    self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum or 0.0)
                    if self.num_batches_tracked is not None:
                        self.num_batches_tracked.add_(1)
        shift = (self.bias - mean).to(x.dtype)
        return x + shift.view(1, -1, *[1] * (x.ndim - 2))

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in (2, 4):
            raise ValueError(f"vectors or maps are expected, not {input.ndim} dimensions")


class NormedLinear(nn.Linear):
    """A linear layer with a norm on its outputs, whose shift is the layer's bias."""

    def __init__(self, d_in: int, d_out: int, norm: nn.Module) -> None:
        super().__init__(d_in, d_out, bias=False)
        self.norm = norm

    def forward(self, input: Tensor) -> Tensor:
        normed: Tensor = self.norm(F.linear(input, self.weight))
        return normed


@torch.no_grad()
def init_from_data(net: nn.Module, x: Tensor) -> None:
    """Scale every layer so that its outputs on the batch x have variance 1 (Salimans and Kingma 2016).

    For networks whose norms take away the mean only: `wn_mean_only`, `mean_only`. The pass is in evaluation mode, and
    the hook takes the mean away, so no running statistic changes.
    """

    def scale(layer: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> Tensor:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        over, like = [0, *range(2, out.ndim)], (1, -1, *[1] * (out.ndim - 2))
        mean, sd = out.mean(over), out.std(over).clamp_min(1e-6)  # [c]
        # under weight norm the scale is a parameter of its own
        weight = dict(layer.named_parameters()).get("parametrizations.weight.original0", layer.weight)
        weight.div_(sd.view(-1, *[1] * (weight.ndim - 1)))
        if layer.bias is not None:
            layer.bias.sub_(mean).div_(sd)
        return (out - mean.view(like)) / sd.view(like)

    modules = list(net.modules())
    modes = [m.training for m in modules]
    hooks = [m.register_forward_hook(scale) for m in modules if isinstance(m, nn.Conv2d | nn.Linear)]
    try:
        net.eval()
        if isinstance(net, Net) and net.head2 is not None:
            net.two(x)
        else:
            net(x)
    finally:
        for hook in hooks:
            hook.remove()
        for m, mode in zip(modules, modes, strict=True):
            m.training = mode


def _conv(c_in: int, c_out: int, k: int, padding: int, norm: Norm) -> tuple[nn.Module, nn.Module]:
    conv = nn.Conv2d(c_in, c_out, k, padding=padding, bias=norm in ("wn_bn", "bn_bias"))
    if norm in ("wn_mean_only", "mean_only"):
        # nothing norms the variance: keep it through the layers until `init_from_data` or training sets it
        nn.init.kaiming_normal_(conv.weight, a=0.1, nonlinearity="leaky_relu")
        after: nn.Module = MeanOnlyNorm(c_out)
    else:
        after = nn.BatchNorm2d(c_out)
    return (weight_norm(conv) if norm in ("wn_bn", "wn_mean_only") else conv), after


def _head(d_in: int, classes: int, norm: Norm, logits_norm: bool) -> nn.Linear:
    if norm == "wn_mean_only":
        head: nn.Linear = NormedLinear(d_in, classes, MeanOnlyNorm(classes))
    elif logits_norm:
        head = NormedLinear(d_in, classes, nn.BatchNorm1d(classes))
    else:
        head = nn.Linear(d_in, classes)
    if norm in ("wn_bn", "wn_mean_only"):
        weight_norm(head)
    return head
