"""What a method must know of its data: small enough for a json file."""

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from halfseen.augment import Whitening
from halfseen.data import ImageSet, Split
from halfseen.errors import UserError
from halfseen.overrides import check, tuples


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
    adjust: tuple[float, ...] = ()  # subtracted from the logits: tau log of the labels' shares
    whitening: Whitening | None = field(default=None, compare=False, repr=False)  # kept with weights, not in json

    @classmethod
    def of(
        cls,
        images: ImageSet,
        split: Split,
        per_image: bool = False,
        whitening: Whitening | None = None,
        tau: float = 0.0,
    ) -> "Facts":
        """tau: of the logits' adjustment."""
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
            shift(images.y[split.labelled], len(images.classes), tau),
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
        if len(facts.adjust) not in (0, len(facts.classes)):
            raise UserError(f"facts.adjust has {len(facts.adjust)} numbers for {len(facts.classes)} classes")
        return facts

    def as_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in STORED}


def shift(y: Tensor, classes: int, tau: float) -> tuple[float, ...]:
    """tau log(n_k / n) of every class; nothing where it would change nothing."""
    if not tau:
        return ()
    shares = torch.bincount(y, minlength=classes).double().clamp_min(0.5) / len(y)  # a fold may have none of a class
    return tuple((tau * shares.log()).tolist())


STORED = tuple(f for f in fields(Facts) if f.name != "whitening")
