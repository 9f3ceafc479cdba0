"""Fine-tuning: a backbone and a head as one network of pixels whose last layers, or all of them, are trained.

Batch norm is frozen, its statistics and its weights: views of a handful of labelled images are no sample of anything, and
what the bank's head was trained on stays what the network gives. The rest of the backbone is in evaluation mode too, so
that an image's features do not hang on those that come with it. The rate falls layer by layer from the head to the input.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from halfseen.backbones.backbone import Backbone
from halfseen.errors import UserError
from halfseen.model.facts import Facts
from halfseen.nets.net import Net

RATE = 0.1  # of the head's rate: what the backbone's last layer learns with
FALL = 0.8  # from a layer to the one before it
CLIP = 1.0  # norm of the gradient where the method says none: one step must not undo what was learnt before it
AT_ONCE = 32  # images whose activations are held at a time


class FrozenNorm(nn.Module):
    """A batch norm in evaluation mode for good, with the same names and no parameters."""

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        for name, value in (*norm.named_parameters(), *norm.named_buffers()):
            self.register_buffer(name, value.detach())
        for name in ("weight", "bias"):
            if getattr(norm, name) is None:
                self.register_buffer(name, None)
        self.eps = norm.eps

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class Tuned(nn.Module):
    """logits = top((backbone(pixels) - mean) / std), with what a network of this library has."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, top: Net, mean: Tensor, std: Tensor, again: bool) -> None:
        """again: a backward goes through the backbone again, AT_ONCE images at a time, in place of holding it all."""
        super().__init__()
        self.backbone, self.top, self.again = backbone, top, again
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def pooled(self, x: Tensor) -> Tensor:
        x = x if x.shape[1] == 3 else x.expand(-1, 3, -1, -1)
        if torch.compiler.is_compiling():  # a graph for any number of images cannot be split
            return cast(Tensor, self.backbone(x))
        parts = torch.functional.split(x, AT_ONCE)
        if self.again and torch.is_grad_enabled():
            return torch.cat(
                [checkpoint(self.backbone, part, use_reentrant=False, preserve_rng_state=False) for part in parts]
            )
        return torch.cat([self.backbone(part) for part in parts])

    def features(self, x: Tensor) -> Tensor:
        return self.top.features((self.pooled(x).float() - self.mean) / self.std)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.top.head(self.features(x))
        return logits

    def two(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.top.two((self.pooled(x).float() - self.mean) / self.std)

    @property
    def head(self) -> nn.Linear:
        return self.top.head

    @property
    def num_features(self) -> int:
        return self.top.num_features

    def train(self, mode: bool = True) -> "Tuned":
        super().train(mode)
        self.backbone.eval()
        return self


@dataclass(frozen=True)
class Base:
    """What is put below every head of a method that is fine-tuned."""

    backbone: Backbone
    facts: Facts  # that the head was trained under
    tune: str  # last or all

    def under(self, top: Net) -> Net:
        net = copy.deepcopy(self.backbone)
        settle(net, self.tune)
        mean, std = torch.tensor(self.facts.mean), torch.tensor(self.facts.std)
        return cast(Net, Tuned(net, top, mean, std, again=self.tune == "all"))


def settle(net: Backbone, tune: str) -> None:
    """Leave parameters to what is trained, with their share of the rate as `share`; the others become buffers."""
    if not net.trainable:
        raise UserError(f"--tune {tune}: the backbone {net.name} is a graph without gradients; take --tune head")
    freeze_norms(net)
    layers = net.layers()
    trained = layers if tune == "all" else last_of(layers)
    shares = {p: RATE * FALL**depth for depth, layer in enumerate(reversed(trained)) for p in layer.parameters()}
    if not shares:
        raise UserError(f"--tune {tune}: layers() of the backbone {net.name} names none with weights; take --tune head")
    for part in net.modules():
        for name, p in list(part.named_parameters(recurse=False)):
            if p in shares:
                p.share = shares[p]  # type: ignore[attr-defined]  # of the rate: optim.groups asks for it
            else:
                del part._parameters[name]
                part.register_buffer(name, p.detach())


def last_of(layers: list[nn.Module]) -> list[nn.Module]:
    """From the last one that has matrices on: a norm alone would not be worth it."""
    for i in reversed(range(len(layers))):
        if any(p.ndim > 1 for p in layers[i].parameters()):
            return layers[i:]
    return layers


def freeze_norms(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, _BatchNorm):
            setattr(module, name, FrozenNorm(child))
        else:
            freeze_norms(child)


def on_its_head(own: dict[str, Tensor], bank: Mapping[str, Tensor], method: nn.Module) -> dict[str, Tensor]:
    """The state of a method that is fine-tuned, with what the same method came to on the bank: heads, averages, memories."""
    places = [f"{name}." for name, part in method.named_modules() if isinstance(part, Tuned)]
    found = {}
    for key, value in own.items():
        place = next((p for p in places if key.startswith(p)), None)
        source = key if place is None else place + key.removeprefix(place).removeprefix("top.")
        held = place is not None and not key.startswith(f"{place}top.")  # the backbone's own
        found[key] = value if held else bank[source]
    return found
