"""Which methods run on these data with these settings: each is built and does its first steps on a few of the images."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from halfseen.data import ImageSet
from halfseen.errors import UserError
from halfseen.run.beginning import open_images
from halfseen.run.session import Session
from halfseen.run.start import settled
from halfseen.settings import Settings

A_CLASS = 12  # images
LABELS = 1  # of them


def those_that_run(
    data: Any, names: Sequence[str], s: Settings, tried: Callable[[str], None]
) -> tuple[list[str], dict[str, str]]:
    """Names in their order, and why the others do not run, in the sentence that a run would end with.

    What hangs on all the images, such as too few labels of a class, is no method's fault and shows when they run.
    """
    s, _ = settled(data, replace(s, quiet=True))
    few = some_of(open_images(data, s))
    found, why = [], {}
    for name in names:
        own = replace(s, method=name, num_labels=None, labels_per_class=LABELS, val="none", extra_val_per_class=0)
        try:
            Session(few, replace(own, minutes=None, epochs=None, passes=None, steps=1, tensorboard=False), None)
        except UserError as e:
            why[name] = str(e)
        else:
            found.append(name)
        tried(name)
    return found, why


def some_of(images: ImageSet) -> ImageSet:
    """A few images of each class among those whose label is shown, and as many of the others."""
    shown = [(images.given & (images.y == k)).nonzero()[:A_CLASS, 0] for k in range(images.num_classes)]
    hidden = (~images.given).nonzero()[: A_CLASS * images.num_classes, 0]
    ids = torch.cat([*shown, hidden])
    test_x, test_y = (None if part is None else part[:A_CLASS] for part in (images.test_x, images.test_y))
    return replace(
        images,
        x=images.x[ids],
        y=images.y[ids],
        given=images.given[ids],
        test_x=test_x,
        test_y=test_y,
        val_x=None,
        val_y=None,
        paths=None,
        test_paths=None,
        val_paths=None,
        sums=(),
    )
