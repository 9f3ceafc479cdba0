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
        self.said: Tensor | None = None  # [K] how many unlabelled images each class was taught of, or would have been

    def add(self, names: tuple[str, ...], pairs: Tensor) -> None:
        self.sums[names] = self.sums[names] + pairs if names in self.sums else pairs

    def add_losses(self, losses: Losses, step: int) -> None:
        terms = tuple(losses.terms)
        values = torch.stack([v.detach() for v in (*losses.terms.values(), *losses.stats.values())]).double()
        self.add((*terms, *losses.stats), torch.stack([values, torch.ones_like(values)]))
        first = torch.where(torch.isfinite(values[: len(terms)]), math.inf, float(step))
        self.bad[terms] = torch.minimum(self.bad[terms], first) if terms in self.bad else first

    def add_scores(self, taught: Unlabelled, truth: Tensor, labelled: Tensor | None = None) -> None:
        """How right the teaching was of images whose hidden label is known; labelled [U]: rows whose label is shown.

        What is taught to the latter is logged by itself: to be right of labels that were trained on is no merit.
        """
        kept, known = taught.kept, truth >= 0
        hidden = known if labelled is None else known & ~labelled
        right = kept & (taught.target.argmax(1) == truth)
        names = ["mask_rate", "pseudo_accuracy"]
        above, below = [kept.sum(), (right & hidden).sum()], [torch.ones_like(kept).sum(), (kept & hidden).sum()]
        if labelled is not None:
            names.append("labelled_pseudo_accuracy")
            above.append((right & known & labelled).sum())
            below.append((kept & known & labelled).sum())
        if taught.negatives is not None:
            rows = hidden.unsqueeze(1) & taught.negatives
            names.append("negative_error")
            above.append(rows.gather(1, truth.clamp_min(0).unsqueeze(1)).sum())
            below.append(rows.sum())
        self.add(tuple(names), torch.stack([*above, *below]).double().view(2, -1))
        said = torch.zeros(taught.target.shape[1], dtype=torch.float64, device=kept.device)
        said.index_add_(0, taught.target.argmax(1), torch.ones_like(kept, dtype=torch.float64))
        self.said = said if self.said is None else self.said + said

    def state(self) -> dict[str, Any]:
        return {"sums": dict(self.sums), "bad": dict(self.bad), "said": self.said}

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        self.sums = {k: v.to(device) for k, v in state["sums"].items()}
        self.bad = {k: v.to(device) for k, v in state["bad"].items()}
        said = state.get("said")  # a state of earlier versions has none
        self.said = None if said is None else said.to(device)

    @property
    def spoiled(self) -> bool:
        """Was any term not finite? Waits for the device."""
        return any(bool((first < math.inf).any()) for first in self.bad.values())

    def read(self) -> tuple[dict[str, float], tuple[str, int] | None]:
        """Means since the last reading, and the first term that was not finite with its step: one transfer.

        rarest: how often the class that is least predicted of unlabelled images is, 1 for an equal share; rarest_class.
        """
        if not self.sums:
            return {}, None
        names, terms = [n for group in self.sums for n in group], [t for group in self.bad for t in group]
        pairs = torch.cat(list(self.sums.values()), 1)  # [2, names]
        classes = pairs.new_zeros(0) if self.said is None else self.said
        distributed.average([pairs, classes] if len(classes) else [pairs])
        firsts_of = [first.double() for first in self.bad.values()]
        row = torch.cat([classes, pairs.flatten(), *firsts_of]).tolist()
        said, row = row[: len(classes)], row[len(classes) :]
        above, below, steps = row[: len(names)], row[len(names) : 2 * len(names)], row[2 * len(names) :]
        sums: dict[str, tuple[float, float]] = {}
        for name, a, b in zip(names, above, below, strict=True):  # several updates of a step may share a name
            was = sums.get(name, (0.0, 0.0))
            sums[name] = (was[0] + a, was[1] + b)
        firsts = [(step, t) for t, step in zip(terms, steps, strict=True) if step < math.inf]
        self.sums, self.bad, self.said = {}, {}, None
        means = {name: a / b for name, (a, b) in sums.items() if b > 0}
        if said:
            means |= {"rarest": min(said) * len(said) / sum(said), "rarest_class": float(said.index(min(said)))}
        return means, (min(firsts)[1], int(min(firsts)[0])) if firsts else None
