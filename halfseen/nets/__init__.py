"""Networks by name, from a user's own file, or from any factory: `make_net`, `NETS`, `describe_options`."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, cast

from torch import nn

from halfseen.errors import UserError, nearest
from halfseen.machine.files import callable_in
from halfseen.nets.air import Air
from halfseen.nets.cnn3 import CNN3
from halfseen.nets.cnn13 import CNN13
from halfseen.nets.lenet import LeNet, LeNet5
from halfseen.nets.linear import Linear
from halfseen.nets.mlp import MLP
from halfseen.nets.net import Net
from halfseen.nets.resnet import ResNet18
from halfseen.nets.shake_shake import ShakeShake
from halfseen.nets.small import Small
from halfseen.nets.wrn import WRN

Factory = Callable[..., nn.Module]  # (classes=..., shape=..., **options)

NETS: dict[str, Factory] = {
    "small": Small,
    "mlp": MLP,
    "linear": Linear,
    "cnn13": CNN13,
    "cnn3": CNN3,
    "wrn-28-2": functools.partial(WRN, width=2),
    "wrn-28-8": functools.partial(WRN, width=8),
    "shake-26-2x96d": functools.partial(ShakeShake, width=96),
    "shake-26-2x32d": functools.partial(ShakeShake, width=32),
    "air": Air,
    "resnet18": ResNet18,
    "lenet": LeNet,
    "lenet5": LeNet5,
}


def make_net(name: str | Factory, *, classes: int, shape: tuple[int, ...], **options: Any) -> Net:
    """A freshly initialised network for images of `shape` [c,h,w], or vectors (d,).

    `name` is one of NETS, "my_net.py:factory" for a function or class in a user's file, or a factory itself; each is
    called with classes=, shape= and the options.
    """
    if classes < 2:
        raise UserError(f"a classifier needs at least 2 classes, and the data have {classes}")
    if not shape or min(shape) < 1:
        raise UserError(f"images of shape {tuple(shape)} are empty: a network needs at least one number per image")
    factory, called = find_factory(name)
    known = [option for option, _ in _options(factory)]
    for option in options:
        if option not in known and not _takes_any(factory):
            end = nearest(option, known) if known else "it has no options"
            raise UserError(f"net {called!r} has no option {option!r}: {end}")
    try:
        inspect.signature(factory).bind(classes=classes, shape=shape, **options)
    except TypeError as error:
        raise UserError(f"net {called!r} must accept classes=, shape= and its options: {error}") from None
    net = factory(classes=classes, shape=tuple(shape), **options)
    return _checked(net, called)


def describe_options(name: str | Factory) -> list[tuple[str, Any]]:
    """(option, default) of a network, in order; inspect.Parameter.empty where there is no default."""
    return _options(find_factory(name)[0])


def find_factory(name: str | Factory) -> tuple[Factory, str]:
    """The factory and what to call it in a sentence."""
    if not isinstance(name, str):
        if not callable(name):
            raise UserError(f"a net is a name, 'my_net.py:factory' or a function, not {type(name).__name__}")
        return name, getattr(name, "__name__", type(name).__name__)
    if name in NETS:
        return NETS[name], name
    if ".py" in name:
        return callable_in(name, "net"), name
    raise UserError(f"there is no net {name!r}: {nearest(name, NETS)} (or give my_net.py:factory)")


def _options(factory: Factory) -> list[tuple[str, Any]]:
    fixed = {"classes", "shape"} | (set(factory.keywords) if isinstance(factory, functools.partial) else set())
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(factory).parameters.values()
    return [(p.name, p.default) for p in parameters if p.kind in named and p.name not in fixed]


def _takes_any(factory: Factory) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(factory).parameters.values())


def _checked(net: object, called: str) -> Net:
    if not isinstance(net, nn.Module):
        raise UserError(f"net {called!r} is a {type(net).__name__}: the factory must return a torch.nn.Module")
    missing = [name for name in ("features", "head", "num_features") if not hasattr(net, name)]
    if missing:
        raise UserError(
            f"net {called!r} has no {' and no '.join(missing)}: a network needs features(x) -> [n, num_features], "
            "head (a Linear from num_features to the classes) and num_features"
        )
    return cast(Net, net)
