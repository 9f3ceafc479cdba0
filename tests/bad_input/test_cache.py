"""The cache: stopped, truncated, of an older format, built by two at once, or in a place that cannot be."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from halfseen.data import cache, decoder, images, open_data
from halfseen.errors import UserError
from tests.bad_input.given import QUICK, entries, fill
from tests.shell import Ended


@pytest.fixture
def pictures() -> Path:
    return fill(Path("mine"), {"cat": 6, "dog": 6})


def test_ctrl_c_while_the_cache_is_built(
    pictures: Path, cli: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = decoder.work

    def press_ctrl_c(job: Any, out: Any) -> Any:
        report = work(job, out)
        os.kill(os.getpid(), signal.SIGINT)
        return report

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    try:
        with monkeypatch.context() as patch:
            patch.setattr(decoder, "work", press_ctrl_c)
            ended = cli("train", pictures, *QUICK, "--out", "run")
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.code == 130
    assert ended.err == "\nhalfseen: stopped\n"
    assert entries() == []
    assert not Path("run").exists()
    assert open_data(pictures).x[11, 0, 0, 0] == 36


@pytest.mark.parametrize(
    "harm",
    [
        lambda entry: os.truncate(entry / "x.u8", 100),
        lambda entry: os.truncate(entry / "x.u8", 0),
        lambda entry: (entry / "x.u8").unlink(),
        lambda entry: (entry / "meta.json").write_text("{"),
        lambda entry: (entry / "meta.json").write_bytes(b"\xff"),
        lambda entry: (entry / "meta.json").write_text('{"shape": [12, 1, 8], "bad": [], "sha256": ""}'),
        lambda entry: (entry / "meta.json").write_text('{"shape": [-12, -1, 8, 8], "bad": [], "sha256": ""}'),
        lambda entry: (entry / "meta.json").write_text('{"shape": [11, 1, 8, 8], "bad": [[99, "x"]], "sha256": ""}'),
        lambda entry: (entry / "meta.json").write_text('{"shape": [1e999, 1, 8, 8], "bad": [], "sha256": ""}'),
    ],
    ids=["cut", "empty", "gone", "meta cut", "meta binary", "meta short", "meta negative", "meta beyond", "meta vast"],
)
def test_a_truncated_cache_is_rebuilt(harm: Callable[[Path], Any], pictures: Path) -> None:
    whole = open_data(pictures).fingerprint()
    harm(entries()[0])
    data = open_data(pictures)
    assert data.fingerprint() == whole
    assert data.x[:, 0, 0, 0].tolist() == list(range(3, 37, 3))


def test_a_cache_of_an_older_format_is_rebuilt(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(images, "VERSION", images.VERSION - 1)
        open_data(pictures)
    (old,) = entries()
    (old / "x.u8").write_bytes(bytes(12 * 64))  # as the older program decoded them
    assert open_data(pictures).x[:, 0, 0, 0].tolist() == list(range(3, 37, 3))


def test_two_processes_building_one_cache() -> None:
    """Another process and this one; whoever comes second waits and takes what the first has made."""
    root = fill(Path("mine"), {"cat": 150, "dog": 150})
    code = f"from halfseen.data import open_data; print(open_data({str(root)!r}, workers=1).fingerprint())"
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 300
    while not list(Path("cache").glob("*")) and other.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    here = open_data(root, workers=1)
    out, err = other.communicate(timeout=300)
    assert other.returncode == 0, err
    assert out.strip() == here.fingerprint()
    assert here.x[299, 0, 0, 0] == 900 % 256
    assert len(entries()) == 1


def test_two_building_one_cache_where_there_are_no_locks(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network disks: both decode at the same time, and neither removes what the other is at."""
    import fcntl

    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    decode_all, together = cache.decode_all, threading.Barrier(2, timeout=60)

    def at_once(*arguments: Any, **options: Any) -> Any:
        together.wait()
        return decode_all(*arguments, **options)

    monkeypatch.setattr(fcntl, "flock", refused)
    monkeypatch.setattr(cache, "decode_all", at_once)
    found: list[str | Exception] = []

    def open_it() -> None:
        try:
            found.append(open_data(pictures).fingerprint())
        except Exception as e:
            found.append(e)

    threads = [threading.Thread(target=open_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert isinstance(found[0], str), found
    assert found[0] == found[1]
    assert len(entries()) == 1


def test_a_cache_that_is_a_file(wrong: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("taken").write_text("x")
    monkeypatch.setenv("HALFSEEN_CACHE", "taken")
    said = wrong("train", fill(Path("mine"), {"cat": 3, "dog": 3}))
    assert "could not be kept in taken (File exists)" in said


def test_a_machine_without_home_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFSEEN_CACHE", "~no-such-user/cache")
    with pytest.raises(UserError, match=r"There is no home folder .* set HALFSEEN_CACHE to a folder"):
        open_data(fill(Path("mine"), {"cat": 3, "dog": 3}))
