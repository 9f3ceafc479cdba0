"""What a person sees while something runs: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections import deque
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

# of a log line: where it stands, and what only an alarm says
NOT_NUMBERS = ("step", "stage", "seconds", "rarest", "rarest_class")
WIDE = 1000  # columns of an output that is no terminal: nothing is wrapped or cut there
PATIENCE = 2.0  # seconds before anything is shown of a short count
PLAIN_EVERY = 10.0  # seconds between plain lines
MARKS, MARK_EVERY = (
    7,
    5.0,
)  # marks of the pace, and seconds between them: the time left is planned by the last half minute
PATIENT, LATE = (
    0.1,
    1.3,
)  # share of the asked time that is waited for, and share above which it is said to be too little


def stderr() -> Console:
    return Console(file=sys.stderr, highlight=False, soft_wrap=not sys.stderr.isatty())


def stdout() -> Console:
    """For results: on a terminal as wide as it is, elsewhere without a break in a line."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)


def describe(row: dict[str, Any]) -> str:
    """The numbers of a log line: loss terms first, then the shares that tell how the unlabelled images are used."""
    shown = []
    for key, value in row.items():
        if key in NOT_NUMBERS or key.startswith("lr"):
            continue
        short = {"mask_rate": "used", "pseudo_accuracy": "right of them", "negative_error": "neg. wrong"}.get(key)
        shown.append(f"{short} {value:.0%}" if short else f"{key} {value:.3g}")
    return "  ".join(shown)


def describe_evaluation(row: dict[str, Any]) -> str:
    """The best validation accuracy of the predictors, or nothing where there is no validation part."""
    val = {name: parts["val"]["accuracy"] for name, parts in row["predictors"].items() if "val" in parts}
    return "val " + " ".join(f"{name} {a:.1%}" for name, a in val.items()) if val else ""


class Display:
    """The progress of one training run."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = stderr()
        self.live = self.console.is_terminal and not quiet
        self.quiet = quiet
        self.bar: Progress | None = None
        self.task: TaskID | None = None
        self.numbers, self.val = "", ""
        self.last_line = time.monotonic()
        self.marks: deque[tuple[int, float]] = deque(maxlen=MARKS)  # steps, and when they were done
        self.asked: float | None = None

    def start(self, done: int, steps: int, seconds: float | None = None) -> None:
        """seconds: that the run should take, where the clock was asked for."""
        self.marks.append((done, time.monotonic()))
        self.asked, self.begun = seconds, time.monotonic()
        if self.live:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                TextColumn("{task.completed}/{task.total}"),
            )
            more = (TimeRemainingColumn(), TextColumn("[dim]{task.fields[numbers]}[/dim]"))
            self.bar = Progress(*columns, *more, console=self.console, transient=True, refresh_per_second=4)
            self.task = self.bar.add_task("train", total=steps, completed=done, numbers="")
            self.bar.start()

    def stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def logged(self, row: dict[str, Any]) -> None:
        self.numbers = describe(row)

    def evaluated(self, row: dict[str, Any]) -> None:
        self.val = describe_evaluation(row)

    def at(self, step: int, steps: int, stage: str) -> None:
        numbers = "  ".join(t for t in (self.numbers, self.val) if t)
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=step, description=stage, numbers=numbers)
        elif not self.quiet and (time.monotonic() - self.last_line > PLAIN_EVERY or step == steps):
            self.last_line = time.monotonic()
            self.say(f"{stage} step {step}/{steps}  {clock(self.left(step, steps))} left  {numbers}")
        self.keep_time(step, steps)

    def left(self, step: int, steps: int) -> float:
        """Seconds to the end, by the pace of the last half minute or so: a machine gets busy and free again."""
        done, since = self.marks[0] if self.marks else (0, self.last_line)
        return (steps - step) * (time.monotonic() - since) / max(1, step - done)

    def keep_time(self, step: int, steps: int) -> None:
        """A mark every few seconds; and, once, the truth about --minutes that are not going to do."""
        now = time.monotonic()
        if self.marks and now - self.marks[-1][1] < MARK_EVERY:
            return
        left = self.left(step, steps)
        self.marks.append((step, now))
        if self.asked is None or now - self.begun < PATIENT * self.asked:
            return
        whole = now - self.begun + left
        if whole > LATE * self.asked:
            self.say(
                f"slower than it was measured: at this pace {clock(whole)} minutes in all, and {clock(self.asked)} were "
                "asked for; Ctrl-C stops with everything saved, and --resume goes on"
            )
            self.asked = None

    def say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text, markup=False)


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


class Meter:
    """How far a count has come: a bar on a terminal, a line now and then elsewhere, nothing when it is short."""

    def __init__(self, doing: str, total: int, quiet: bool = False, what: str = "images") -> None:
        self.doing, self.total, self.quiet, self.what, self.done = doing, total, quiet, what, 0
        self.console = stderr()
        self.bar: Progress | None = None

    def __enter__(self) -> Self:
        self.start = time.monotonic()
        self.next = self.start + PATIENCE
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def advance(self, number: int) -> None:
        self.done += number
        now = time.monotonic()
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=self.done)
        elif self.quiet or now <= self.next:
            return
        elif self.console.is_terminal:
            columns = TextColumn(self.doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            self.bar = Progress(*columns, console=self.console, transient=True)
            self.bar.add_task(self.doing, total=self.total, completed=self.done)
            self.bar.start()
        else:
            self.next = now + PLAIN_EVERY
            left = (now - self.start) / max(1, self.done) * (self.total - self.done)
            print(f"{self.doing}: {self.done:,} of {self.total:,} {self.what}, {clock(left)} left", file=sys.stderr)
