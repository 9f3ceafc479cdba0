"""The bank of views: what a frozen backbone makes of every image, clean and seen anew V times, kept on the disk.

    row(image, view) = backbone(view(image))    float16 [d]

A row depends on the image, the number of its view, the policies, the seed and the backbone's weights, and on nothing else:
each image has random numbers of its own (ByImage). So one store for each backbone, size and pair of policies serves every
folder; an image that was added, or another view, costs only its own rows, and a kill costs the rows of one chunk.

The files are those of data/store.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from halfseen.data.sets import ImageSet
from halfseen.data.store import Asked, Features, Store, Views, digests
from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.machine.progress import Meter

STATS_ROWS = 20_000  # that mean and deviation are measured on


@dataclass(frozen=True, eq=False)
class Bank:
    """The rows of one set of images: `look` is all that training sees of it."""

    dim: int
    rows: Tensor  # [N] of image number n: which row of the files
    kinds: Mapping[str, tuple[Tensor, ...]]  # "clean", "weak", "strong": float16 [M, d] for each view, mapped

    def look(self, kind: str, numbers: Tensor, draws: Draws) -> Tensor:
        """[n, d] float32 of images [n, 1]: of each a random view of the kind."""
        views, rows = self.kinds[kind], self.rows[numbers[:, 0].cpu()]
        if len(views) == 1:
            return views[0][rows].float().to(numbers.device, non_blocking=True)
        chosen = draws.integers(0, len(views), len(numbers)).cpu()
        found = torch.empty(len(numbers), self.dim)
        for v, view in enumerate(views):
            here = (chosen == v).nonzero()[:, 0]
            found[here] = view[rows[here]].float()
        return found.to(numbers.device, non_blocking=True)

    def clean(self, numbers: Tensor) -> Tensor:
        """[n, d] float32 of images [n]."""
        return self.kinds["clean"][0][self.rows[numbers]].float()

    def every_view(self, numbers: Tensor) -> Tensor:
        """[n, V, d] float32: the clean row and all weak and strong ones."""
        views = [view for kind in ("clean", "weak", "strong") for view in self.kinds[kind]]
        return torch.stack([view[self.rows[numbers]].float() for view in views], 1)


def banked(
    images: ImageSet,
    backbone: Features,
    views: Views,
    *,
    seed: int = 0,
    cache_dir: Path | None = None,
    progress: bool = True,
    only_clean: bool = False,
    only: Tensor | None = None,
) -> ImageSet:
    """The same set with numbers of images for rows, and the bank that knows what they stand for.

    Test and validation images are kept clean only, and so are all with only_clean, or all but `only` these of x.
    """
    need_pictures(images, backbone)
    store = Store.open(backbone, images, seed, cache_dir)
    parts = {name: part for name in ("x", "val_x", "test_x") if (part := getattr(images, name)) is not None}
    asked = Asked(views, only_clean, None if only is None else only.numpy())
    sums = {name: digests(part) for name, part in parts.items()}
    rows = store.ready(sums, asked)
    if rows is None:
        rows = added(store, parts, sums, backbone, asked, progress=progress)
    kinds = store.kinds(views, only_clean)
    bank = Bank(backbone.dim, torch.cat(list(rows.values())), kinds)
    numbers: dict[str, Any] = {}
    start = 0
    for name, part in parts.items():
        numbers[name] = torch.arange(start, start + len(part))[:, None]
        start += len(part)
    mean, std = spread(bank, numbers["x"][:, 0])
    return replace(images, **numbers, mean=mean, std=std, flip=False, bank=bank, sums=())


def added(
    store: Store,
    parts: Mapping[str, Tensor],
    sums: Mapping[str, Any],
    backbone: Features,
    asked: Asked,
    *,
    progress: bool,
) -> dict[str, Tensor]:
    """The rows of these images, when those that were missing have been made; one process at a time."""
    with store.alone():
        rows = {name: store.rows_of(digest) for name, digest in sums.items()}
        missing = store.missing(rows, asked)
        store.need_room(missing)
        with Meter(f"{backbone.name} looks at views", sum(len(m) for _, _, m in missing), not progress) as meter:
            look = backbone.frozen() if missing else None
            for name, view, at in missing:
                assert look is not None
                store.fill(parts[name], sums[name], rows[name], view, at, look, meter)
    return rows


def spread(bank: Bank, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of the clean rows [d], and one deviation for all features, so that what is centred keeps its angles."""
    rows = bank.clean(numbers[:: 1 + len(numbers) // STATS_ROWS]).double()
    mean = rows.mean(0)
    deviation = (rows - mean).square().mean().sqrt().clamp_min(1e-6)
    return mean.float(), deviation.float().expand(len(mean)).clone()


def need_pictures(images: ImageSet, backbone: Features) -> None:
    if not images.is_images:
        raise UserError(f"{images.name} holds vectors, and a backbone looks at pictures; take --backbone none")
    if min(images.shape[1:]) < backbone.least:
        h, w = images.shape[1:]
        raise UserError(
            f"{backbone.name} needs pictures of at least {backbone.least}x{backbone.least} pixels, and these have "
            f"{h}x{w}: give a larger --size"
        )
