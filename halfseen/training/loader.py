"""Batches of a training set: indices from seeded streams, pixels gathered from one tensor on (or near) the device."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from halfseen.data import ImageSet, MixedStream, Split, Stream
from halfseen.data.batches import equally
from halfseen.method import Batch, Epoch, Plan

SWEEP_ROWS = 512


class Streams(Protocol):
    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """The (labelled, unlabelled) ids of the whole batch number `step`."""
        ...


class Loader:
    """The training set of a run. It holds no label that the learner may not see: `y` is -1 wherever it is hidden."""

    def __init__(
        self, images: ImageSet, split: Split, device: torch.device, rank: int, world: int, balanced: bool = False
    ) -> None:
        """balanced: labelled images of every class come equally often."""
        self.device, self.rank, self.world = device, rank, world
        self.labelled, self.unlabelled = split.labelled, split.unlabelled
        self.y = torch.full_like(images.y, -1)
        self.y[split.labelled] = images.y[split.labelled]
        self.shown = equally(split.labelled, images.y[split.labelled]) if balanced else split.labelled
        self.x = images.x
        self.pin = False
        if device.type == "cuda":
            free = torch.cuda.mem_get_info(device)[0]
            if images.x.numel() * images.x.element_size() < free // 3:
                self.x = images.x.to(device)
            else:
                self.pin = True
        self.y_device = self.y.to(device)

    def gather(self, ids: Tensor) -> Tensor:
        """The images of these (host) ids, on the device."""
        if self.x.device == self.device:
            return self.x.index_select(0, ids.to(self.device, non_blocking=True))
        rows = self.x.index_select(0, ids)
        return (rows.pin_memory() if self.pin else rows).to(self.device, non_blocking=True)

    def streams(self, plan: Plan, epoch: Epoch, seed: int, selected: Tensor | None) -> Streams:
        """The order of the images in a stage whose epoch has this meaning."""
        rows_l, rows_u = plan.batch
        others = self.unlabelled if selected is None else selected
        if epoch == "mixed_pass":
            return OneStream(MixedStream(self.shown, others, rows_l + rows_u, seed))
        if epoch == "selected_pass":  # of images with a state each: every one once
            return Undivided(Stream(torch.cat([self.labelled, others]), rows_l + rows_u, seed, whole_laps=True))
        return TwoStreams(
            Stream(self.shown, rows_l, seed, whole_laps=epoch == "labeled_pass"),
            Stream(others, rows_u, seed + 1, whole_laps=epoch == "unlabeled_pass") if len(others) else None,
        )

    def batch(self, streams: Streams, step: int) -> Batch:
        """Batch number `step`, this process's rows of it."""
        x_ids, u_ids = streams.at(step)
        after = (
            self.rank - len(x_ids)
        ) % self.world  # rows are dealt in a ring, so that each process has as many in all
        x_ids, u_ids = x_ids[self.rank :: self.world], u_ids[after :: self.world]
        x, u = self.gather(x_ids), self.gather(u_ids)
        x_ids, u_ids = (ids.to(self.device, non_blocking=True) for ids in (x_ids, u_ids))
        return Batch(x, self.y_device[x_ids], u, x_ids, u_ids)

    def sweep(self, ids: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """(ids, raw images) of the whole set, or of `ids`, once and in order; every process sees them all."""
        chosen = torch.arange(len(self.x)) if ids is None else ids.cpu()
        for part in torch.split(chosen, SWEEP_ROWS):
            yield part.to(self.device), self.gather(part)


class TwoStreams:
    """Labelled and unlabelled images each in their own endless order; None: every image is labelled."""

    def __init__(self, labelled: Stream, unlabelled: Stream | None) -> None:
        self.labelled, self.unlabelled = labelled, unlabelled

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        none = torch.empty(0, dtype=torch.int64)
        return self.labelled.at(step), none if self.unlabelled is None else self.unlabelled.at(step)


class OneStream:
    """Labelled and unlabelled images shuffled together; how many of each a batch holds varies."""

    def __init__(self, mixed: MixedStream) -> None:
        self.mixed = mixed

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        return self.mixed.at(step)


class Undivided:
    """Images of both kinds shuffled together, all as unlabelled rows: batches of one size, whatever the mixture."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.none = torch.empty(0, dtype=torch.long)

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        return self.none, self.stream.at(step)
