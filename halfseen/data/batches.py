"""The order in which images are seen: indices only, a function of the seed and the step, so that a resume is exact."""

import torch
from torch import Tensor

from halfseen.data.split import shuffled, stable_seed
from halfseen.errors import UserError


class Stream:
    """Batches of ids, endless, in laps: lap l is a permutation drawn with (seed, l).

    With `whole_laps` (and at least one full batch of ids) a lap is floor(n / batch) full batches and what is left over
    waits for the next lap; otherwise the laps follow one another without a seam and a batch may span two or more.
    `times` [n], of mean 1, says how often each id comes in a lap on average: it comes as often, rounded up or down.
    """

    def __init__(self, ids: Tensor, batch: int, seed: int, whole_laps: bool, times: Tensor | None = None) -> None:
        if batch < 1:
            raise UserError(f"A batch of {batch} images cannot be drawn: give at least 1.")
        if not len(ids):
            raise UserError("There are no images to draw batches from: this part of the split is empty.")
        self.ids, self.batch, self.seed, self.times = ids, batch, seed, times
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
            ids = self.ids if self.times is None else self.ids[picked(self.times, self.seed, lap)]
            self._laps[lap] = shuffled(ids, "lap", self.seed, lap)
        return self._laps[lap]


def picked(times: Tensor, *seed: int | str) -> Tensor:
    """[n] positions, each floor or ceil of `times` often, and so each group of equal times (a class) as a whole.

    Systematic sampling: the times lie end to end on a line, a group beside its like, in random order within it, and every
    whole number after a random start picks what it falls on.
    """
    n = len(times)
    order = shuffled(torch.arange(n), "picked", *seed)
    order = order[times[order].argsort(stable=True)]
    ends = times[order].double().cumsum(0)
    start = torch.rand(1, generator=torch.Generator().manual_seed(stable_seed("start", *seed)), dtype=torch.float64)
    return order[torch.searchsorted(ends, start + torch.arange(n), right=True).clamp_max(n - 1)]


def beside(times: Tensor | None, others: Tensor) -> Tensor | None:
    """Of labelled images, and of others behind them, which come once each."""
    return None if times is None else torch.cat([times, times.new_ones(len(others))])


class MixedStream:
    """Labelled and unlabelled images shuffled together (a mixed_pass): only the sum of the parts is fixed."""

    def __init__(
        self,
        labelled: Tensor,
        unlabelled: Tensor,
        batch: int,
        seed: int,
        whole_laps: bool = True,
        times: Tensor | None = None,
    ) -> None:
        self.ids = torch.cat([labelled, unlabelled])
        self.num_labelled = len(labelled)
        self._stream = Stream(torch.arange(len(self.ids)), batch, seed, whole_laps, beside(times, unlabelled))

    @property
    def laps(self) -> int:
        return self._stream.laps

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """The (labelled, unlabelled) ids of the global batch number `step`."""
        positions = self._stream.at(step)
        shows_label = positions < self.num_labelled
        return self.ids[positions[shows_label]], self.ids[positions[~shows_label]]
