"""Views of feature vectors [n, d]: standardised, with noise, and with some features taken from other training rows."""

import torch
from torch import Tensor

from halfseen.draws import Draws
from halfseen.errors import UserError


class VectorPolicy:
    """(x - mean) / std, then for each feature with probability `swap` the value that a random row of `reference` has.

    `reference` is a fixed sample of training rows, not the batch: were values swapped within the batch, a view would
    depend on its neighbours, and with several processes on how the batch was divided among them. A swapped value comes
    from the feature's own distribution over the training set (each feature from a row of its own, as in SCARF, Bahri
    et al. 2022, arXiv:2106.15147), so its scale is always right. Without a reference nothing is swapped.
    """

    def __init__(
        self,
        *,
        mean: Tensor,  # [d]
        std: Tensor,  # [d]
        draws: Draws,
        noise: int = 1,  # how often noise is added
        sd: float = 0.15,
        swap: float = 0.2,
        reference: Tensor | None = None,  # [r, d] raw
    ) -> None:
        if not 0 <= swap <= 1:
            raise UserError(f"swap={swap} is no probability; give a number from 0 to 1")
        if reference is not None and (reference.ndim != 2 or reference.shape[1] != len(mean) or len(reference) == 0):
            raise UserError(
                f"the reference sample has shape {list(reference.shape)}; give training rows of {len(mean)} features"
            )
        self.mean, self.std, self.draws = mean.float(), std.float(), draws
        self.noise, self.sd = noise, sd
        self.swap, self.reference = swap, None if reference is None else reference.float()

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        n, d = x.shape
        if self.mean.device != x.device:  # once, at the first batch
            self.mean, self.std = self.mean.to(x.device), self.std.to(x.device)
            self.reference = None if self.reference is None else self.reference.to(x.device)
        x = x.float()
        if self.reference is not None and self.swap > 0:
            source = self.draws.integers(0, len(self.reference), n, d).to(x.device, non_blocking=True)
            swapped = self.draws.uniform(n, d).to(x.device, non_blocking=True) < self.swap
            x = torch.where(swapped, self.reference.gather(0, source), x)
        view = (x - self.mean) / self.std
        for _ in range(self.noise):
            view = view + self.sd * self.draws.normal(n, d).to(x.device, non_blocking=True)
        return view
