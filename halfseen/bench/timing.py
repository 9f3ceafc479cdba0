"""Time on the device's own clock, variants in turn, and the parts of a step; nothing here knows what is timed."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

Mark = float | torch.cuda.Event
Timed = Callable[[], float]  # does its work once and returns the seconds it took


def mark(device: torch.device) -> Mark:
    """A point in time: of the device's queue of work where it has one."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch does not annotate it
    event.record()
    return event


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def between(first: Mark, second: Mark) -> float:
    """Seconds; the device must have passed both marks."""
    if isinstance(first, torch.cuda.Event):
        assert isinstance(second, torch.cuda.Event)
        return float(first.elapsed_time(second)) / 1000
    assert isinstance(second, float)
    return second - first


def timed(work: Callable[[], object], device: torch.device, times: int = 1) -> Timed:
    """`work` as something that says how long it took; `times` of it are queued up, and one's share is returned."""

    def run() -> float:
        wait_for(device)
        first = mark(device)
        for _ in range(times):
            work()
        second = mark(device)
        wait_for(device)
        return between(first, second) / times

    return run


def in_turn(
    variants: Mapping[str, Timed],
    rounds: int,
    warm: int = 1,
    tick: Callable[[str], None] = lambda text: None,
    patience: float = math.inf,
) -> dict[str, list[float]]:
    """Seconds of each variant: A B A B ..., so that whatever else the machine does hurts all of them alike.

    After `patience` seconds two rounds are enough: the machine is busy.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    began = time.monotonic()
    for turn in range(warm + rounds):
        if turn >= warm + 2 and time.monotonic() - began > patience:
            break
        tick(f"round {turn + 1 - warm} of {rounds}" if turn >= warm else "warming up")
        for name, run in variants.items():
            took = run()
            if turn >= warm:
                seconds[name].append(took)
    return seconds


def ratio(above: list[float], below: list[float]) -> float:
    """The median over the rounds of above/below: the two of a round met the same machine."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


class Parts:
    """How long each part of some work takes. A part within a part is charged to itself only, so the sum is the whole."""

    REST = "rest"

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.running = [self.REST]
        self.marks: list[tuple[str, Mark]] = []  # (part that runs from here on, when)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Around all of the work."""
        self._note()
        try:
            yield
        finally:
            self._note()

    def begin(self, part: str) -> None:
        self.running.append(part)
        self._note()

    def end(self) -> None:
        self.running.pop()
        self._note()

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def charged(*args: Any, **named: Any) -> Any:
            self.begin(part)
            try:
                return function(*args, **named)
            finally:
                self.end()

        return charged

    def seconds(self) -> dict[str, float]:
        wait_for(self.device)
        sums = {self.REST: 0.0}
        for (part, first), (_, second) in zip(self.marks, self.marks[1:], strict=False):
            sums[part] = sums.get(part, 0.0) + between(first, second)
        return sums

    def shares(self) -> dict[str, float]:
        sums = self.seconds()
        whole = sum(sums.values())
        return {part: value / whole for part, value in sums.items()}

    def _note(self) -> None:
        self.marks.append((self.running[-1], mark(self.device)))


@contextmanager
def in_place_of(changes: list[tuple[Any, str, Callable[[Any], Any]]]) -> Iterator[None]:
    """Attributes of objects stand changed, each by its function, inside the block."""
    undo: list[tuple[Any, str, bool, Any]] = []
    try:
        for owner, name, change in changes:
            own = name in vars(owner)
            before = getattr(owner, name)
            undo.append((owner, name, own, before))
            setattr(owner, name, change(before))
        yield
    finally:
        for owner, name, own, before in reversed(undo):
            if own:
                setattr(owner, name, before)
            else:
                delattr(owner, name)
