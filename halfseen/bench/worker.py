"""A variant of the training step in a process of its own, commanded through pipes, one JSON line each way.

The settings of glibc's allocator belong to a process, so variants that differ in them cannot share one; taking turns
through pipes lets them still meet the same machine. `Worker` is the commander's side, `main` the worker's.
"""

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from typing import Any, TextIO

import torch

from halfseen.bench.subject import Case, Plain, Subject
from halfseen.bench.timing import timed
from halfseen.machine.device import keep_large_blocks, pick_device

VARIANTS = {
    "halfseen": "the library's step",
    "plain": "the loop everyone writes",
    "contiguous": "the library's step without channels-last",
    "own blocks": "the library's step with the allocator left alone",
    "joint": "the library's step with gradient for the weak views too",
}
START = "from halfseen.bench.worker import main; main()"  # `-m` would import this module twice


class Worker:
    """A running worker; a context manager, which ends it."""

    def __init__(self, variant: str, case: Case, device: torch.device, times: int) -> None:
        self.variant = variant
        order: dict[str, Any] = {"variant": variant, "case": asdict(case), "device": str(device), "times": times}
        order["threads"] = torch.get_num_threads()
        command = [sys.executable, "-c", START, json.dumps(order)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = False

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()  # the worker reads the end of its orders, and goes
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def step(self) -> float:
        """Have it do a step: the seconds that the worker measured."""
        if not self.ready:
            self._answer()
            self.ready = True
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died: the other pipe has ended too
            self.process.stdin.write("step\n")
            self.process.stdin.flush()
        return float(self._answer()["seconds"])

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            raise RuntimeError(
                f"the process that timed {VARIANTS[self.variant]} ended with code {code}; what it printed says why"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer


def make(order: dict[str, Any]) -> Subject | Plain:
    """What the order names, in this process."""
    variant, device = order["variant"], pick_device(order["device"])
    case = Case(**{**order["case"], "shape": tuple(order["case"]["shape"])})
    if device.type == "cpu":
        torch.set_num_threads(order["threads"])
        if variant not in ("plain", "own blocks"):
            keep_large_blocks()
    subject = Subject(
        case,
        device,
        bf16=device.type == "cuda" and variant != "plain",
        contiguous=variant == "contiguous",
        settings={"weak_pass": "joint"} if variant == "joint" else {},
    )
    return Plain(subject) if variant == "plain" else subject


def serve(order: dict[str, Any], orders: TextIO, answers: TextIO) -> None:
    """Say that all is ready, then do a step for every line of orders until they end."""

    def answer(**said: Any) -> None:
        print(json.dumps(said), file=answers, flush=True)

    subject = make(order)
    step = timed(subject.step, torch.device(order["device"]), order["times"])
    answer(ready=order["variant"])
    for _ in orders:
        answer(seconds=step())


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not stand among the answers
    serve(json.loads(sys.argv[1]), sys.stdin, answers)
