"""Random numbers for the rows of a batch: the same for an image whether one process or several train.

Every process draws the numbers of the whole batch from generators that are seeded alike, and keeps those of its own
rows, `[rank::world]`. So a row's crop, noise or drawn class does not depend on how many processes share the work.
"""

import torch
from torch import Tensor


class Draws:
    def __init__(self, generator: torch.Generator, rank: int = 0, world: int = 1) -> None:
        self.generator, self.rank, self.world = generator, rank, world

    @classmethod
    def seeded(cls, seed: int, device: torch.device | str = "cpu", rank: int = 0, world: int = 1) -> "Draws":
        return cls(torch.Generator(device=device).manual_seed(seed), rank, world)

    @property
    def device(self) -> torch.device:
        return self.generator.device

    def uniform(self, n: int, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Floats in [low, high), one block of `shape` for each of n rows."""
        values = torch.empty(n * self.world, *shape, device=self.device)
        return self._mine(values.uniform_(low, high, generator=self.generator))

    def normal(self, n: int, *shape: int) -> Tensor:
        values = torch.empty(n * self.world, *shape, device=self.device)
        return self._mine(values.normal_(generator=self.generator))

    def integers(self, low: int, high: int, n: int, *shape: int) -> Tensor:
        """Whole numbers in low..high-1."""
        size = (n * self.world, *shape)
        return self._mine(torch.randint(low, high, size, generator=self.generator, device=self.device))

    def gumbel(self, n: int, *shape: int) -> Tensor:
        """Standard Gumbel noise: the argmax (top m) of log-weights plus it is a draw (m draws) in their proportion."""
        tiny = torch.finfo(torch.float32).tiny
        exponential = -torch.log(self.uniform(n, *shape).clamp_min(tiny))
        return -torch.log(exponential.clamp_min(tiny))

    def beta(self, a: float, b: float, n: int) -> Tensor:
        one, two = (
            torch._standard_gamma(torch.full((n * self.world,), v, device=self.device), generator=self.generator)
            for v in (a, b)
        )
        return self._mine(one / (one + two))

    def _mine(self, values: Tensor) -> Tensor:
        return values[self.rank :: self.world] if self.world > 1 else values
