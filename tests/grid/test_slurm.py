"""Runs on Slurm: by submitit's own local executor, and on a Slurm of one node where one can be started."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
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
from tests.grid import slurm_here

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


@pytest.fixture(scope="module")
def real() -> Iterator[None]:
    """A Slurm to ask: one node that is started here, for this file."""
    if why := slurm_here.why_not():
        pytest.skip(why)
    with (
        tempfile.TemporaryDirectory() as place,
        slurm_here.running(Path(place)) as told,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in {**told, "PYTHONPATH": str(ROOT)}.items():
            patch.setenv(name, value)
        yield


WORDS = ["compare", "blobs", "--methods", "supervised", "--num-labels", "8", "--seeds", "2", "--batch", "8"]
WORDS += ["--threads", "1", "--no-report"]
ON_SLURM = ["--on", "slurm", "--slurm", "time=5"]


@pytest.mark.usefixtures("real")
def test_jobs_of_a_real_slurm_make_the_same_bytes(tmp_path: Path) -> None:
    out, alone = tmp_path / "out", tmp_path / "alone"
    main([*WORDS, "--steps", "30", "--out", str(out), *ON_SLURM])
    main([*WORDS, "--steps", "30", "--out", str(alone)])
    assert weights(alone)
    assert weights(out) == weights(alone)


@pytest.mark.usefixtures("real")
def test_what_a_real_slurm_refuses_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option, said in (("partition=nosuch", "Invalid partition"), ("nosuch=1", "unrecognized option")):
        with pytest.raises(SystemExit) as end:
            main([*WORDS, "--steps", "30", "--out", str(tmp_path / "out"), *ON_SLURM, option])
        assert end.value.code == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert line.startswith("halfseen: Slurm refused the jobs: ")
        assert said in line


@pytest.mark.usefixtures("real")
def test_a_job_that_slurm_takes_away_is_tried_again_from_its_checkpoint(tmp_path: Path) -> None:
    """scancel, as an administrator would: the run saves itself, and its second job goes on."""
    out = tmp_path / "out"
    words = [*WORDS, "--steps", "4000", "--save-every", "1", "--out", str(out), *ON_SLURM]
    words[words.index("2", words.index("--seeds"))] = "1"
    table = subprocess.Popen([sys.executable, "-m", "halfseen", *words], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not (out / "supervised-8-0" / "log.jsonl").is_file():
        assert table.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    time.sleep(0.5)
    subprocess.run(["scancel", "--name", "halfseen"], check=True, timeout=30)
    said = table.communicate(timeout=180)[1]
    assert table.returncode == 0, said
    assert "failed, is tried again" in said
    log = (out / "supervised-8-0.log").read_text()
    assert log.count("Stopped at step ") == log.count(" from step ") == 1


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
