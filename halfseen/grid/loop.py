"""Many runs: what is missing is started, what fails is tried again and ends no other, one signal saves and stops all."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Protocol

from halfseen.errors import UserError
from halfseen.grid.board import Board
from halfseen.grid.work import Work

LOOK_EVERY = 0.2  # seconds


class Executor(Protocol):
    """Who starts runs. It schedules nothing beyond what its engine does."""

    @property
    def room(self) -> int:
        """How many more runs it takes now."""
        ...

    def start(self, works: Sequence[Work]) -> None: ...

    def ended(self) -> list[tuple[Work, str]]:
        """Those that ended since it was last asked, each with what is known of its end beside its own last line."""
        ...

    def stop(self) -> None:
        """Every run saves and stops; returns when they have."""
        ...


def run_all(
    works: Sequence[Work],
    executor: Executor,
    retries: int,
    on_finish: Callable[[Work], None] = lambda work: None,
    arrive: Callable[[Work], None] = lambda work: None,
) -> dict[Work, str]:
    """Run what is not finished, in order; returns what failed for good, with its last line.

    arrive: bring here what a run left on a machine that shares no disk with this one.
    """
    waiting = [w for w in works if not w.finished]
    tries: dict[Work, int] = {}
    failed: dict[Work, str] = {}
    board = Board(len(works), len(works) - len(waiting))
    with signals_as_interrupt(), board:
        try:
            while waiting or board.running:
                for work in [w for w in waiting if w.finished]:  # by someone else, since we looked
                    waiting.remove(work)
                    board.finished(work, elsewhere=True)
                    on_finish(work)
                now, waiting = waiting[: executor.room], waiting[executor.room :]
                if now:
                    board.started(now)
                    executor.start(now)
                time.sleep(LOOK_EVERY)
                for work, how in executor.ended():
                    if not work.finished:
                        arrive(work)
                    if work.finished:
                        board.finished(work)
                        on_finish(work)
                        continue
                    tries[work] = tries.get(work, 0) + 1
                    why = ", ".join(part for part in (how, work.last_line()) if part)
                    again = tries[work] <= retries
                    board.failed(work, why, again)
                    if again:
                        waiting.insert(0, work)
                    else:
                        failed[work] = why
                board.show()
        except BaseException:
            board.say("stopping: the runs save themselves")
            executor.stop()
            raise
    return failed


def complain(failed: dict[Work, str], of: int) -> None:
    """The end of a command some of whose runs failed."""
    if failed:
        named = "; ".join(f"{work.folder}: {why}" for work, why in failed.items())
        raise UserError(f"{len(failed)} of {of} runs failed, and the same command tries them again: {named}")


@contextlib.contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """SIGTERM and a closed terminal end it as Ctrl-C does, so that the runs are told. What is ignored stays so (nohup)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {}
    for each in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) != signal.SIG_IGN:  # Ray puts a handler of its own there
            before[each] = signal.signal(each, interrupt)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
