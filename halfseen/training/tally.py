"""What steps report, summed on the device: losses, statistics, and how right the teaching was."""

import math
from typing import Any

import torch
from torch import Tensor

from halfseen.machine import distributed
from halfseen.method import Losses, Unlabelled


class Tally:
    """Running sums of what steps report, kept on the device until they are asked for.

    What is reported together is summed together: a step costs a few small operations, however many names it has.
    """

    def __init__(self) -> None:
        self.sums: dict[tuple[str, ...], Tensor] = {}  # names -> [2, names] numerators and denominators
        self.bad: dict[tuple[str, ...], Tensor] = {}  # loss terms -> the first step at which each was not finite

    def add(self, names: tuple[str, ...], pairs: Tensor) -> None:
        self.sums[names] = self.sums[names] + pairs if names in self.sums else pairs

    def add_losses(self, losses: Losses, step: int) -> None:
        terms = tuple(losses.terms)
        values = torch.stack([v.detach() for v in (*losses.terms.values(), *losses.stats.values())]).double()
        self.add((*terms, *losses.stats), torch.stack([values, torch.ones_like(values)]))
        first = torch.where(torch.isfinite(values[: len(terms)]), math.inf, float(step))
        self.bad[terms] = torch.minimum(self.bad[terms], first) if terms in self.bad else first

    def add_scores(self, taught: Unlabelled, truth: Tensor, labelled: Tensor | None = None) -> None:
        """How right the teaching was, where the hidden labels are known; labelled [U]: rows that are labelled images too.

        What is taught to those is logged by itself as well. A method whose unlabelled images leave out the labelled ones
        has no such rows, and nothing is logged.
        """
        kept, known = taught.kept, truth >= 0
        scored = kept & known
        right = scored & (taught.target.argmax(1) == truth)
        names = ["mask_rate", "pseudo_accuracy"]
        above, below = [kept.sum(), right.sum()], [torch.ones_like(kept).sum(), scored.sum()]
        if labelled is not None:
            names.append("labelled_pseudo_accuracy")
            above.append((right & labelled).sum())
            below.append((scored & labelled).sum())
        if taught.negatives is not None:
            rows = known.unsqueeze(1) & taught.negatives
            names.append("negative_error")
            above.append(rows.gather(1, truth.clamp_min(0).unsqueeze(1)).sum())
            below.append(rows.sum())
        self.add(tuple(names), torch.stack([*above, *below]).double().view(2, -1))

    def state(self) -> dict[str, Any]:
        return {"sums": dict(self.sums), "bad": dict(self.bad)}

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        self.sums = {k: v.to(device) for k, v in state["sums"].items()}
        self.bad = {k: v.to(device) for k, v in state["bad"].items()}

    @property
    def spoiled(self) -> bool:
        """Was any term not finite? Waits for the device."""
        return any(bool((first < math.inf).any()) for first in self.bad.values())

    def read(self) -> tuple[dict[str, float], tuple[str, int] | None]:
        """Means since the last reading, and the first term that was not finite with its step: one transfer."""
        if not self.sums:
            return {}, None
        names, terms = [n for group in self.sums for n in group], [t for group in self.bad for t in group]
        pairs = torch.cat(list(self.sums.values()), 1)  # [2, names]
        distributed.average([pairs])
        row = torch.cat([pairs.flatten(), *(first.double() for first in self.bad.values())]).tolist()
        above, below, steps = row[: len(names)], row[len(names) : 2 * len(names)], row[2 * len(names) :]
        sums: dict[str, tuple[float, float]] = {}
        for name, a, b in zip(names, above, below, strict=True):  # several updates of a step may share a name
            was = sums.get(name, (0.0, 0.0))
            sums[name] = (was[0] + a, was[1] + b)
        firsts = [(step, t) for t, step in zip(terms, steps, strict=True) if step < math.inf]
        self.sums, self.bad = {}, {}
        means = {name: a / b for name, (a, b) in sums.items() if b > 0}
        return means, (min(firsts)[1], int(min(firsts)[0])) if firsts else None
