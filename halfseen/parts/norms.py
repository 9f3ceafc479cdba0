"""Batch-norm statistics of a network's own, measured anew on clean images of its training rows.

    mean_c = 1/n sum x_c,   var_c = 1/(n-1) sum (x_c - mean_c)^2        over the n values of channel c in all rows

Running statistics come from labelled and strong, noisy views, and copied ones do not fit an average of weights. So
before a network is scored, saved or asked for labels in evaluation mode it is given these for a while. Rows go through in
groups of at most GROUP, each normalised by its own statistics as in training, with dropout and noise off; the groups'
means and squares about them are pooled, so that a norm on the input has the statistics of one large batch exactly.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal, Protocol, cast

import torch
from torch import Tensor, nn

from halfseen.parts.forward import batch_norms, eagerly, eval_mode, frozen_batchnorm

# Of what is scored: measured anew; or the running ones, which an average has copied from its network, or averaged as weights
Norm = Literal["measured", "copied", "averaged"]
RunningNorm = Literal["measured", "copied"]  # of a network that is not an average

NormRows = Literal["labelled", "all"]  # the training images that a method's statistics are measured on
View = Callable[[Tensor], Tensor]

MOST = 2048  # rows; the mean of a channel is then known to 2% of its deviation at worst
GROUP = 512


class Data(Protocol):
    """What is asked of the training set."""

    labelled: Tensor  # ids
    unlabelled: Tensor

    def sweep(self, ids: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]: ...


@contextmanager
def measured(data: Data, clean: View, *nets: nn.Module, rows: NormRows = "all") -> Iterator[None]:
    """The networks have statistics of their own within the block, and theirs of before after it.

    No random number is used, and every process does the same, so a run goes on as if nothing had been measured.
    """
    norms = [norm for net in nets for norm in batch_norms(net)]
    kept = [(b, b.clone()) for norm in norms for b in (norm.running_mean, norm.running_var) if b is not None]
    try:
        for net in nets:
            _measure(net, data, clean, rows)
        yield
    finally:
        for buffer, before in kept:
            buffer.copy_(before)


def rows_for_norms(data: Data, rows: NormRows) -> Tensor:
    """Ids of the images that are measured on: the same ones, in the same mixed order, whenever they are asked for."""
    ids = data.labelled if rows == "labelled" else torch.unique(torch.cat([data.labelled, data.unlabelled]))
    return ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))[:MOST]]


@torch.no_grad()
def _measure(net: nn.Module, data: Data, clean: View, rows: NormRows) -> None:
    norms = batch_norms(net)
    ids = rows_for_norms(data, rows) if norms else torch.empty(0, dtype=torch.int64)
    if len(ids) < 2:  # one vector has no variance
        return
    pools: dict[nn.Module, Pool] = {norm: Pool() for norm in norms}

    def note(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        pools[norm].add(args[0])

    with ExitStack() as stack:
        for block in (eval_mode(net), frozen_batchnorm(net), eagerly(net)):
            stack.enter_context(block)
        for norm in norms:
            norm.train()  # by the statistics of the group
            stack.callback(norm.register_forward_pre_hook(note).remove)
        for group in ids.tensor_split(
            -(-len(ids) // GROUP)
        ):  # alike in size: a last one of one row would have no variance
            for _, x in data.sweep(group):
                net(clean(x))
    for norm in norms:
        pool = pools[norm]
        if pool.n > 1:  # some networks leave out a layer in evaluation mode
            pool.write(cast("Tensor", norm.running_mean), norm.running_var)


class Pool:
    """Mean and squares about it of the channels of several tensors [n, c, ...], as if they were one."""

    def __init__(self) -> None:
        self.n = 0
        self.mean: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0

    def add(self, x: Tensor) -> None:
        x = x.float() if x.dtype != torch.float64 else x
        axes = [d for d in range(x.ndim) if d != 1]
        n = x.numel() // x.shape[1]
        var, mean = (t.double() for t in torch.var_mean(x, axes, correction=0))
        apart = mean - self.mean
        self.squares = self.squares + n * var + apart.square() * (self.n * n / (self.n + n))
        self.mean = self.mean + apart * (n / (self.n + n))
        self.n += n

    def write(self, mean: Tensor, var: Tensor | None) -> None:
        mean.copy_(cast(Tensor, self.mean))
        if var is not None:  # a norm may take away the mean only
            var.copy_(cast(Tensor, self.squares) / (self.n - 1))
