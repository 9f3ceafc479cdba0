"""How many steps fit into a time: a scratch run does a few of every stage, is timed, and is thrown away."""

import time

import torch

from halfseen import distributed
from halfseen.trainer import Trainer

SCRATCH_STEPS = 100_000  # the length that the scratch run is planned for; only the shares of its stages matter
MOST_STEPS, MOST_SECONDS = 8, 4.0  # of timing, a stage
SPARE = 0.03  # share of the time left for checkpoints, the final scores and the export


def steps_that_fit(seconds: float, scratch: Trainer) -> int:
    """Steps of all stages together, with their evaluations, that take this long at the speed just measured."""
    began = time.monotonic()
    step = sum(median_step(scratch, i) * stage.steps for i, stage in enumerate(scratch.stages)) / scratch.total_steps
    before = time.monotonic()
    scratch.judge.during(scratch.method)
    judging = 20 * (time.monotonic() - before)
    left = seconds * (1 - SPARE) - (time.monotonic() - began) - judging
    steps = torch.tensor(float(max(1, int(left / step))), device=scratch.data.device)
    distributed.average([steps])
    return int(steps.item())


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
