"""Random numbers for the rows of a batch: the same for an image whether one process or several train.

Every process draws the numbers of the whole batch from generators that are seeded alike, and keeps those of its own
rows, `[rank::world]`. So a row's crop, noise or drawn class does not depend on how many processes share the work.
(Dropout has torch's own generator, which is shared in the same way: machine/shares.py.)
"""

from collections.abc import Callable

import torch
from torch import Tensor


class Draws:
    def __init__(self, generator: torch.Generator, rank: int = 0, world: int = 1) -> None:
        self.generator, self.rank, self.world = generator, rank, world
        self.share: Callable[[int], tuple[int, int]] | None = None  # where processes have not as many rows each

    @classmethod
    def seeded(cls, seed: int, device: torch.device | str = "cpu", rank: int = 0, world: int = 1) -> "Draws":
        return cls(torch.Generator(device=device).manual_seed(seed), rank, world)

    @property
    def device(self) -> torch.device:
        return self.generator.device

    def uniform(self, n: int, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Floats in [low, high), one block of `shape` for each of n rows."""
        rows, mine = self._rows(n)
        values = torch.empty(rows, *shape, device=self.device)
        return values.uniform_(low, high, generator=self.generator)[mine]

    def normal(self, n: int, *shape: int) -> Tensor:
        rows, mine = self._rows(n)
        values = torch.empty(rows, *shape, device=self.device)
        return values.normal_(generator=self.generator)[mine]

    def integers(self, low: int, high: int, n: int, *shape: int) -> Tensor:
        """Whole numbers in low..high-1."""
        rows, mine = self._rows(n)
        return torch.randint(low, high, (rows, *shape), generator=self.generator, device=self.device)[mine]

    def gumbel(self, n: int, *shape: int) -> Tensor:
        """Standard Gumbel noise: the argmax (top m) of log-weights plus it is a draw (m draws) in their proportion."""
        tiny = torch.finfo(torch.float32).tiny
        exponential = -torch.log(self.uniform(n, *shape).clamp_min(tiny))
        return -torch.log(exponential.clamp_min(tiny))

    def beta(self, a: float, b: float, n: int) -> Tensor:
        rows, mine = self._rows(n)
        one, two = (
            torch._standard_gamma(torch.full((rows,), v, device=self.device), generator=self.generator) for v in (a, b)
        )
        return (one / (one + two))[mine]

    def _rows(self, n: int) -> tuple[int, slice]:
        """How many rows all processes have, and which of them are these n."""
        whole, first = (n * self.world, self.rank) if self.share is None else self.share(n)
        return whole, slice(first, None, self.world)
