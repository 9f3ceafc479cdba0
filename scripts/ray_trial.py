"""50 short runs here and on a Ray cluster of two nodes: wall time, and whether the weights are the same bytes.

python scripts/ray_trial.py    # results/ray_trial.json

Both nodes are on this machine and share its cores, so the time says what Ray costs, not what a second machine gains. `local`
runs as many at a time as the two nodes have cores. With --kill, a node is taken away when a third of the runs have finished.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch

from halfseen.machine.environment import environment

METHODS = ("fixmatch", "pseudo_label", "mean_teacher", "pi_model")  # and supervised, which compare adds
CORES = 1  # of a node


def words(out: Path, options: argparse.Namespace) -> list[str]:
    """Five methods on as many label draws as make up the number of runs."""
    draws = -(-options.runs // (len(METHODS) + 1))
    found = ["compare", "digits", "--methods", *METHODS, "--num-labels", "20", "--seeds", str(draws), "--batch", "16"]
    found += ["--unlabelled-batch", "48", "--steps", str(options.steps), "--set", "net.width=8", "--threads", "1"]
    return [*found, "--no-report", "--save-every", "5", "--out", str(out)]


def timed(more: list[str]) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "halfseen", *more], check=True)
    return round(time.monotonic() - began, 1)


def weights(out: Path) -> dict[str, str]:
    """Digests of the weights of every finished run."""
    files = sorted(out.glob("*/model/*.safetensors"))
    return {str(f.relative_to(out)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def on_two_nodes(out: Path, options: argparse.Namespace) -> float:
    from ray.cluster_utils import Cluster

    memory = 100 * 2**20
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": CORES, "object_store_memory": memory})
    other = cluster.add_node(num_cpus=CORES, object_store_memory=memory)
    cluster.wait_for_nodes()
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.5):
            if len(list(out.glob("*/metrics.json"))) * 3 >= options.runs:
                cluster.remove_node(other, allow_graceful=False)
                return

    if options.kill:
        threading.Thread(target=kill, daemon=True).start()
    try:
        return timed([*words(out, options), "--on", "ray", "--address", cluster.address])
    finally:
        over.set()
        cluster.shutdown()


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--runs", type=int, default=50)
    options.add_argument("--steps", type=int, default=300)
    options.add_argument("--kill", action="store_true")
    options.add_argument("--out", type=Path, default=Path("results/ray_trial.json"))
    asked = options.parse_args()
    os.environ |= {"PYTHONPATH": str(Path(__file__).parents[1]), "RAY_USAGE_STATS_ENABLED": "0"}
    told: dict[str, Any] = {"runs": asked.runs, "steps": asked.steps, "node_killed": asked.kill}
    with tempfile.TemporaryDirectory() as place:
        here, there = Path(place) / "local", Path(place) / "ray"
        told["seconds_local"] = timed([*words(here, asked), "--parallel", str(2 * CORES)])
        told["seconds_ray"] = on_two_nodes(there, asked)
        one, two = weights(here), weights(there)
    told["same_bytes"] = one == two and len(one) >= asked.runs
    told |= {"files_of_weights": len(one), "machine": environment(torch.device("cpu"))}
    asked.out.write_text(json.dumps(told, indent=1) + "\n")
    print(f"{told['seconds_local']} s here, {told['seconds_ray']} s on Ray; the same bytes: {told['same_bytes']}")
    sys.exit(not told["same_bytes"])


if __name__ == "__main__":
    main()
