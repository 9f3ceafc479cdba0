"""Runs as an array of Slurm jobs, by submitit: Slurm decides where and when.

A job that reaches its time limit, or is preempted, saves its run and is queued again; what fails is submitted again by the
loop. What submitit writes is below OUT/slurm.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from halfseen.errors import UserError
from halfseen.grid.local import end, how_it_ended, launch
from halfseen.grid.node import passed_on
from halfseen.grid.work import Work

ASK_EVERY = 5.0  # seconds between questions to Slurm; its accounting is no toy of ours
LOOKS = 4
SAVING = 90.0  # seconds for the runs to save themselves
DEFAULT_MINUTES = 24 * 60
OWN = {"cpus_per_task": "--cpus-per-run", "gpus_per_node": "--gpus-per-run", "array": "the runs of the table"}


class Slurm:
    def __init__(
        self,
        out: Path,
        options: Sequence[str],
        cpus: int,
        gpus: float,
        cluster: str = "slurm",
        ask_every: float = ASK_EVERY,
    ) -> None:
        """out: the folder of the runs, which all nodes see. cluster: "local" for the tests, without Slurm."""
        submitit = need_submitit()
        told = parameters(options, cpus, gpus)
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise UserError("there is no Slurm here (no sbatch); run this on its login node, or leave out --on slurm")
        folder = out.absolute() / "slurm"
        self.executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        if cluster == "slurm":
            self.executor.update_parameters(**told)
        else:
            self.executor.update_parameters(timeout_min=told["timeout_min"])
        self.real = cluster == "slurm"
        self.jobs: dict[Work, Any] = {}
        self.missed: dict[str, int] = {}  # looks at the queue without a job
        self.next, self.ask_every = time.monotonic(), ask_every

    @property
    def room(self) -> int:
        return 1_000_000  # Slurm has a queue of its own

    def start(self, works: Sequence[Work]) -> None:
        try:
            jobs = self.executor.map_array(OnNode(os.getcwd(), passed_on()), works)
        except Exception as e:  # submitit has several, around what sbatch said
            said = [line for line in str(e).splitlines() if line.strip() and not line.startswith("Try ")]
            raise UserError(
                f"Slurm refused the jobs: {said[-1].strip() if said else type(e).__name__}; see sbatch --help for --slurm "
                "KEY=VALUE"
            ) from e
        self.jobs |= dict(zip(works, jobs, strict=True))

    def ended(self) -> list[tuple[Work, str]]:
        if time.monotonic() < self.next or not self.jobs:
            return []
        self.next = time.monotonic() + self.ask_every
        queued = in_queue() if self.real else None
        over = [(work, job) for work, job in self.jobs.items() if work.finished or self.is_over(job, queued)]
        for work, _ in over:
            del self.jobs[work]
        return [(work, "" if work.finished else how_a_job_ended(job)) for work, job in over]

    def is_over(self, job: Any, queued: set[str] | None) -> bool:
        """It left a result; or Slurm has not known it for several looks: its node is lost, or someone cancelled it.

        Not asked of sacct, which many clusters do not have.
        """
        if not self.real:
            return bool(job.done())
        if job.paths.result_pickle.exists():
            return True
        if queued is not None:
            self.missed[job.job_id] = 0 if job.job_id in queued else self.missed.get(job.job_id, 0) + 1
        return self.missed.get(job.job_id, 0) >= LOOKS

    def stop(self) -> None:
        """Slurm tells the runs; they save themselves."""
        for job in self.jobs.values():
            job.cancel(check=False)
        until = time.monotonic() + SAVING
        while time.monotonic() < until:
            queued = in_queue() if self.real else None
            if all(job.job_id not in queued if queued is not None else job.done() for job in self.jobs.values()):
                return
            time.sleep(1)


def in_queue() -> set[str] | None:
    """Ids of the jobs that Slurm has; None if it does not answer now."""
    try:
        asked = subprocess.run(
            ["squeue", "-h", "-r", "-o", "%A %F_%K"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return set(asked.stdout.split()) if asked.returncode == 0 else None


class OnNode:
    """What a job does: one run, in a process of its own, as on this machine."""

    def __init__(self, place: str, environment: Mapping[str, str]) -> None:
        self.place, self.environment = place, dict(environment)
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self, work: Work) -> str:
        os.environ.update(self.environment)
        if os.path.isdir(self.place):
            os.chdir(self.place)  # relative paths mean there what they mean here
        self.process = launch(work)
        return how_it_ended(self.process.wait())

    def checkpoint(self, work: Work) -> Any:
        """Called by submitit before the time limit or a preemption: the run saves itself, and goes on in another job."""
        import submitit

        if self.process is not None:
            self.process.terminate()
            end(self.process)
        return submitit.helpers.DelayedSubmission(OnNode(self.place, self.environment), work)


def how_a_job_ended(job: Any) -> str:
    with contextlib.suppress(Exception):  # what it left may be nothing, or half a file
        return str(job.result())
    return f"the Slurm job {job.job_id} ended as {job.state}"


def need_submitit() -> Any:
    try:
        import submitit
    except ImportError as e:
        raise UserError("--on slurm needs its extra; run pip install 'halfseen[fleet]'") from e
    return submitit


def parameters(options: Sequence[str], cpus: int, gpus: float) -> dict[str, Any]:
    """--slurm KEY=VALUE and the needs of a run, as submitit takes them; what it does not know goes to sbatch as it is."""
    if gpus != int(gpus):
        raise UserError(f"Slurm gives whole GPUs, and --gpus-per-run is {gpus:g}; give 0 or 1")
    told: dict[str, Any] = {"timeout_min": DEFAULT_MINUTES, "cpus_per_task": cpus, "name": "halfseen"}
    if gpus:
        told["gpus_per_node"] = int(gpus)
    more: dict[str, Any] = {}
    for option in options:
        key, equals, value = option.partition("=")
        key = key.strip().removeprefix("--").replace("-", "_")
        if not equals or not key:
            raise UserError(f"--slurm {option} is not KEY=VALUE; write it like --slurm partition=gpu time=2:00:00")
        if key in OWN:
            raise UserError(f"--slurm {key} is said by {OWN[key]}; leave it out")
        if key == "time":
            told["timeout_min"] = minutes(value)
        elif key in ("partition", "qos", "mem", "constraint", "account", "exclude", "nodelist", "comment", "gres"):
            told[f"slurm_{key}"] = value
        elif key == "array_parallelism":
            told["slurm_array_parallelism"] = whole(value, key)
        else:
            more[key] = value
    if more:
        told["slurm_additional_parameters"] = more
    return told


def minutes(text: str) -> int:
    """Slurm's ways to write a time: 90, 90:00, 2:00:00, 1-12, 1-12:00, 1-12:00:00."""
    days, dash, rest = text.rpartition("-")
    try:
        parts = [int(part) for part in rest.split(":")]
        if dash:
            hours, mins, secs = (*parts, 0, 0)[:3]
            total = int(days) * 1440 + hours * 60 + mins + secs / 60
        else:
            hours, mins, secs = {1: (0, parts[0], 0), 2: (0, *parts), 3: tuple(parts)}[len(parts)]
            total = hours * 60 + mins + secs / 60
    except (ValueError, KeyError):
        raise UserError(f"--slurm time={text} is no time; write minutes, or 2:00:00, or 1-12:00:00") from None
    if total < 1:
        raise UserError(f"--slurm time={text} is less than a minute; give the runs more")
    return -int(-total // 1)


def whole(text: str, key: str) -> int:
    if not text.isdigit() or text == "0":
        raise UserError(f"--slurm {key}={text} is a number of jobs, 1 or more")
    return int(text)
