"""A run of two processes that loses one, and goes on with another number of them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from halfseen.cli import main

STEPS = 800
WORDS = ["train", "digits", "--num-labels", "20", "--steps", str(STEPS), "--batch", "8", "--unlabelled-batch", "16"]
WORDS += ["--set", "net.width=8", "--set", "net.dropout=0.3", "--threads", "1", "--no-report", "--save-every", "1"]
WORDS += ["--log-every", "20", "--quiet", "--out"]


def process_of(parent: int, rank: int) -> int:
    """The process that torchrun started with this rank."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            mine = int((place / "stat").read_text().rpartition(")")[2].split()[1]) == parent
            if mine and f"RANK={rank}".encode() in (place / "environ").read_bytes().split(b"\0"):
                return int(place.name)
        except OSError:  # it has ended meanwhile
            continue
    raise AssertionError(f"there is no process of rank {rank}")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find a rank's process")
def test_a_lost_process_ends_the_others_and_one_goes_on_alone(tmp_path: Path) -> None:
    out = tmp_path / "run"
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "halfseen"]
    running = subprocess.Popen([*start, *WORDS, str(out)], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not (out / "checkpoints" / "last.pt").is_file():
        assert running.poll() is None
        assert time.monotonic() < until, "it saved nothing"
        time.sleep(0.05)
    os.kill(process_of(running.pid, 1), signal.SIGKILL)
    killed = time.monotonic()
    said = running.communicate(timeout=60)[1]
    assert time.monotonic() - killed < 30
    assert running.returncode
    assert "halfseen: another process of this run has ended, so this one (rank 0) ends too" in said
    assert not (out / "metrics.json").exists()

    main([*WORDS, str(out), "--resume"])
    steps = [row["step"] for row in map(json.loads, (out / "log.jsonl").read_text().splitlines()) if "L_s" in row]
    assert steps == list(range(20, STEPS + 1, 20))  # nothing is missing, and nothing was logged twice
    assert json.loads((out / "metrics.json").read_text())["steps"] == STEPS
