"""Runs on this machine: so many processes at a time, each with its share of the cores."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence

from halfseen.grid.work import Work

PATIENCE = 60.0  # seconds that a run has to save itself


class Local:
    """Processes of sessions of their own: Ctrl-C at the terminal reaches this process alone, which asks them to save.

    A run hears one signal then; at a second one it would end without its checkpoint.
    """

    def __init__(self, parallel: int = 1) -> None:
        self.parallel = parallel
        self.running: dict[Work, subprocess.Popen[bytes]] = {}

    @property
    def room(self) -> int:
        return self.parallel - len(self.running)

    def start(self, works: Sequence[Work]) -> None:
        for work in works:
            self.running[work] = launch(work)

    def ended(self) -> list[tuple[Work, str]]:
        over = [(w, p) for w, p in self.running.items() if p.poll() is not None]
        for work, _ in over:
            del self.running[work]
        return [(work, how_it_ended(process.returncode)) for work, process in over]

    def stop(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            end(process)
        self.running.clear()


def launch(work: Work) -> subprocess.Popen[bytes]:
    """The run in a new process; what it says goes to a log beside its folder."""
    work.folder.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "HALFSEEN_PARENT": str(os.getpid())}  # it stops when this process is gone
    with open(work.log, "ab") as log:
        return subprocess.Popen(
            work.words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a run that was asked to stop; what does not answer is ended."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
        return
    process.kill()
    process.wait()


def how_it_ended(code: int) -> str:
    """What an exit code says beside the last line of the log; nothing where that is enough."""
    if code >= 0:
        return ""
    with contextlib.suppress(ValueError):
        return f"ended by {signal.Signals(-code).name}"  # SIGKILL: the system had no memory left, as a rule
    return f"ended by signal {-code}"
