"""Where the runs of a table run: what the command line says of it, and the executor that it means."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from halfseen.errors import UserError

if TYPE_CHECKING:
    from halfseen.grid.loop import Executor
    from halfseen.grid.work import Work

ELSEWHERE = {  # options of the engines, which mean nothing to the others
    "address": ("ray",),
    "gpus_per_run": ("ray", "slurm"),
    "cpus_per_run": ("ray", "slurm"),
    "slurm": ("slurm",),
}


@dataclass(frozen=True)
class Where:
    on: Literal["local", "ray", "slurm"] = "local"
    """Where the runs run: this machine, a Ray cluster, or Slurm (extra: fleet; docs/machines.md)."""
    parallel: int = 1
    """Runs at a time on this machine; each gets its share of the cores."""
    retries: int = 2
    """Times that a failed run is tried again; it goes on from its last checkpoint."""
    address: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")] = None
    """Of the Ray cluster, or auto (default: $RAY_ADDRESS; without it a Ray of this machine alone)."""
    gpus_per_run: float = 0.0
    """On Ray and Slurm; on Ray a share such as 0.25 puts several runs on one GPU."""
    cpus_per_run: int = 1
    """On Ray and Slurm: cores, and threads, of a run."""
    slurm: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE ...")] = ()
    """Options of sbatch: partition=gpu time=2:00:00 mem=16GB account=..."""
    mirror: Annotated[str | None, tyro.conf.arg(metavar="URL")] = None
    """A bucket, s3://BUCKET/PREFIX, for machines without a common disk: finished runs go there and come from there."""

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise UserError(f"--retries {self.retries} cannot be; 0 is the least: a failed run is not tried again")
        if self.parallel < 1 or self.cpus_per_run < 1 or self.gpus_per_run < 0:
            raise UserError("--parallel and --cpus-per-run are at least 1, --gpus-per-run at least 0")
        for name, engines in ELSEWHERE.items():
            if getattr(self, name) != getattr(type(self), name) and self.on not in engines:
                flag = "--" + name.replace("_", "-")
                raise UserError(f"{flag} is for {' and '.join(engines)}; add --on {engines[0]}, or leave {flag} out")
        if self.on != "local" and self.parallel != 1:
            raise UserError(f"--parallel is for this machine; {self.on} runs as many at a time as it has room for")

    @property
    def cores(self) -> int:
        """CPU threads of a run that does not say how many it wants."""
        return self.cpus_per_run if self.on != "local" else max(1, (os.cpu_count() or 1) // self.parallel)

    def fetch(self, works: "Sequence[Work]", out: Path) -> None:
        """What the mirror has and we have not comes here; what we have and it has not goes there."""
        if self.mirror is None:
            return
        from halfseen.grid.mirror import Mirror

        mirror = Mirror(self.mirror)
        there = mirror.finished()
        for work in works:
            name = work.folder.relative_to(out).as_posix()
            if work.finished and name not in there:
                mirror.upload(work.folder, name)
            elif name in there and not work.finished:
                mirror.fetch(name, work.folder)

    def run(
        self, works: "Sequence[Work]", out: Path, on_finish: "Callable[[Work], None]" = lambda work: None
    ) -> "dict[Work, str]":
        """Run what is not finished; returns what failed, with its last line."""
        from halfseen.grid.loop import run_all
        from halfseen.grid.node import code

        told: dict[str, str] = {} if self.on == "local" else {"code": code()}
        if self.mirror is None:
            orders = [replace(w, order={**w.order, **told}) for w in works]
            return run_all(orders, self.executor(out), self.retries, on_finish)
        orders = [
            replace(w, order={**w.order, **told, "mirror": [self.mirror, w.folder.relative_to(out).as_posix()]})
            for w in works
        ]
        failed = run_all(orders, self.executor(out), self.retries, on_finish, lambda work: self.fetch([work], out))
        self.fetch(works, out)  # what a run could not send itself
        return failed

    def executor(self, out: Path) -> "Executor":
        """Each engine is imported where it is asked for."""
        if self.on == "ray":
            from halfseen.grid.ray import Ray

            return Ray(out, self.address, self.cpus_per_run, self.gpus_per_run, self.retries, self.mirror is None)
        if self.on == "slurm":
            from halfseen.grid.slurm import Slurm

            return Slurm(out, self.slurm, self.cpus_per_run, self.gpus_per_run)
        from halfseen.grid.local import Local

        return Local(self.parallel)
