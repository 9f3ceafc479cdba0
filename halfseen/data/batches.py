"""The order in which images are seen: indices only, a function of the seed and the step, so that a resume is exact."""

import torch
from torch import Tensor

from halfseen.data.split import shuffled
from halfseen.errors import UserError


class Stream:
    """Batches of ids, endless, in laps: lap l is a permutation drawn with (seed, l).

    With `whole_laps` (and at least one full batch of ids) a lap is floor(n / batch) full batches and what is left over
    waits for the next lap; otherwise the laps follow one another without a seam and a batch may span two or more.
    """

    def __init__(self, ids: Tensor, batch: int, seed: int, whole_laps: bool) -> None:
        if batch < 1:
            raise UserError(f"A batch of {batch} images cannot be drawn: give at least 1.")
        if not len(ids):
            raise UserError("There are no images to draw batches from: this part of the split is empty.")
        self.ids, self.batch, self.seed = ids, batch, seed
        self.whole_laps = whole_laps and len(ids) >= batch
        self._laps: dict[int, Tensor] = {}

    @property
    def laps(self) -> int:
        """Batches per lap, at least 1."""
        return max(1, len(self.ids) // self.batch)

    def at(self, step: int) -> Tensor:
        """The ids of the global batch number `step`, int64 [batch]."""
        if self.whole_laps:
            lap, position = divmod(step, self.laps)
            return self._lap(lap)[position * self.batch : (position + 1) * self.batch]
        pieces, wanted = [], self.batch
        lap, position = divmod(step * self.batch, len(self.ids))
        while wanted:
            piece = self._lap(lap)[position : position + wanted]
            pieces.append(piece)
            wanted, lap, position = wanted - len(piece), lap + 1, 0
        return torch.cat(pieces)

    def _lap(self, lap: int) -> Tensor:
        if lap not in self._laps:
            while len(self._laps) > 1:  # two are enough: a batch at a seam needs the lap before and the one after
                del self._laps[min(self._laps)]
            self._laps[lap] = shuffled(self.ids, "lap", self.seed, lap)
        return self._laps[lap]


def equally(ids: Tensor, y: Tensor) -> Tensor:
    """The ids [n], those of a class repeated until it has as many as the largest; y [n] are their classes.

    A batch of the result is what weights n/(K n_k) of the losses are on average, without large ones on single rows.
    """
    counts = torch.bincount(y)
    most = int(counts.max())
    repeats = most // counts[y]
    place = torch.zeros_like(y)  # of an id among those of its class
    for k in range(len(counts)):
        own = (y == k).nonzero().flatten()
        place[own] = torch.arange(len(own))
    repeats = repeats + (place < (most % counts[y])).long()
    return ids.repeat_interleave(repeats)


class MixedStream:
    """Labelled and unlabelled images shuffled together (a mixed_pass): only the sum of the parts is fixed."""

    def __init__(self, labelled: Tensor, unlabelled: Tensor, batch: int, seed: int, whole_laps: bool = True) -> None:
        self.ids = torch.cat([labelled, unlabelled])
        self.num_labelled = len(labelled)
        self._stream = Stream(torch.arange(len(self.ids)), batch, seed, whole_laps)

    @property
    def laps(self) -> int:
        return self._stream.laps

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """The (labelled, unlabelled) ids of the global batch number `step`."""
        positions = self._stream.at(step)
        shows_label = positions < self.num_labelled
        return self.ids[positions[shows_label]], self.ids[positions[~shows_label]]
