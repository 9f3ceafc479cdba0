"""Runs as tasks of a Ray cluster: Ray decides where and when, and starts a task again whose node is lost.

A task is a process of its own on its node, as on this machine, in a folder that all nodes see. A run that is started again
goes on from its last checkpoint to the same numbers, bit for bit.
"""

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from halfseen.errors import UserError
from halfseen.grid.local import how_it_ended
from halfseen.grid.node import code, complaint, passed_on
from halfseen.grid.work import Work

ANSWERS = 5.0  # seconds for an address to answer
PROBE = 120.0  # seconds for a node to say what it has: its first Python may come from a slow disk
SAVING = 90.0  # seconds for the runs to save themselves
MARK = ".seen-by-all-nodes"


class Ray:
    def __init__(
        self, out: Path, address: str | None, cpus: float, gpus: float, retries: int, shared: bool = True
    ) -> None:
        """out: the folder of the runs; shared: must every node see it?"""
        self.ray = need_ray()
        self.cpus, self.gpus, self.retries = cpus, gpus, retries
        self.refs: dict[Any, Work] = {}
        connect(self.ray, address)
        try:
            self.need_resources()
            self.need_nodes(out.absolute(), shared)
        except BaseException:
            self.ray.shutdown()
            raise

    @property
    def room(self) -> int:
        return 1_000_000  # Ray has a queue of its own

    def start(self, works: Sequence[Work]) -> None:
        needs = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_retries": self.retries}
        task = self.ray.remote(**needs)(on_node())
        for work in works:
            self.refs[task.remote(work, os.getcwd())] = work

    def ended(self) -> list[tuple[Work, str]]:
        if not self.refs:
            return []
        over, _ = self.ray.wait(list(self.refs), num_returns=len(self.refs), timeout=0)
        return [(self.refs.pop(ref), self.end_of(ref)) for ref in over]

    def end_of(self, ref: Any) -> str:
        try:
            return how_it_ended(self.ray.get(ref))
        except self.ray.exceptions.RayError as e:
            return f"Ray: {type(e).__name__}: {str(e).strip().splitlines()[-1]}"

    def stop(self) -> None:
        """A task that is cancelled asks its run to save; what has not begun never does."""
        for ref in self.refs:
            self.ray.cancel(ref)
        if self.refs:
            self.ray.wait(list(self.refs), num_returns=len(self.refs), timeout=SAVING)
        self.ray.shutdown()

    # ---- before anything starts ----------------------------------------------------------------------------------------

    def need_resources(self) -> None:
        """Some node must hold what one run asks for, or Ray would wait for ever."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        for name, asked, flag in (("GPU", self.gpus, "--gpus-per-run"), ("CPU", self.cpus, "--cpus-per-run")):
            most = max((node.get(name, 0) for node in nodes), default=0)
            if asked > most:
                raise UserError(
                    f"no node of the Ray cluster has {asked:g} {name}s for a run, the largest has {most:g}; give a smaller "
                    f"{flag}, or another --address"
                )

    def need_nodes(self, out: Path, shared: bool) -> None:
        """Every node has this halfseen and sees the folder."""
        out.mkdir(parents=True, exist_ok=True)
        mark = out / MARK
        mark.touch()
        try:
            affinity = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
            nodes = {node["NodeID"]: node["NodeManagerHostname"] for node in self.ray.nodes() if node["Alive"]}
            probe = self.ray.remote(num_cpus=0, max_retries=0)(on_probe())
            asked = {n: probe.options(scheduling_strategy=affinity(n, soft=False)).remote(str(mark)) for n in nodes}
            for node, ref in asked.items():
                try:
                    found = self.ray.get(ref, timeout=PROBE)
                except (self.ray.exceptions.RayError, TimeoutError) as e:
                    raise UserError(
                        f"the node {nodes[node]} of the Ray cluster does not answer ({type(e).__name__}); take it out of "
                        "the cluster, or start it again"
                    ) from e
                wrong = complaint(nodes[node], found, out, code(), shared)
                if wrong:
                    raise UserError(wrong)
        finally:
            mark.unlink(missing_ok=True)


def need_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as e:
        raise UserError("--on ray needs its extra; run pip install 'halfseen[fleet]'") from e
    return ray


def connect(ray: Any, address: str | None) -> None:
    """Join the cluster at the address (host:port, auto, or $RAY_ADDRESS), else start one of this machine alone."""
    place = (address or "").removeprefix("ray://")
    if ":" in place:
        host, _, port = place.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=ANSWERS).close()
        except (OSError, ValueError, OverflowError) as e:
            raise UserError(
                f"no Ray cluster answers at {address} ({getattr(e, 'strerror', None) or e}); `ray status` on its head says "
                "where it is"
            ) from e
    told: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(**told, runtime_env={"env_vars": passed_on()}, configure_logging=True)
    except (ConnectionError, RuntimeError, ValueError, OSError) as e:
        why = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise UserError(
            f"Ray cannot be joined at {address or 'this machine'}: {why}; start it with `ray start --head`, or leave "
            "--address out for this machine alone"
        ) from e


def on_node() -> Any:
    """The task. A function inside a function goes to the node as it is, whatever is installed there."""

    def do(work: Work, place: str) -> int:
        import os
        import time

        from halfseen.grid.local import end, launch

        if os.path.isdir(place):
            os.chdir(place)  # relative paths mean there what they mean here
        process = launch(work)
        try:
            while process.poll() is None:  # a call that waits would not hear of it
                time.sleep(0.2)
            return process.returncode
        except KeyboardInterrupt:  # it was cancelled
            process.terminate()
            end(process)
            raise

    return do


def on_probe() -> Any:
    def look(mark: str) -> dict[str, Any]:
        import os

        found = {"code": "", "sees": os.path.exists(mark)}
        try:
            from halfseen.grid.node import code

            found["code"] = code()
        except ImportError:  # none, or one without this file
            try:
                import halfseen

                found["code"] = halfseen.__version__
            except ImportError:
                pass
        return found

    return look
