"""A method put together from plain facts: the same way for training and for loading a model that was trained."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from halfseen.augment import make_policy
from halfseen.augment.bank import Pick, Rows
from halfseen.data import ImageSet, Split
from halfseen.draws import Draws
from halfseen.method import Method, Task, View
from halfseen.methods import Entry
from halfseen.model.facts import Facts
from halfseen.model.tuned import Base
from halfseen.nets import describe_options, make_net
from halfseen.nets.cnn13 import init_from_data
from halfseen.nets.net import Net
from halfseen.parts.shared_dropout import with_shared_dropout
from halfseen.parts.synced_norm import with_synced_norms

REFERENCE_ROWS = 256
COMPILED_FORMS = 64  # a network meets several batch sizes, modes and kinds of batch norm; torch would give up after 8


def reference_rows(images: ImageSet, split: Split) -> Tensor:
    """Rows of the training set: the `vector` policy swaps features with them, and some networks start from data."""
    ids = split.unlabelled if len(split.unlabelled) else split.labelled
    return images.x[ids[:REFERENCE_ROWS]]


def views(
    facts: Facts,
    device: torch.device,
    draws: Draws,
    reference: Tensor | None = None,
    bank: Rows | None = None,
) -> Callable[[str], View]:
    """Views by the name of their policy; with a bank, of numbers of images."""
    mean, std = (torch.tensor(v, device=device) for v in (facts.mean, facts.std))
    if facts.zca and facts.whitening is None:
        raise ValueError("images were whitened, and the whitening was not given")
    whitening = None if facts.whitening is None else facts.whitening.to(device)
    rows = None if reference is None else reference.to(device)

    def view(name: str) -> View:
        if bank is not None:
            return Pick(name, bank, mean, std, draws)
        return make_policy(
            name,
            shape=facts.shape,
            flip=facts.flip,
            mean=mean,
            std=std,
            draws=draws,
            reference=rows,
            per_image=facts.per_image,
            whitening=whitening,
        )

    return view


def build(
    entry: Entry,
    config: Any,
    facts: Facts,
    *,
    net: str | Callable[..., nn.Module],
    net_options: dict[str, Any],
    policies: tuple[str, ...],
    device: torch.device,
    draws: Draws,
    compiled: bool = False,
    reference: Tensor | None = None,
    bank: Rows | None = None,
    base: Base | None = None,
) -> Method[Any]:
    """A fresh method on the device. Its networks start from torch's random state, so seed that first.

    base: a backbone that every network is put on, and trained with.
    """

    def fresh(prefer: Mapping[str, Any] = MappingProxyType({}), **needed: Any) -> Net:
        known = {name for name, _ in describe_options(net)}
        wanted = {k: v for k, v in prefer.items() if k in known}
        options = {**wanted, **needed, **net_options}
        shape = facts.shape if base is None else base.facts.shape
        made = make_net(net, classes=len(facts.classes), shape=shape, **options)
        if base is not None:
            made = base.under(made)
        if draws.world > 1:
            with_shared_dropout(with_synced_norms(made))
        made.to(device)
        if len(facts.shape) == 3:
            made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's annotations
        if reference is not None and getattr(made, "starts_from_data", False):
            init_from_data(made, view("none")(reference.to(device)))
        if compiled:
            torch._dynamo.config.recompile_limit = COMPILED_FORMS
            made.compile(dynamic=False)
        return made

    view = views(facts, device, draws, None if len(facts.shape) == 3 else reference, bank)
    weak = view(policies[0])
    task = Task(
        classes=len(facts.classes),
        shape=facts.shape,
        samples=facts.samples,
        labelled=facts.labelled,
        unlabelled=facts.unlabelled,
        make_net=fresh,
        view=view,
        draws=draws,
        weak=weak,
        strong=view(policies[1]),
        labelled_view=weak if policies[2] == policies[0] else view(policies[2]),
    )
    method: Method[Any] = entry.method(config, task)
    return method.to(device)
