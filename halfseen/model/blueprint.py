"""Which method, settings, network and views: resolved from Settings or read from a run, and what builds all of it."""

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from halfseen import methods
from halfseen.augment.bank import Rows
from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.method import Method
from halfseen.model.build import build
from halfseen.model.facts import Facts
from halfseen.model.tuned import Base
from halfseen.nets import describe_options, find_factory
from halfseen.overrides import below, flat, pairs, read, tuples, with_settings
from halfseen.settings import Settings

SMALL_SIDE = 40  # pixels; pictures up to here go to `small` unless a network is named
AUTO = ("auto", "auto", "auto")
ON_BANK = ("weak", "strong")
ON_PIXELS = ("photo", "photo+photo-ra")  # of a backbone that is fine-tuned: the views that the bank was made of
UNSEEN = ("none", "none", "none")  # of a model that only predicts


@dataclass(frozen=True)
class Blueprint:
    """A method that can be built, as often as wanted."""

    entry: methods.Entry
    config: Any
    net: str = "auto"
    net_options: dict[str, Any] | None = None
    policies: tuple[str, str, str] = AUTO  # of the weak, the strong and the labelled view

    @classmethod
    def named(cls, method: str) -> Self:
        """A method as it is, without settings."""
        entry = methods.load(method)
        return cls(entry, entry.config())

    @classmethod
    def from_settings(cls, s: Settings) -> Self:
        """All that can be checked before the data are seen; `fitted` adds what hangs on them."""
        entry = methods.load(s.method)
        chosen = pairs(s.overrides)
        for key in chosen:
            if not key.startswith(("method.", "net.")):
                raise UserError(f"--set {key}: a key starts with method. or net., as in --set method.tau=0.9")
        if s.net != "auto":
            find_factory(s.net)
        config = with_settings(entry.config(), below(chosen, "method"), "method")
        return cls(entry, config, s.net, below(chosen, "net"), (s.weak, s.strong, s.labelled))

    @classmethod
    def from_json(cls, about: dict[str, Any], source: str | None = None) -> Self:
        """Of a trained model, as `as_json` wrote it. source: the run's own copy of a method that came from a file."""
        entry = methods.load(source if source and about["method"].endswith(".py") else about["method"])
        config = with_settings(entry.config(), tuples(about["method_settings"]), "method")
        return cls(entry, config, about["net"], about["net_options"], UNSEEN)

    def fitted(self, shape: tuple[int, ...], on_bank: bool = False, tuned: bool = False) -> Self:
        """With a network and views for data of this shape in place of "auto", and the network's settings read.

        on_bank: for features of images. tuned: for images, and a head's network for their features.
        """
        net = default_net(shape, on_bank or tuned) if self.net == "auto" else self.net
        own = self.entry.method.views if len(shape) == 3 else ON_BANK if on_bank else ("vector", "vector")
        own = ON_PIXELS if tuned else own
        weak, strong = (mine if given == "auto" else given for mine, given in zip(own, self.policies[:2], strict=True))
        labelled = weak if self.policies[2] == "auto" else self.policies[2]
        options = read_options(net, self.net_options or {})
        return replace(self, net=net, net_options=options, policies=(weak, strong, labelled))

    def as_json(self) -> dict[str, Any]:
        return {
            "method": self.entry.given,
            "method_settings": flat(self.config),
            "net": self.net,
            "net_options": self.net_options or {},
        }

    def build(
        self,
        facts: Facts,
        device: torch.device,
        draws: Draws,
        *,
        compiled: bool = False,
        reference: Tensor | None = None,
        bank: Rows | None = None,
        base: Base | None = None,
    ) -> Method[Any]:
        """A fresh method on the device. Its networks start from torch's random state, so seed that first."""
        return build(
            self.entry,
            self.config,
            facts,
            net=self.net,
            net_options=self.net_options or {},
            policies=self.policies,
            device=device,
            draws=draws,
            compiled=compiled,
            reference=reference,
            bank=bank,
            base=base,
        )


def default_net(shape: tuple[int, ...], on_bank: bool = False) -> str:
    if on_bank:
        return "linear"
    if len(shape) == 1:
        return "mlp"
    return "small" if max(shape[1:]) <= SMALL_SIDE else "resnet18"


def read_options(net: Any, texts: dict[str, Any]) -> dict[str, Any]:
    """`--set net.dropout=0.3`: text read as the kind of value that the option's default has."""
    defaults = dict(describe_options(net)) if texts else {}
    options: dict[str, Any] = {}
    for name, text in texts.items():
        default = defaults.get(name)
        kind = type(default) if isinstance(default, bool | int | float | str) else str
        options[name] = read(text, kind, f"net.{name}") if isinstance(text, str) else text
    return options
