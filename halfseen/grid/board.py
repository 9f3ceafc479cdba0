"""What a person sees while many runs run: one live table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from halfseen.grid.work import Work, score, standing
from halfseen.machine.progress import clock, stderr

REFRESH = 1.0  # seconds between looks into the folders of the runs that run
PLAIN_EVERY = 60.0  # seconds between plain lines on what runs
OTHER_LINES = 6  # of the terminal, besides the rows


class Board:
    """Counts, the runs that run with how far they are, a line for each that ended; only files of what runs are read."""

    def __init__(self, total: int, before: int) -> None:
        self.total, self.before = total, before
        self.done, self.bad = 0, 0
        self.first = self.last = time.monotonic()  # when it began, and when a run last finished
        self.running: dict[Work, float] = {}  # since when
        self.console = stderr()
        self.live = Live(console=self.console, auto_refresh=False, transient=True) if self.console.is_terminal else None
        self.next = time.monotonic() + (REFRESH if self.live else PLAIN_EVERY)

    def __enter__(self) -> Self:
        self.say(f"{self.total} runs, {self.before} of them finished already")
        if self.live and self.total > self.before:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    def started(self, works: Sequence[Work]) -> None:
        for work in works:
            self.running[work] = time.monotonic()

    def finished(self, work: Work, elsewhere: bool = False) -> None:
        since = self.running.pop(work, None)
        if elsewhere or since is None:
            self.before += 1
            self.say(f"{work.folder.name}: finished elsewhere")
            return
        self.done += 1
        self.last = time.monotonic()
        told = work.metrics()
        spent = clock(time.monotonic() - since)
        self.say(f"{work.folder.name}: {score(told) if told else 'finished'} in {spent}; {self.counts()}")

    def failed(self, work: Work, why: str, again: bool) -> None:
        self.running.pop(work, None)
        self.bad += not again
        self.say(f"{work.folder.name}: failed{', is tried again' if again else ''}: {why}")

    def counts(self) -> str:
        todo = self.total - self.before
        text = f"{self.done}/{todo}"
        if self.bad:
            text += f", {self.bad} failed"
        rest = todo - self.done - self.bad
        left = (self.last - self.first) / max(1, self.done) * rest - (time.monotonic() - self.last)
        if self.done and left > 0:
            text += f", {clock(left)} left"
        return text

    def show(self) -> None:
        """Look into the folders, now and then."""
        if time.monotonic() < self.next:
            return
        self.next = time.monotonic() + (REFRESH if self.live else PLAIN_EVERY)
        if self.live:
            self.live.update(self.picture(self.console.size.height), refresh=True)
        elif self.running:
            work = next(iter(self.running))  # the longest of them
            at = standing(work)
            step = f"step {at.step}/{at.steps}" if at.steps else "starts"
            more = f" and {len(self.running) - 1} more" if len(self.running) > 1 else ""
            self.say(f"running: {work.folder.name} {step}{more}; {self.counts()}")

    def picture(self, height: int) -> Group:
        table = Table(box=None, pad_edge=False)
        for column in ("method", "labels", "draw", "step", "left", "validation"):
            table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
        shown = list(self.running)[: max(1, height - OTHER_LINES)]
        for work in shown:
            at = standing(work)
            left = at.left
            table.add_row(
                Text(work.method),
                str(work.labels or "all"),
                str(work.draw),
                f"{at.step}/{at.steps}" if at.steps else "starts",
                "" if left is None else clock(left),
                "" if at.val is None else f"{at.val:.1%}",
            )
        hidden = len(self.running) - len(shown)
        end = f"{self.counts()}; {len(self.running)} run" + (f", {hidden} of them not shown" if hidden else "")
        return Group(table, Text(end))
