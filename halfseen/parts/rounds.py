"""Training in rounds: each begins with a fresh network and learns from labels that the one before it gave to the pool.

A round is a Stage of a `selected_pass` (or of two streams) over the images that got a label. On entry the network of the
round before is asked about every unlabelled image, in evaluation mode, and is then begun anew.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise

import torch
from torch import Tensor, nn

from halfseen.draws import Draws
from halfseen.parts.forward import eval_mode
from halfseen.parts.losses import probabilities
from halfseen.parts.norms import Data, View, measured


def lengths(steps: int, rounds: int) -> list[int]:
    """Steps of each of the rounds, alike up to one; they sum to `steps`."""
    ends = [round(steps * i / rounds) for i in range(rounds + 1)]
    return [end - start for start, end in pairwise(ends)]


@contextmanager
def shared_random(draws: Draws) -> Iterator[None]:
    """Torch's random numbers are the same in every process within the block, and go on as before after it."""
    (seed,) = Draws(draws.generator).integers(0, 2**31 - 1, 1).tolist()
    with torch.random.fork_rng([draws.device] if draws.device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def begin_anew(net: nn.Module, make: Callable[[], nn.Module], draws: Draws) -> None:
    """The network's weights and statistics become those of a fresh one, in every process the same."""
    with shared_random(draws):
        fresh = make()
    for old, new in ((net.parameters(), fresh.parameters()), (net.buffers(), fresh.buffers())):
        for a, b in zip(old, new, strict=True):
            a.copy_(b)


@contextmanager
def evaluated(net: nn.Module, data: Data, clean: View, norm: str) -> Iterator[None]:
    """The network in evaluation mode; with norm = measured, with statistics measured on clean training images."""
    with measured(data, clean, net) if norm == "measured" else nullcontext(), eval_mode(net):
        yield


@torch.no_grad()
def ask(net: nn.Module, data: Data, ids: Tensor, clean: View, norm: str) -> Tensor:
    """Probabilities [n, K] of these images as they are, in evaluation mode."""
    with evaluated(net, data, clean, norm):
        return torch.cat([probabilities(net(clean(x))) for _, x in data.sweep(ids)])
