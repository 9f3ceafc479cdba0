"""Many runs: order, retries, what was finished elsewhere, signals; and what is shown meanwhile."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

import halfseen.grid.loop as loop
from halfseen.errors import UserError
from halfseen.grid.board import Board
from halfseen.grid.loop import complain, run_all
from halfseen.grid.where import Where
from halfseen.grid.work import Work, standing
from tests.grid.fake import Fake, finish, half_way, work_in

WAIT = 120


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOOK_EVERY", 0.0)


def test_what_fails_is_tried_again_and_ends_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    works = [work_in(tmp_path, n) for n in range(4)]
    finish(works[0])
    tries: list[int] = []

    def does(work: Work) -> str:
        tries.append(work.draw)
        if work.draw == 2 or (work.draw == 1 and tries.count(1) < 2):
            work.log.write_text(f"step 3\nhalfseen: no luck {tries.count(work.draw)}\n")
            return "ended by SIGKILL"
        finish(work)
        return ""

    told: list[int] = []
    failed = run_all(works, Fake(1, does), 2, lambda w: told.append(w.draw))
    assert tries == [1, 1, 2, 2, 2, 3]
    assert told == [1, 3]
    assert failed == {works[2]: "ended by SIGKILL, no luck 3"}
    said = capsys.readouterr().err
    assert "4 runs, 1 of them finished already" in said
    assert "fake-8-1: failed, is tried again: ended by SIGKILL, no luck 1" in said
    assert "fake-8-3: 50.00% in 0:00; 2/3, 1 failed" in said
    with pytest.raises(UserError, match=r"1 of 4 runs failed, and the same command tries them again: .*no luck 3"):
        complain(failed, 4)
    complain({}, 4)


def test_as_many_as_there_is_room_for(tmp_path: Path) -> None:
    works = [work_in(tmp_path, n) for n in range(5)]

    def does(work: Work) -> str:
        finish(work)
        return ""

    executor = Fake(3, does)
    assert run_all(works, executor, 0) == {}
    assert [[w.draw for w in each] for each in executor.begun] == [[0, 1, 2], [3, 4]]


def test_what_another_machine_finished_is_not_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    works = [work_in(tmp_path, n) for n in range(3)]

    def does(work: Work) -> str:
        finish(work)
        finish(works[2])
        return ""

    executor, told = Fake(1, does), []
    run_all(works, executor, 0, lambda w: told.append(w.draw))
    assert [w.draw for each in executor.begun for w in each] == [0, 1]
    assert sorted(told) == [0, 1, 2]
    assert "fake-8-2: finished elsewhere" in capsys.readouterr().err


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_runs(signum: int, tmp_path: Path) -> None:
    def does(work: Work) -> str:
        os.kill(os.getpid(), signum)
        time.sleep(0.2)
        return ""

    executor = Fake(1, does)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        run_all([work_in(tmp_path, 0)], executor, 0)
    assert executor.stopped
    assert signal.getsignal(signal.SIGTERM) == before


def test_how_far_a_run_is_is_read_from_its_folder(tmp_path: Path) -> None:
    work = work_in(tmp_path, 0)
    assert standing(work).steps == 0
    half_way(work, 0.75)
    at = standing(work)
    assert (at.step, at.steps, at.seconds, at.val, at.left) == (100, 200, 20.0, 0.75, 20.0)


@pytest.mark.parametrize(("height", "rows"), [(20, 14), (600, 500)])
def test_the_table_fits_the_terminal(height: int, rows: int, tmp_path: Path) -> None:
    works = [work_in(tmp_path, n) for n in range(500)]
    for work in works:
        half_way(work, 0.75)
    board = Board(500, 0)
    board.started(works)
    console = Console(file=io.StringIO(), width=80)
    began = time.monotonic()
    console.print(board.picture(height))
    assert time.monotonic() - began < 10
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len([line for line in lines if "100/200" in line]) == rows
    assert lines[1].split() == ["fake", "8", "0", "100/200", "0:20", "75.0%"]
    assert ("not shown" in lines[-1]) == (rows < 500)


def test_where_refuses_what_cannot_be() -> None:
    with pytest.raises(UserError, match="--retries -1 cannot be"):
        Where(retries=-1)


# ---- with real processes ----------------------------------------------------------------------------------------------


def command(out: Path, steps: int) -> list[str]:
    words = ["compare", "blobs", "--methods", "supervised", "--num-labels", "8", "--seeds", "2", "--batch", "8"]
    words += ["--steps", str(steps), "--threads", "1", "--parallel", "2", "--no-report", "--out", str(out)]
    return [sys.executable, "-m", "halfseen", *words]


def begun(out: Path) -> bool:
    return all((out / f"supervised-8-{n}" / "log.jsonl").is_file() for n in range(2))


def wait_for(what: object, seconds: float = WAIT) -> None:
    until = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.1)


def alive(out: Path) -> list[int]:
    """Processes that write a run below `out`."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = each.read_bytes()
        except OSError:
            continue
        if b"halfseen.commands.compare" in words and str(out).encode() in words:
            found.append(int(each.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc to see who is alive")
def test_one_ctrl_c_saves_all_and_a_killed_parent_too(tmp_path: Path) -> None:
    """The signal of a terminal goes to the whole group; a run that heard it twice would end without its checkpoint."""
    out = tmp_path / "out"
    for signum in (signal.SIGINT, signal.SIGKILL):
        process = subprocess.Popen(command(out, 400_000), stderr=subprocess.PIPE, text=True, start_new_session=True)
        wait_for(lambda: begun(out))
        time.sleep(0.5)
        os.killpg(process.pid, signum)
        said = process.communicate(timeout=WAIT)[1]
        if signum == signal.SIGINT:
            assert process.returncode == 130
            assert not alive(out)
            assert "the runs save themselves" in said
            assert "Traceback" not in said
        else:
            wait_for(lambda: not alive(out))  # each sees that nobody waits for it
        steps = [Path(out / f"supervised-8-{n}.log").read_text().rpartition("Stopped at step ")[2] for n in range(2)]
        for n, text in enumerate(steps):
            run = out / f"supervised-8-{n}"
            assert int(text.split()[0]) > 0
            assert (run / "checkpoints" / "last.pt").is_file()
            assert json.loads((run / "config.json").read_text())["steps"] == 400_000
