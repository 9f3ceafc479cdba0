"""Runs on Ray: a node that dies in the middle, and what is refused before anything starts."""

import hashlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import halfseen.grid.ray as on_ray
from halfseen.cli import main
from halfseen.grid.node import code, complaint

ray = pytest.importorskip("ray", reason="the extra fleet is not installed")
from ray.cluster_utils import Cluster  # noqa: E402  # only where ray is

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["compare", "blobs", "--methods", "fixmatch", "--num-labels", "8", "--seeds", "1", "--batch", "8"]
WORDS += ["--unlabelled-batch", "16", "--steps", "2000", "--threads", "1", "--no-report", "--save-every", "1"]
RUNS = ["supervised-8-0", "fixmatch-8-0"]

# threads of Ray are still about when a process of another test ends
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of two cores each, whose processes find this checkout."""
    before = {k: os.environ.get(k) for k in ("PYTHONPATH", "RAY_USAGE_STATS_ENABLED")}
    os.environ |= {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    memory = 100 * 2**20
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": memory})
    made.add_node(num_cpus=2, object_store_memory=memory)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()
    for key, value in before.items():
        os.environ.pop(key, None) if value is None else os.environ.update({key: value})


def weights(out: Path) -> dict[str, str]:
    return {
        f"{run}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for run in RUNS
        for path in sorted((out / run / "model").glob("*.safetensors"))
    }


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()
    return said[-1]


def test_more_than_any_node_has_is_refused(cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*WORDS, "--out", str(tmp_path / "out"), "--on", "ray", "--address", cluster.address]
    assert "no node of the Ray cluster has 3 GPUs for a run, the largest has 0" in refused(
        [*words, "--gpus-per-run", "3"], capsys
    )
    assert "no node of the Ray cluster has 9 CPUs" in refused([*words, "--cpus-per-run", "9"], capsys)


def test_a_node_with_other_code_and_a_path_that_it_does_not_see(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*WORDS, "--out", str(tmp_path / "out"), "--on", "ray", "--address", cluster.address]
    monkeypatch.setattr(on_ray, "code", lambda: "9.9 (other)")
    said = refused(words, capsys)
    assert f"has halfseen {code()} and this machine 9.9 (other); install the same version on both" in said
    monkeypatch.undo()
    monkeypatch.setattr(Path, "touch", lambda self: None)  # as if written on a disk of this machine alone
    said = refused(words, capsys)
    assert f"does not see {tmp_path / 'out'}; give an --out on a disk that all nodes share" in said


def test_a_node_without_halfseen() -> None:
    told = complaint("n1", {"code": "", "sees": True}, Path("/out"), "1.0", True)
    assert told == "the node n1 has no halfseen and this machine 1.0; install the same version on both"
    assert not complaint("n1", {"code": "1.0", "sees": False}, Path("/out"), "1.0", shared=False)  # with a mirror


def test_no_ray_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    said = refused([*WORDS, "--out", str(tmp_path / "out"), "--on", "ray"], capsys)
    assert said == "halfseen: --on ray needs its extra; run pip install 'halfseen[fleet]'"


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "nosuch.invalid:6379", "127.0.0.1:port"])
def test_an_address_that_does_not_answer(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused([*WORDS, "--out", str(tmp_path / "out"), "--on", "ray", "--address", address], capsys)
    assert said.startswith(f"halfseen: no Ray cluster answers at {address} (")


def test_options_of_one_engine_are_refused_by_another(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*WORDS, "--out", "nowhere"]
    for more, sentence in (
        (["--address", "auto"], "--address is for ray; add --on ray"),
        (["--gpus-per-run", "1"], "--gpus-per-run is for ray and slurm"),
        (["--on", "ray", "--slurm", "time=3"], "--slurm is for slurm; add --on slurm"),
        (["--on", "ray", "--parallel", "3"], "--parallel is for this machine"),
        (["--cpus-per-run", "0"], "at least 1"),
    ):
        assert sentence in refused([*words, *more], capsys)


def test_a_node_that_dies_costs_nothing_but_time(
    cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its runs end on the other node, with the bytes of runs without Ray."""
    alone, out = tmp_path / "alone", tmp_path / "out"
    doomed = next(node for node in cluster.list_all_nodes() if not node.head)
    lost: list[int] = []

    def kill() -> None:
        until = time.monotonic() + 240
        while not all((out / run / "checkpoints" / "last.pt").is_file() for run in RUNS):
            if time.monotonic() > until:
                return
            time.sleep(0.1)
        lost.append(sum((out / run / "metrics.json").is_file() for run in RUNS))
        cluster.remove_node(doomed, allow_graceful=False)

    killer = Thread(target=kill)
    killer.start()
    # a node has room for one of the two
    main([*WORDS, "--out", str(out), "--on", "ray", "--address", cluster.address, "--cpus-per-run", "2"])
    killer.join()
    assert lost, "nothing was killed"
    assert lost[0] < len(RUNS), "all had finished already"
    resumed = [(out / f"{run}.log").read_text().count(" from step ") for run in RUNS]
    assert sum(resumed) >= 1  # on the other node, from the checkpoint
    main([*WORDS, "--out", str(alone), "--parallel", "2"])
    assert len(weights(alone)) >= len(RUNS)
    assert weights(out) == weights(alone)
    assert "2 runs, 0 of them finished already" in capsys.readouterr().err
