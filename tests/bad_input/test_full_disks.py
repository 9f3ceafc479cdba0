"""Full disks: a sentence, nothing half written, and a run that goes on once there is room."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from halfseen.data import decoder, open_data
from halfseen.machine import files
from halfseen.run import folder as run_folder
from halfseen.training import checkpoint
from tests.bad_input.given import LAST, QUICK, RUN, fill, scores
from tests.shell import Ended

needs_dev_full = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="no /dev/full, on which the disk is always full"
)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`with full_disk(module, "last.pt", after=2):` the third file that the module writes for last.pt meets a full disk."""

    @contextlib.contextmanager
    def full(module: Any, name: str, after: int = 0) -> Iterator[None]:
        times = 0

        def opener(path: Path, mode: str = "r") -> Any:
            nonlocal times
            if name in Path(path).name and set(mode) & set("wa"):
                times += 1
                if times > after:
                    Path(path).touch()  # an empty file can still be made
                    return open("/dev/full", mode)
            return open(path, mode)

        with monkeypatch.context() as patch:
            patch.setattr(module, "open", opener, raising=False)
            yield
        assert times > after  # the disk was met

    return full


PLACES = ["environment.json", "split.json", "method.py", "config.json", "last.pt", "best.pt", "model.safetensors"]
PLACES += ["model.json", "outputs.npz", "metrics.json"]


@needs_dev_full
@pytest.mark.parametrize("name", PLACES)
def test_a_full_disk(name: str, finished: Path, full_disk: Callable[..., Any], cli: Callable[..., Ended]) -> None:
    shutil.copy(finished / "mine.npz", ".")
    with full_disk(files, name):
        ended = cli("train", "mine.npz", *RUN, "--out", "run")
    assert ended.code == 2
    last = ended.err.splitlines()[-1]
    assert last.startswith("halfseen: ")
    assert f"{name} could not be written (No space left on device); free some space" in last
    assert not list(Path().rglob("*.part"))
    if PLACES.index(name) < PLACES.index("last.pt"):  # the run had not begun
        assert not Path("run").exists()
        assert cli("train", "mine.npz", *RUN, "--out", "run").code == 0
    else:
        assert cli("train", "--out", "run", "--resume").code == 0
    assert scores(Path("run")) == scores(finished / "run")


@needs_dev_full
def test_the_last_good_checkpoint_outlives_a_full_disk(
    finished: Path, full_disk: Callable[..., Any], cli: Callable[..., Ended]
) -> None:
    shutil.copy(finished / "mine.npz", ".")
    with full_disk(files, "last.pt", after=2):
        ended = cli("train", "mine.npz", *RUN, "--out", "run")
    assert "the checkpoint run/checkpoints/last.pt could not be written (No space left on device)" in ended.err
    assert "add --resume" in ended.err
    assert checkpoint.load("run" / LAST)["total"] == 2
    ended = cli("train", "--out", "run", "--resume")
    assert "3 steps from step 2" in ended.err
    assert scores(Path("run")) == scores(finished / "run")


@needs_dev_full
def test_a_full_disk_under_the_page(finished: Path, full_disk: Callable[..., Any], cli: Callable[..., Ended]) -> None:
    shutil.copy(finished / "mine.npz", ".")
    paged = [word for word in RUN if word != "--no-report"]
    with full_disk(files, "report.html"):
        ended = cli("train", "mine.npz", *paged, "--out", "run")
    assert ended.code == 2
    assert "report.html could not be written (No space left on device); free some space" in ended.err
    ended = cli("train", "--out", "run", "--resume")
    assert ended.code == 0
    assert "run is finished already, only its page is missing" in ended.err
    assert "The page that shows why to believe it: run/report.html" in ended.err
    assert Path("run/report.html").is_file()
    assert "nothing is left to do" in cli("train", "--out", "run", "--resume").err


@needs_dev_full
def test_a_full_disk_under_the_log(finished: Path, full_disk: Callable[..., Any], cli: Callable[..., Ended]) -> None:
    shutil.copy(finished / "mine.npz", ".")
    with full_disk(run_folder, "log.jsonl", after=3):
        ended = cli("train", "mine.npz", *RUN, "--out", "run")
    assert ended.code == 2
    assert "log.jsonl could not be written (No space left on device); free some space and add --resume" in ended.err
    assert cli("train", "--out", "run", "--resume").code == 0
    assert scores(Path("run")) == scores(finished / "run")


@needs_dev_full
def test_a_full_disk_under_the_predictions(
    finished: Path, full_disk: Callable[..., Any], wrong: Callable[..., str]
) -> None:
    with full_disk(files, "p.csv"):
        said = wrong("predict", finished / "run", finished / "mine.npz", "--out", "p.csv")
    assert "p.csv could not be written (No space left on device); free some space" in said
    assert not Path("p.csv").exists()


@needs_dev_full
@pytest.mark.parametrize("name", ["x.u8", "meta.json"])
def test_a_full_disk_under_the_cache(name: str, wrong: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    root = fill(Path("mine"), {"cat": 4, "dog": 4, "unlabelled": 4})
    with monkeypatch.context() as patch:
        if name == "x.u8":
            work = decoder.work

            def unwritten(job: Any, out: Any) -> Any:
                with open("/dev/full", "r+b") as full:
                    return work(job, full)

            patch.setattr(decoder, "work", unwritten)
        else:
            write = Path.write_text

            def no_room(path: Path, *more: Any) -> int:
                return write(Path("/dev/full") if path.name == name else path, *more)

            patch.setattr(Path, "write_text", no_room)
        said = wrong("train", root, *QUICK)
    assert "(No space left on device): make room there, or set HALFSEEN_CACHE to a folder with room" in said
    assert [p.suffix for p in Path("cache").iterdir()] == [".lock"]  # nothing that could be taken for a result
    assert len(open_data(root).x) == 12


IN_A_SMALL_DISK = """
set -e
mount -t tmpfs -o size=400k tmpfs disk
set +e
"$PYTHON" - <<'END'
import subprocess, sys
from halfseen.cli import main

def command(*args):
    try:
        main(list(args))
        return 0
    except SystemExit as e:
        return e.code

first = command("train", "mine.npz", *sys.argv[1:], *"ARGS".split(), "--out", "disk/run")
subprocess.run(["mount", "-o", "remount,size=64m", "disk"], check=True)
again = command("train", "--out", "disk/run", "--resume")
print(first, again)
END
cp -r disk/run kept
"""


def test_a_disk_that_is_really_small(finished: Path) -> None:
    """A file system of 400 kB in a name space of its own, where the system lets us make one."""
    shutil.copy(finished / "mine.npz", ".")
    Path("disk").mkdir()
    able = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs -o size=400k tmpfs disk"]
    if not shutil.which("unshare") or subprocess.run(able, capture_output=True, check=False).returncode:
        pytest.skip("the system lets nobody make a small file system")
    done = subprocess.run(
        [*able[:-1], IN_A_SMALL_DISK.replace("ARGS", " ".join(RUN))],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
    )
    assert done.stdout.strip() == "2 0", done.stderr
    assert "could not be written (No space left on device)" in done.stderr
    assert "Traceback" not in done.stderr
    assert scores(Path("kept")) == scores(finished / "run")
