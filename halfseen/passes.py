"""What a step costs in network passes: the unit in which methods are given the same budget on any machine.

An image that goes forward without gradient is 1 pass; one that goes forward and back is 3 (a backward costs about twice
its forward). Views, optimisers and averages are not counted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from halfseen.trainer import Trainer

FORWARD, FORWARD_AND_BACK = 1, 3
STEPS = 3  # counted in every stage


@contextmanager
def counted(method: nn.Module) -> Iterator[list[int]]:
    """A list of one number that grows with every image that goes through a network of the method."""
    total = [0]
    nets = [m for m in method.modules() if "head" in m._modules and hasattr(m, "features")]

    def counting(features: Callable[..., Any]) -> Callable[..., Any]:
        def run(x: Tensor, *more: Any) -> Any:
            total[0] += len(x) * (FORWARD_AND_BACK if torch.is_grad_enabled() else FORWARD)
            return features(x, *more)

        return run

    for net in nets:
        net.features = counting(net.features)  # type: ignore[assignment, arg-type]  # hides the class's, until deleted
    try:
        yield total
    finally:
        for net in nets:
            del net.features


def passes_per_step(scratch: Trainer) -> float:
    """Mean over the steps of all stages, of a trainer that is thrown away afterwards."""
    mean = 0.0
    for index, stage in enumerate(scratch.stages):
        scratch.stage_index = index
        scratch.prepare()
        streams = scratch.streams()
        with counted(scratch.method) as total:
            for step in range(STEPS):
                scratch.train_step(scratch.data.batch(streams, step), scratch.clock())
        mean += total[0] / STEPS * stage.steps / scratch.total_steps
    return mean * scratch.data.world
