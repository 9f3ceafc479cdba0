"""Domain adaptation: labelled images from one set, unlabelled and test images from another, as one ImageSet."""

from collections.abc import Callable
from typing import Any

import torch

from halfseen.data.sets import ImageSet, check_set
from halfseen.errors import UserError

ARROW = "->"  # "usps->mnist": labels from the first, the task on the second


def open_pair(source: str, target: str, open_one: Callable[..., ImageSet], **settings: Any) -> ImageSet:
    """The source's training images (all their labels given), then the target's (none given), with the target's test part.

    The source is resized to the target's size with cubic splines, once. Both are normalised as (x - 0.5) / 0.5, since
    the statistics of one domain would be wrong for the other.
    """
    to = open_one(target, **settings)
    if not to.is_images:
        raise UserError(f"{target} holds feature vectors; adaptation between sets is for images")
    side = (to.shape[1], to.shape[2])
    known = open_one(source, **{**settings, "size": side, "channels": settings.get("channels") or to.shape[0]})
    missing = sorted(set(known.classes) - set(to.classes))
    if missing or len(known.classes) < 2:
        raise UserError(f"{source} has the class {missing[0]!r} and {target} has not; give sets with the same classes")
    place = torch.tensor([to.classes.index(c) for c in known.classes])
    labels = torch.where(known.y >= 0, place[known.y.clamp_min(0)], known.y)
    given = torch.cat([known.given, torch.zeros_like(to.given)])
    half = torch.full((to.shape[0],), 0.5)
    return check_set(
        ImageSet(
            name=f"{source}{ARROW}{target}",
            classes=to.classes,
            x=torch.cat([known.x, to.x]),
            y=torch.cat([labels, to.y]),
            given=given,
            mean=half,
            std=half.clone(),
            flip=known.flip and to.flip,
            test_x=to.test_x,
            test_y=to.test_y,
            note=" ".join(n for n in (known.note, to.note) if n),
            skipped=(*known.skipped, *to.skipped),
            odd=(*known.odd, *to.odd),
            two_domains=True,
        )
    )
