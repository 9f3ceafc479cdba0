"""Predictors scored on images that training did not see: quickly while it goes on, in full at the end."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from halfseen.data import ImageSet, Split
from halfseen.machine import distributed
from halfseen.method import Data, Method, View
from halfseen.parts.norms import measured
from halfseen.training import metrics

ROWS = 500


@torch.no_grad()
def logits_of(
    net: nn.Module, x: Tensor, clean: View, device: torch.device, rows: int = ROWS, chosen: Tensor | None = None
) -> Tensor:
    """Logits [n, K] on the host, in eval mode, of raw images, all or the chosen ones; the processes share the rows."""
    was = net.training
    net.eval()
    world = distributed.world()
    n = len(x) if chosen is None else len(chosen)
    mine = torch.arange(-(-n // world)) * world + distributed.rank()
    mine = mine.clamp_max(n - 1)  # the last round may not have a row for every process
    mine = mine if chosen is None else chosen[mine]
    outs = [net(clean(x.index_select(0, ids).to(device, non_blocking=True))).float() for ids in torch.split(mine, rows)]
    net.train(was)
    return distributed.gather_rows(torch.cat(outs))[:n].cpu()


def adjusted(logits: Tensor, adjust: tuple[float, ...]) -> Tensor:
    """[n, K] log p(y|x) less tau log of the labels' share of y (Menon et al. 2021), up to a constant: what is predicted."""
    return logits - logits.new_tensor(adjust) if adjust else logits


def corrections(headline: Tensor, other: Tensor) -> dict[str, int]:
    """How many images a predictor gets right that the headline gets wrong, and the reverse; nothing for the headline."""
    if headline is other:
        return {}
    right, lost = (other & ~headline).sum(), (headline & ~other).sum()
    return {"true_corrections": int(right.item()), "false_corrections": int(lost.item())}


class Judge:
    """Holds the parts that predictors are scored on: `val` (chooses) and `test` (never chooses)."""

    def __init__(
        self,
        parts: Mapping[str, tuple[Tensor, Tensor]],
        clean: View,
        device: torch.device,
        test_curve: bool = False,
        data: Data | None = None,
        adjust: tuple[float, ...] = (),
    ) -> None:
        """data: the training set, for batch-norm statistics of the predictors' own; none: they stay as they are.

        adjust: what is subtracted from the logits.
        """
        self.parts = {name: part for name, part in parts.items() if len(part[0])}
        self.clean, self.device, self.data, self.adjust = clean, device, data, adjust
        self.watches = [n for n in self.parts if n != "test" or test_curve]  # while training goes on

    def during(self, method: Method[Any]) -> dict[str, Any]:
        """Accuracy and loss of every predictor on the validation part; on the test part too if a curve was asked for."""

        def brief(logits: Tensor, y: Tensor) -> dict[str, Any]:
            right = (logits.argmax(1) == y).double().mean().item()
            return {"accuracy": right, "nll": nn.functional.cross_entropy(logits, y).item()}

        return {"predictors": self.scores(method, self.watches, brief)}

    def at_end(self, method: Method[Any], classes: int) -> dict[str, dict[str, Any]]:
        """Everything about every predictor on every part."""
        return self.scores(method, self.parts, lambda logits, y: metrics.summary(logits, y, classes))

    def scores(
        self, method: Method[Any], parts: Iterable[str], score: Callable[[Tensor, Tensor], dict[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        """By predictor and part: its scores, and what it corrects and spoils of the headline, the first predictor."""
        found: dict[str, dict[str, Any]] = {}
        headline: dict[str, Tensor] = {}
        for predictor, net in method.predictors().items():
            found[predictor] = {}
            with self.as_scored(method, net):
                outs = {name: self.logits(net, self.parts[name][0]) for name in parts}
            for name, logits in outs.items():
                y = self.parts[name][1]
                right = logits.argmax(1) == y
                found[predictor][name] = score(logits, y) | corrections(headline.setdefault(name, right), right)
        return found

    def as_scored(self, method: Method[Any], net: nn.Module) -> contextlib.AbstractContextManager[None]:
        """Within it a predictor is what is scored, saved and exported: with the statistics that `method.norm` names."""
        if self.data is None or method.norm != "measured":
            return contextlib.nullcontext()
        return measured(self.data, self.clean, net, rows=method.norm_rows)

    def logits(self, net: nn.Module, x: Tensor, chosen: Tensor | None = None) -> Tensor:
        return adjusted(logits_of(net, x, self.clean, self.device, chosen=chosen), self.adjust)


def scored_parts(images: ImageSet, split: Split) -> dict[str, tuple[Tensor, Tensor]]:
    """`val`, held out or given with the data, and `test`, where there are any."""
    parts = {}
    if len(split.val):
        parts["val"] = (images.x[split.val], images.y[split.val])
    elif images.val_x is not None and images.val_y is not None:
        parts["val"] = (images.val_x, images.val_y)
    if images.test_x is not None and images.test_y is not None:
        parts["test"] = (images.test_x, images.test_y)
    return parts
