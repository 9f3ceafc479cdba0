"""Ways to run a network: several views in one pass, and `with` blocks that change its mode and put it back exactly."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from halfseen.nets.net import Net


def together(net: Callable[[Tensor], Tensor], *views: Tensor) -> tuple[Tensor, ...]:
    """One forward of the concatenated views, split back. A view may have no rows; channels-last stays channels-last.

    `net` is a network or a part of one, such as `net.features`.
    """
    filled = [view for view in views if len(view)] or list(views[:1])  # an empty view could change the layout
    x = filled[0] if len(filled) == 1 else torch.cat(filled)
    if x.ndim == 4 and any(view.is_contiguous(memory_format=torch.channels_last) for view in filled):
        x = x.contiguous(memory_format=torch.channels_last)
    parts: tuple[Tensor, ...] = torch.functional.split(net(x), [len(view) for view in views])
    return parts


def interleaved(net: nn.Module, groups: int, *views: Tensor) -> tuple[Tensor, ...]:
    """As `together`, but in several forwards of every `groups`-th row, each with its share of every view (MixMatch).

    Batch norm takes the statistics of a forward's own rows; the running ones follow the first forward.
    """
    rows = torch.cat(views)
    parts = [torch.arange(g, len(rows), groups, device=rows.device) for g in range(groups)]
    out = [together(net, rows[parts[0]])[0]]
    with frozen_batchnorm(net):
        out += [together(net, rows[part])[0] for part in parts[1:]]
    in_order = torch.cat(out)[torch.cat(parts).argsort()]
    split: tuple[Tensor, ...] = torch.functional.split(in_order, [len(view) for view in views])
    return split


@contextmanager
def eval_mode(*nets: nn.Module) -> Iterator[None]:
    with _modes_restored(*nets):
        for net in nets:
            net.eval()
        yield


@contextmanager
def only_dropout(*nets: nn.Module) -> Iterator[None]:
    """Evaluation mode, but with dropout at work: Monte-Carlo passes."""
    with _modes_restored(*nets):
        for net in nets:
            net.eval()
            for module in net.modules():
                if isinstance(module, _DropoutNd):
                    module.train()
        yield


@contextmanager
def frozen_batchnorm(*nets: nn.Module) -> Iterator[None]:
    """Batch norm in train mode takes the statistics of its batch and leaves the running ones and their count alone."""
    tracking = [norm for net in nets for norm in batch_norms(net)]
    try:
        for module in tracking:
            module.track_running_stats = False
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True


@contextmanager
def frozen_parameters(*nets: nn.Module) -> Iterator[None]:
    """The gradient passes through the networks, to their input, and does not reach their parameters."""
    trained = [p for net in nets for p in net.parameters() if p.requires_grad]
    try:
        for p in trained:
            p.requires_grad_(False)
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)


def batch_norms(net: nn.Module) -> list[_BatchNorm]:
    """The layers that keep running statistics of batches."""
    return [cast(_BatchNorm, module) for module in net.modules() if _tracks(module)]


@contextmanager
def eagerly(*nets: nn.Module) -> Iterator[None]:
    """Compiled networks run uncompiled: hooks on their layers would not be seen otherwise."""
    if not any(getattr(module, "_compiled_call_impl", None) for net in nets for module in net.modules()):
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def network_in(module: nn.Module) -> Net:
    """The first network of a method: a module with features() and a head."""
    for part in module.modules():
        if "head" in part._modules and hasattr(part, "features"):
            return cast(Net, part)
    raise ValueError(f"there is no network in {type(module).__name__}")


def active_dropouts(net: nn.Module) -> list[nn.Module]:
    """The dropout layers that drop something."""
    return [module for module in net.modules() if isinstance(module, _DropoutNd) and module.p > 0]


def has_active_dropout(net: nn.Module) -> bool:
    """Whether passes under `only_dropout` differ from each other."""
    return bool(active_dropouts(net))


@contextmanager
def _modes_restored(*nets: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for net in nets for module in net.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _tracks(module: nn.Module) -> bool:
    """Batch norms and layers that keep to their convention; instance norm has the attribute but not the meaning."""
    instance = isinstance(module, nn.modules.instancenorm._InstanceNorm)
    return not instance and getattr(module, "track_running_stats", False) is True
