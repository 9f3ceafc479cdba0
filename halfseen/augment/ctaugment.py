"""CTAugment (Berthelot et al. 2020, ReMixMatch, arXiv:1911.09785): learn how strong each op may be.

    p_j = rate_j + 1 - decay, divided by its maximum, 0 below the threshold     weight of bin j of an op
    rate_j <- decay rate_j + (1 - decay) omega                                  for every bin a probe used
    omega  = 1 - 1/2 sum_k |p_k - y_k|                                          how well a probe view was recognised

Each op's strength is cut into bins; a strong view draws its ops uniformly and their bins by weight; a probe view of a
labelled image draws bins uniformly, and tells by omega how well such a view is still recognised.

A batch probes a bin m times at once: then rate_j <- decay^m rate_j + (1 - decay^m) mean omega. For m = 1 that is the
line above; for more it is what m updates one after the other give when their omegas are equal, and it needs only counts
and sums, which processes can add up, and which do not depend on the order of the images.

Departures from google-research/fixmatch: no blur and no cutout among the ops (every strong view ends with a hole of
half the side anyway), one resampling filter for rescale, and the magnitudes of both parameters of an op are one.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from halfseen.augment.chain import apply_chain
from halfseen.augment.geometry import Pending
from halfseen.augment.randaugment import Range, menu
from halfseen.augment.steps import GREY, Cutout, Finish, Step, run_steps
from halfseen.draws import Draws
from halfseen.errors import UserError

WIDE: Range = (0.1, 2.0)
OPS_CTA: tuple[tuple[str, Range, int], ...] = (  # name, amount at strength 0 and 1, bins
    ("autocontrast", (0.0, 1.0), 17),
    ("brightness", WIDE, 17),
    ("colour", WIDE, 17),
    ("contrast", WIDE, 17),
    ("equalise", (0.0, 1.0), 17),
    ("identity", (0.0, 0.0), 1),
    ("invert", (0.0, 1.0), 17),
    ("posterise", (1.0, 8.999), 8),
    ("rescale", (1.0, 0.5), 17),
    ("rotate", (-45.0, 45.0), 17),
    ("sharpness", WIDE, 17),
    ("shear_x", (-0.3, 0.3), 17),
    ("shear_y", (-0.3, 0.3), 17),
    ("smooth", (0.0, 1.0), 17),
    ("solarise", (0.0, 256.0), 17),
    ("translate_x", (-0.3, 0.3), 17),
    ("translate_y", (-0.3, 0.3), 17),
)
RANGES = tuple((name, pair) for name, pair, _ in OPS_CTA)
BINS = max(bins for _, _, bins in OPS_CTA)


class CTAugment(nn.Module):
    """Callable as a view (`strong`); `rates` is a buffer, so a checkpoint of the method that owns this holds it."""

    rates: Tensor  # [ops, BINS]
    bins: Tensor  # [ops] how many of them exist

    def __init__(
        self,
        *,
        draws: Draws,
        finish: Finish,
        before: Sequence[Step] = (),
        after: Sequence[Step] = (),
        depth: int = 2,
        threshold: float = 0.8,
        decay: float = 0.99,
        fill: int = 0,
    ) -> None:
        super().__init__()
        if depth < 1 or not 0 <= threshold < 1 or not 0 < decay < 1:
            raise UserError(
                f"depth={depth}, threshold={threshold}, decay={decay}: CTAugment needs depth >= 1, "
                "threshold in [0, 1) and decay in (0, 1)"
            )
        self.draws, self.finish, self.before = draws, finish, tuple(before)
        self.after: tuple[Step, ...] = (Cutout((0.5, 0.5), (GREY,), fill), *after)
        self.depth, self.threshold, self.decay, self.fill = depth, threshold, decay, fill
        self.register_buffer("rates", torch.ones(len(OPS_CTA), BINS))
        self.register_buffer("bins", torch.tensor([bins for _, _, bins in OPS_CTA]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.strong(x)

    @torch.no_grad()
    def strong(self, x: Tensor) -> Tensor:
        """A view as strong as the rates allow, with a hole. [n, c, h, w] uint8 -> float32."""
        n = len(x)
        op = self._ops(x)
        share = self.draws.uniform(n, self.depth).to(x.device, non_blocking=True).double()
        reach = self._on(x, self.weights()).double().cumsum(1)[op]  # [n, depth, BINS]
        chosen = (reach <= (share[..., None] * reach[..., -1:])).sum(2)  # [n, depth] a bin by weight
        return self._view(x, op, chosen, self.after)

    @torch.no_grad()
    def probe(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A view with ops and bins drawn uniformly and no hole, and the record [n, depth] of the bins it used."""
        op = self._ops(x)
        share = self.draws.uniform(len(x), self.depth).to(x.device, non_blocking=True)
        chosen = (share * self._on(x, self.bins)[op]).long()
        return self._view(x, op, chosen, ()), op * BINS + chosen

    @torch.no_grad()
    def tally(self, record: Tensor, omega: Tensor) -> Tensor:
        """[2, ops, BINS] float64: how often each bin was used, and the sum of omega [n] over its uses."""
        used = torch.arange(len(OPS_CTA) * BINS, device=record.device) == record[:, :, None]  # [n, depth, ops * BINS]
        uses = used.sum(1, dtype=torch.float64)  # [n, ops * BINS]
        return torch.stack((uses.sum(0), (uses * omega.double()[:, None]).sum(0))).view(2, len(OPS_CTA), BINS)

    @torch.no_grad()
    def update(self, record: Tensor, omega: Tensor, add_up: Callable[[Tensor], Tensor] | None = None) -> None:
        """Move the rates of the bins in `record` [n, depth] towards omega [n].

        With several processes give either the records and omegas of all of them, or `add_up`, which returns the sum of
        a tensor over the processes; both give every process the same rates.
        """
        tally = self.tally(record, omega)
        count, total = self._on(self.rates, tally if add_up is None else add_up(tally))
        kept = self.decay**count
        mean = total / count.clamp_min(1)
        self.rates.copy_(kept * self.rates + (1 - kept) * mean)

    def weights(self) -> Tensor:
        """[ops, BINS] sampling weight of each bin; 0 below the threshold and where an op has fewer bins."""
        exist = torch.arange(BINS, device=self.rates.device) < self.bins[:, None]
        weight = torch.where(exist, self.rates + 1 - self.decay, 0.0)
        weight = weight / weight.amax(1, keepdim=True)
        return torch.where(weight < self.threshold, 0.0, weight)

    def _ops(self, x: Tensor) -> Tensor:
        return self.draws.integers(0, len(OPS_CTA), len(x), self.depth).to(x.device, non_blocking=True)

    def _view(self, x: Tensor, op: Tensor, chosen: Tensor, after: Sequence[Step]) -> Tensor:
        within = self.draws.uniform(len(x), self.depth).to(x.device, non_blocking=True)
        strength = (chosen + within) / self._on(x, self.bins)[op]  # [n, depth] somewhere in the bin
        choices = menu(RANGES, *x.shape[-2:], x.device)
        amounts = choices.low[op] + choices.span[op] * strength

        def chain(images: Tensor, pending: Pending | None, _: Draws) -> tuple[Tensor, Pending | None]:
            ids, used = choices.ids[op], tuple(name for name, _ in RANGES)
            grouped = x.device.type == "cpu"
            return apply_chain(images, ids, amounts, pending, self.fill, used=used, grouped=grouped)

        return self.finish(run_steps((*self.before, chain, *after), x, self.draws, self.fill), x, self.draws)

    def _on(self, x: Tensor, values: Tensor) -> Tensor:
        return values.to(x.device, non_blocking=True)
