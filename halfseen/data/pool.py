"""Decoding by all cores: hands the files in pieces to processes that run decoder.py, and shows how far they are."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol, Self, cast

from halfseen.data import decoder
from halfseen.data.decoder import Job, Report
from halfseen.data.images import Look
from halfseen.machine.progress import Meter

PIECE = 64  # pictures a job
FEW = 200  # pictures that are decoded in this process: starting others would take longer
CRASHED = "the decoder crashed on it"


@dataclass
class Result:
    bad: dict[int, str] = field(default_factory=dict)  # position: reason
    colour: bool = False  # was a colour picture decoded as grey?
    looks: dict[int, Look] = field(default_factory=dict)  # position: size and kind of a good one


def decode_all(
    files: Sequence[str],
    target: Path,
    size: tuple[int, int],
    channels: int,
    *,
    workers: int | None = None,
    progress: bool = True,
    stop_at_bad: bool = False,
    stop_at_colour: bool = False,
) -> Result:
    """Write all pictures as uint8 [N, c, h, w] into the file `target`; bad ones leave zeros."""
    result = Result()
    with open(target, "wb") as out:
        out.truncate(len(files) * size[0] * size[1] * channels)
    pieces = [files[first : first + PIECE] for first in range(0, len(files), PIECE)]
    jobs = iter(Job(first=i * PIECE, paths=list(piece), size=size, channels=channels) for i, piece in enumerate(pieces))
    crew = _crew(len(files), workers, target)
    meter = Meter("decoding", len(files), quiet=not progress)
    lock = threading.Lock()
    failures: list[BaseException] = []

    def next_job() -> Job | None:
        enough = failures or (stop_at_bad and result.bad) or (stop_at_colour and result.colour)
        return None if enough else next(jobs, None)

    def labour(worker: _Worker) -> None:
        try:
            with worker:
                while True:
                    with lock:
                        job = next_job()
                    if job is None:
                        return
                    report = worker.do(job)
                    with lock:
                        if report["failed"]:
                            raise OSError(report["failed"])
                        result.bad.update({job["first"] + i: reason for i, reason in report["bad"]})
                        result.colour |= report["colour"]
                        result.looks.update({job["first"] + i: (h, w, kind) for i, (h, w, kind) in report["looks"]})
                        meter.advance(len(job["paths"]))
        except BaseException as error:  # kept for the thread that called: Ctrl-C among them
            failures.append(error)

    threads = [threading.Thread(target=labour, args=(worker,), daemon=True) for worker in crew[1:]]
    with meter, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd files: what matters is in the report
        for thread in threads:
            thread.start()
        labour(crew[0])
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    return result


class _Worker(Protocol):
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def do(self, job: Job) -> Report: ...


def _crew(total: int, workers: int | None, target: Path) -> list[_Worker]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = max(1, min(workers or cores, -(-total // PIECE)))
    if total <= FEW or not sys.executable:
        return [_Here(target)]
    return [_Process(target) for _ in range(count)]


class _Here:
    """Decodes in this process."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __enter__(self) -> Self:
        self.out = open(self.target, "r+b")  # closed by __exit__
        return self

    def __exit__(self, *_: object) -> None:
        self.out.close()

    def do(self, job: Job) -> Report:
        return decoder.work(job, self.out)


class _Process:
    """Decodes in a process of its own, which is started again when a picture kills it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __enter__(self) -> Self:
        # -P: the folder of decoder.py must not stand before the standard library on the path.
        # Its own session: Ctrl-C must reach the parent, which ends it by closing its input.
        self.process = subprocess.Popen(
            [sys.executable, "-P", decoder.__file__, str(self.target)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                cast(IO[str], pipe).close()
        self.process.wait()

    def do(self, job: Job) -> Report:
        if (report := self._ask(job)) is not None:
            return report
        self.__exit__()
        self.__enter__()
        if len(job["paths"]) == 1:
            return Report(bad=[(0, CRASHED)], colour=False, looks=[], failed="")
        whole = Report(bad=[], colour=False, looks=[], failed="")
        for i, path in enumerate(job["paths"]):
            one = self.do(Job(first=job["first"] + i, paths=[path], size=job["size"], channels=job["channels"]))
            whole["bad"] += [(i, reason) for _, reason in one["bad"]]
            whole["looks"] += [(i, look) for _, look in one["looks"]]
            whole["colour"] |= one["colour"]
            whole["failed"] = whole["failed"] or one["failed"]
        return whole

    def _ask(self, job: Job) -> Report | None:
        """None when the process died over it."""
        try:
            stdin, stdout = cast(IO[str], self.process.stdin), cast(IO[str], self.process.stdout)
            stdin.write(json.dumps(job) + "\n")
            stdin.flush()
            answer = stdout.readline()
        except BrokenPipeError:
            return None
        return cast(Report, json.loads(answer)) if answer else None
