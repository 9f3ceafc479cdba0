"""A Slurm of one node, on this machine and for one test: Debian's slurm-wlm and munge, as root, without cgroups."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "sinfo", "scancel", "munged")
WAIT = 60.0
CONF = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket
SlurmUser=root
SlurmdUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmdSpoolDir={place}/spool
StateSaveLocation={place}/state
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
SchedulerParameters=sched_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=60 State=UP
"""


def why_not() -> str:
    """Why it cannot be started here, or nothing."""
    missing = [name for name in PROGRAMS if found(name) is None]
    if missing:
        return f"there is no {missing[0]} here (apt-get install slurm-wlm munge)"
    return "" if os.geteuid() == 0 else "starting a Slurm needs root"


def found(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


@contextlib.contextmanager
def running(place: Path) -> Iterator[dict[str, str]]:
    """The environment in which sbatch and the others find it."""
    place.chmod(0o755)
    for folder in ("spool", "state"):
        (place / folder).mkdir()
    key = place / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    host = socket.gethostname().split(".")[0]
    conf = place / "slurm.conf"
    conf.write_text(CONF.format(host=host, place=place, ports=free_ports(2), cpus=os.cpu_count()))
    env = {**os.environ, "SLURM_CONF": str(conf)}
    munge = [f"--key-file={key}", f"--socket={place}/munge.socket", f"--pid-file={place}/munge.pid", "--force"]
    munge += [f"--log-file={place}/munge.log", f"--seed-file={place}/munge.seed", "--foreground"]
    started: list[subprocess.Popen[bytes]] = []
    try:
        with open(place / "said", "wb") as said:
            for name, options in (("munged", munge), ("slurmctld", ["-D"]), ("slurmd", ["-D", "-N", host])):
                started.append(subprocess.Popen([str(found(name)), *options], env=env, stdout=said, stderr=said))
                if name == "munged":
                    wait_for(lambda: (place / "munge.socket").exists(), place)
            wait_for(lambda: "idle" in asked("sinfo", "-h", "-o", "%T", env=env), place)
        yield {"SLURM_CONF": str(conf)}
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def asked(*words: str, env: dict[str, str]) -> str:
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=30, check=False).stdout


def wait_for(what: object, place: Path) -> None:
    until = time.monotonic() + WAIT
    while not what():  # type: ignore[operator]
        if time.monotonic() > until:
            logs = "".join(p.read_text(errors="replace")[-2000:] for p in (*place.glob("*.log"), place / "said"))
            raise TimeoutError(f"Slurm did not start: {logs}")
        time.sleep(0.2)


def free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
