"""What methods share that want the same answer to two noisy looks: passes, weights, and the labelled term's divisor.

    labelled term   mean over the labelled rows (ce_norm = labelled), or their sum over all rows (batch: as the releases of
                    Temporal Ensembling, its Pi model and the first Mean Teacher divide)
    w(t)            weight min(t, T)/T, or weight exp(-5 (1 - min(t, T)/T)^2), T the share `ramp` of training
    w_max           weight; weight N_L/N for Pi and Temporal Ensembling with ce_norm = batch, N all images

In a batch drawn from all images the sum over all rows is N_L/N of the mean over the labelled ones, on average: so the two
forms weigh the terms alike, and beside a mean the factor must be left out.
"""

from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from halfseen.machine.distributed import mean_count, world
from halfseen.parts.forward import frozen_batchnorm, together
from halfseen.parts.ramps import exp_rampup, linear_rampup

CeNorm = Literal["labelled", "batch"]
RampForm = Literal["linear", "exp"]


class Sizes(Protocol):
    """What is asked of the task."""

    @property
    def samples(self) -> int: ...
    @property
    def labelled(self) -> int: ...


def of_labelled(per_row: Tensor, rows: int, norm: CeNorm) -> Tensor:
    """The labelled term of a batch of `rows` rows in all; 0 without labelled rows, as a mixed batch may come."""
    count = len(per_row) if norm == "labelled" else rows
    if world() == 1:
        return per_row.sum() / max(1, count)
    over = mean_count(per_row.new_full((), count))  # processes may have one labelled row more or less, or none
    return per_row.sum() / torch.where(over > 0, over, 1)


def rising(weight: float, progress: float, ramp: float, form: RampForm) -> float:
    """w at this share of training."""
    return weight * (linear_rampup if form == "linear" else exp_rampup)(progress, ramp)


def w_max(weight: float, norm: CeNorm, task: Sizes) -> float:
    """The weight at the end of its ramp."""
    return weight * task.labelled / task.samples if norm == "batch" else weight


def both_kinds(net: nn.Module, x: Tensor, u: Tensor, one_forward: bool) -> tuple[Tensor, Tensor]:
    """Logits of labelled and unlabelled rows: in one forward, or each kind by its own statistics, of which those of the
    unlabelled rows are not remembered."""
    if one_forward:
        logits_x, logits_u = together(net, x, u)
        return logits_x, logits_u
    (logits_x,) = together(net, x)
    with frozen_batchnorm(net):
        (logits_u,) = together(net, u)
    return logits_x, logits_u
