"""Minutes and network passes as steps: a scratch run does a few of every stage, is counted and timed, and is thrown away.

Network passes are the unit in which methods are given the same budget on any machine.

An image that goes forward without gradient is 1 pass; one that goes forward and back is 3 (a backward costs about twice
its forward). Views, optimisers and averages are not counted.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from halfseen.machine import distributed
from halfseen.method import Epoch, Plan
from halfseen.settings import Settings
from halfseen.training.trainer import Trainer

FORWARD, FORWARD_AND_BACK = 1, 3
DEFAULT_MINUTES = 10.0
STEPS = 3  # counted in every stage
SCRATCH_STEPS = 100_000  # the length that the scratch run is planned for; only the shares of its stages matter
MOST_STEPS, MOST_SECONDS = 8, 4.0  # of timing, a stage
EVALUATIONS = 20  # of a run, unless it says otherwise
SPARE = 0.03  # share of the time left for checkpoints, the final scores and the export


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


def steps_that_fit(seconds: float, scratch: Trainer) -> int:
    """Steps of all stages together, with their evaluations, that take this long at the speed just measured."""
    began = time.monotonic()
    step, judging = pace_of(scratch)
    left = seconds * (1 - SPARE) - (time.monotonic() - began) - judging
    steps = torch.tensor(float(max(1, int(left / step))), device=scratch.data.device)
    distributed.average([steps])
    return int(steps.item())


def pace_of(scratch: Trainer) -> tuple[float, float]:
    """Seconds of a step, the mean over the stages; and of all evaluations of a run."""
    step = sum(median_step(scratch, i) * stage.steps for i, stage in enumerate(scratch.stages)) / scratch.total_steps
    if not scratch.judge.watches:
        return step, 0.0
    before = time.monotonic()
    scratch.judge.during(scratch.method)
    return step, EVALUATIONS * (time.monotonic() - before)


def median_step(scratch: Trainer, index: int) -> float:
    """Seconds of a step of the stage."""
    scratch.stage_index = index
    scratch.prepare()
    streams = scratch.streams()
    times: list[float] = []
    started = time.monotonic()
    while len(times) < 3 or (len(times) < MOST_STEPS and time.monotonic() - started < MOST_SECONDS):
        before = time.monotonic()
        scratch.train_step(scratch.data.batch(streams, len(times)), scratch.clock())
        scratch.tally.read()  # waits for the device
        times.append(time.monotonic() - before)
    return sorted(times)[len(times) // 2]


def length_of(s: Settings, scratch: Trainer, plan: Plan, passes: float, epoch: Epoch) -> tuple[int, str]:
    """The length of training in steps, measured first if it was asked for in minutes; and what to say of it."""
    if s.steps is not None:
        return s.steps, ""
    if s.epochs is not None:
        return max(1, round(s.epochs * plan.epoch_steps(epoch))), ""
    if s.passes is not None:
        steps = max(1, round(s.passes / passes))
        return steps, f"{s.passes:g} network passes are {steps} steps"
    minutes = s.minutes or DEFAULT_MINUTES
    steps = steps_that_fit(minutes * 60, scratch)
    return steps, f"{steps} steps fit into {minutes:g} minutes; the same run again: --steps {steps}"
