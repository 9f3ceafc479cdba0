"""Runs on Slurm: by submitit's own local executor, and for real where Slurm is."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

import halfseen.grid.slurm as on_slurm
from halfseen.cli import main
from halfseen.commands.compare import jobs_of
from halfseen.errors import UserError
from halfseen.grid.loop import run_all
from halfseen.grid.slurm import LOOKS, Slurm, minutes, parameters
from halfseen.grid.where import Where
from halfseen.grid.work import Work
from halfseen.recipes import Row
from halfseen.settings import Settings

pytest.importorskip("submitit", reason="the extra fleet is not installed")
# submitit's local executor leaves its processes to the system
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
ROOT = Path(__file__).resolve().parents[2]


def works(out: Path, bad: bool = False) -> list[Work]:
    common = Settings(val="none", steps=30, batch=8, threads=1, report=False)
    rows = [Row("supervised", 2)] + [Row("supervised", 1, "bad", {"weak": "nosuch"})] * bad
    return [j.work for j in jobs_of("blobs", rows, [8], common, out, Where())]


def weights(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.glob("*/model/*.safetensors"))}


def test_an_array_of_jobs_makes_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that fails is submitted again, and named with its own last line."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    array, alone = tmp_path / "array", tmp_path / "alone"
    mine = works(array, bad=True)
    failed = run_all(mine, Slurm(array, ["time=10"], 1, 0, cluster="local", ask_every=0.5), 1)
    assert [w.folder.name for w in failed] == ["bad-8-0"]
    assert "nosuch" in next(iter(failed.values()))
    assert (array / "bad-8-0.log").read_text().count("halfseen: ") == 2
    assert run_all(works(alone), Where(parallel=2).executor(alone), 0) == {}
    assert weights(alone)
    assert weights(array) == weights(alone)


def works_for_real() -> str:
    """Why a Slurm of this machine cannot be asked, or nothing."""
    if shutil.which("sbatch") is None:
        return "there is no Slurm here (apt-get install slurm-wlm munge)"
    try:
        found = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return "slurmctld does not answer"
    return "" if "idle" in found.stdout else f"no node of Slurm is idle: {(found.stdout + found.stderr).strip()}"


def test_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    if why := works_for_real():
        pytest.skip(why)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    import tempfile

    with tempfile.TemporaryDirectory(dir=Path.home()) as place:  # a path that the job sees too
        out, alone = Path(place) / "out", Path(place) / "alone"
        words = ["compare", "blobs", "--methods", "supervised", "--num-labels", "8", "--seeds", "2", "--batch", "8"]
        words += ["--steps", "30", "--threads", "1", "--no-report"]
        main([*words, "--out", str(out), "--on", "slurm", "--slurm", "time=5"])
        main([*words, "--out", str(alone)])
        assert weights(alone)
        assert weights(out) == weights(alone)


def test_no_slurm_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    words = ["compare", "blobs", "--methods", "supervised", "--steps", "2", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        main([*words, "--on", "slurm"])
    assert end.value.code == 2
    assert "there is no Slurm here (no sbatch); run this on its login node" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "found"),
    [("90", 90), ("90:00", 90), ("2:00:00", 120), ("0:00:30", 0), ("1-12", 2160), ("1-12:30:00", 2190), ("1:30", 2)],
)
def test_times_as_slurm_writes_them(text: str, found: int) -> None:
    if not found:
        with pytest.raises(UserError, match="less than a minute"):
            minutes(text)
        return
    assert minutes(text) == found


def test_options_go_where_submitit_takes_them() -> None:
    told = parameters(["partition=gpu", "--time=2:00:00", "array-parallelism=8", "hint=nomultithread"], 4, 1)
    assert told["slurm_partition"] == "gpu"
    assert told["timeout_min"] == 120
    assert (told["cpus_per_task"], told["gpus_per_node"]) == (4, 1)
    assert told["slurm_array_parallelism"] == 8
    assert told["slurm_additional_parameters"] == {"hint": "nomultithread"}


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("partition", "is not KEY=VALUE"),
        ("time=soon", "is no time"),
        ("cpus_per_task=3", "is said by --cpus-per-run"),
        ("array_parallelism=0", "is a number of jobs"),
    ],
)
def test_wrong_options_are_a_sentence(option: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        parameters([option], 1, 0)
    with pytest.raises(UserError, match="Slurm gives whole GPUs"):
        parameters([], 1, 0.5)


def test_a_node_with_other_code_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm starts what it finds on the node, so the run itself looks."""
    import halfseen.commands.compare as home

    order = {**works(tmp_path)[0].order, "code": "9.9 (other)"}
    with pytest.raises(UserError, match=r"the node .* has halfseen .* and this machine 9\.9 \(other\)"):
        home.child(json.dumps(order))
    assert not (tmp_path / "supervised-8-0").exists()


def test_a_job_that_slurm_lost_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a result and for several looks in no queue; a squeue that does not answer decides nothing."""
    executor = Slurm(tmp_path, [], 1, 0, cluster="local", ask_every=0)
    executor.real = True
    work = works(tmp_path)[0]
    job = SimpleNamespace(job_id="7_0", state="UNKNOWN", paths=SimpleNamespace(result_pickle=tmp_path / "none"))
    executor.jobs[work] = job
    answers: list[set[str] | None] = [set(), {"7", "7_0"}, None, *[set()] * LOOKS]
    monkeypatch.setattr(on_slurm, "in_queue", lambda: answers.pop(0))
    while len(answers) > 1:
        assert executor.ended() == []
    assert executor.ended() == [(work, "the Slurm job 7_0 ended as UNKNOWN")]
