"""What the tests of bad input share: commands that must end in a sentence, runs to spoil, permissions that count."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from halfseen.cli import main
from halfseen.commands.train import run
from halfseen.errors import guarded
from halfseen.settings import Settings
from tests.bad_input.given import QUICK, RUN, npz, sentence
from tests.shell import Ended, alone  # noqa: F401  # a fixture for every test here

NOBODY = 65534


@pytest.fixture
def ends(capsys: pytest.CaptureFixture[str]) -> Callable[[Callable[[], object]], Ended]:
    """How work ends that the command line guards."""

    def call(work: Callable[[], object]) -> Ended:
        code = 0
        capsys.readouterr()
        try:
            work()
        except SystemExit as e:
            code = int(e.code or 0)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Ended(code, said.out, said.err)

    return call


@pytest.fixture
def cli(ends: Callable[[Callable[[], object]], Ended]) -> Callable[..., Ended]:
    return lambda *args: ends(lambda: main([str(a) for a in args]))


@pytest.fixture
def wrong(cli: Callable[..., Ended]) -> Callable[..., str]:
    return lambda *args: sentence(lambda: cli(*args))


@pytest.fixture
def wrong_data(ends: Callable[[Callable[[], object]], Ended]) -> Callable[[str | Path], str]:
    """`halfseen train DATA --out run` without the parsing of its words, which would be most of a test's time."""

    def call(data: str | Path) -> str:
        def train() -> None:
            run(str(data), Settings(), Path("run"), False)

        return sentence(lambda: ends(lambda: guarded(train)))

    return call


@pytest.fixture
def trains(cli: Callable[..., Ended]) -> Callable[..., str]:
    """What a short run says on its way; it must reach its end."""

    def call(data: str | Path, *more: str) -> str:
        ended = cli("train", data, *QUICK, "--steps", "2", "--out", "run", *more)
        assert ended.code == 0, ended.err
        assert Path("run/metrics.json").is_file()
        return ended.err

    return call


@pytest.fixture
def powerless(cli: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Any]]:
    """A working folder in which permissions count, and `with powerless():`, in which they do even for root."""
    here = Path(tempfile.mkdtemp())
    here.chmod(0o777)
    monkeypatch.chdir(here)
    cli("train", npz(), *RUN, "--out", "warm")  # imports what lies where nobody may look
    monkeypatch.setenv("HALFSEEN_CACHE", str(here / "cache"))
    (here / "cache").mkdir(mode=0o777)
    (here / "cache").chmod(0o777)

    @contextlib.contextmanager
    def nobody() -> Iterator[None]:
        root = os.geteuid() == 0
        if root:
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)

    yield nobody
    for folder in [here, *(p for p in here.rglob("*") if p.is_dir() and not p.is_symlink())]:
        folder.chmod(0o777)
    shutil.rmtree(here)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `mine.npz` and a finished `run` on it, with a best checkpoint before the last one."""
    home = tmp_path_factory.mktemp("finished")
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.savez(home / "mine.npz", x=x, y=np.r_[np.arange(24) % 2, -np.ones(16, int)])
    before, threads = Path.cwd(), torch.get_num_threads()
    os.chdir(home)
    try:
        main(["train", "mine.npz", *RUN, "--out", "run"])
    finally:
        os.chdir(before)
        torch.set_num_threads(threads)
    return home


@pytest.fixture
def unfinished(finished: Path) -> Path:
    """The same, stopped after its last step."""
    shutil.copytree(finished, ".", dirs_exist_ok=True)
    Path("run/metrics.json").unlink()
    return Path("run")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder that must hold the same files at the end as when the test had made its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HALFSEEN_CACHE", str(tmp_path / "cache"))
    yield tmp_path
    assert {p.name for p in tmp_path.iterdir()} <= {"mine", "mine.npz", "run", "last.pt", "cache"}
