"""A method put together from plain facts: the same way for training and for loading a model that was trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from halfseen.augment import Whitening, make_policy
from halfseen.catalog import Entry
from halfseen.config import check, tuples
from halfseen.data import ImageSet, Split
from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.method import Method, Task, View
from halfseen.nets import describe_options, make_net
from halfseen.nets.net import Net
from halfseen.parts.synced_norm import with_synced_norms

REFERENCE_ROWS = 256
COMPILED_FORMS = 64  # a network meets several batch sizes, modes and kinds of batch norm; torch would give up after 8
SMALL_SIDE = 40  # pixels; pictures up to here go to `small` unless a network is named


@dataclass(frozen=True)
class Facts:
    """What a method must know of its data; small enough for a json file."""

    classes: tuple[str, ...]
    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    samples: int
    labelled: int
    unlabelled: int
    per_image: bool = False  # normalise every image by its own mean and deviation
    zca: bool = False  # make the pixels uncorrelated instead
    whitening: Whitening | None = field(default=None, compare=False, repr=False)  # kept with weights, not in json

    @classmethod
    def of(cls, images: ImageSet, split: Split, per_image: bool = False, whitening: Whitening | None = None) -> "Facts":
        return cls(
            images.classes,
            images.shape,
            tuple(images.mean.tolist()),
            tuple(images.std.tolist()),
            images.flip,
            len(images.x),
            len(split.labelled),
            len(split.unlabelled),
            per_image,
            whitening is not None,
            whitening,
        )

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> "Facts":
        check(d, dict, "facts")
        if "whitening" in d:
            raise UserError("facts.whitening does not belong here: it is kept with the weights")
        facts = cls(**tuples(d))
        for f in STORED:
            check(getattr(facts, f.name), f.type, f"facts.{f.name}")
        if len(facts.shape) not in (1, 3) or not len(facts.mean) == len(facts.std) == facts.shape[0]:
            raise UserError(f"facts.shape {facts.shape} does not fit {len(facts.mean)} means and {len(facts.std)} stds")
        return facts

    def as_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in STORED}


STORED = tuple(f for f in fields(Facts) if f.name != "whitening")


def default_net(shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return "mlp"
    return "small" if max(shape[1:]) <= SMALL_SIDE else "resnet18"


def policy_names(entry: Entry, shape: tuple[int, ...], weak: str, strong: str) -> tuple[str, str]:
    """The policies of the two views: those named, or the method's own for pictures and `vector` for feature vectors."""
    own = entry.method.views if len(shape) == 3 else ("vector", "vector")
    return (own[0] if weak == "auto" else weak, own[1] if strong == "auto" else strong)


def reference_rows(images: ImageSet, split: Split) -> Tensor | None:
    """Of feature vectors, the rows that the `vector` policy swaps features with; pictures need none."""
    ids = split.unlabelled if len(split.unlabelled) else split.labelled
    return None if images.is_images else images.x[ids[:REFERENCE_ROWS]]


def views(facts: Facts, device: torch.device, draws: Draws, reference: Tensor | None = None) -> Callable[[str], View]:
    """Views by the name of their policy."""
    mean, std = (torch.tensor(v, device=device) for v in (facts.mean, facts.std))
    if facts.zca and facts.whitening is None:
        raise ValueError("images were whitened, and the whitening was not given")
    whitening = None if facts.whitening is None else facts.whitening.to(device)
    rows = None if reference is None else reference.to(device)

    def view(name: str) -> View:
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
    policies: tuple[str, str],
    device: torch.device,
    draws: Draws,
    compiled: bool = False,
    reference: Tensor | None = None,
) -> Method[Any]:
    """A fresh method on the device. Its networks start from torch's random state, so seed that first."""

    def fresh(prefer: Mapping[str, Any] = MappingProxyType({}), **needed: Any) -> Net:
        known = {name for name, _ in describe_options(net)}
        wanted = {k: v for k, v in prefer.items() if k in known}
        options = {**wanted, **needed, **net_options}
        made = make_net(net, classes=len(facts.classes), shape=facts.shape, **options)
        if draws.world > 1:
            with_synced_norms(made)
        made.to(device)
        if len(facts.shape) == 3:
            made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's annotations
        if compiled:
            torch._dynamo.config.recompile_limit = COMPILED_FORMS
            made.compile(dynamic=False)
        return made

    view = views(facts, device, draws, reference)
    task = Task(
        classes=len(facts.classes),
        shape=facts.shape,
        samples=facts.samples,
        labelled=facts.labelled,
        unlabelled=facts.unlabelled,
        make_net=fresh,
        view=view,
        draws=draws,
        weak=view(policies[0]),
        strong=view(policies[1]),
    )
    method: Method[Any] = entry.method(config, task)
    return method.to(device)


def hidden_labels(images: ImageSet, split: Split) -> tuple[Tensor, Tensor]:
    """(labels that the learner may see, -1 elsewhere; labels that only scoring may see, -1 where nobody knows)."""
    seen = torch.full_like(images.y, -1)
    seen[split.labelled] = images.y[split.labelled]
    return seen, images.y
