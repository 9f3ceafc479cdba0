"""What a run's own process minds besides the run: that it is alone in its folder, and that whoever started it is there."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from halfseen.errors import UserError

PATIENCE = 30.0  # seconds that one process waits for another to leave the folder: it may be saving
LOOK_EVERY = 1.0


def follow_parent() -> None:
    """Save and stop when the process that started this one is gone: on a lost node, a killed terminal, a worker that died.

    Otherwise the same run, started again elsewhere, would be written by two.
    """
    parent = os.environ.get("HALFSEEN_PARENT")
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(LOOK_EVERY)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time in a run's folder: a lock on its log, which the system releases however we end."""
    import fcntl

    folder.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + PATIENCE
    with open(
        folder.parent / f"{folder.name}.log", "a"
    ) as beside:  # where it speaks; never removed, as a lock must not be
        while True:
            try:
                fcntl.flock(beside, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise UserError(f"another process is at work on the run {folder}; wait for it, or end it") from None
                time.sleep(LOOK_EVERY)
            except OSError:  # a disk without locks: as well as can be
                break
        yield
