"""Folders, files and caches that may not be read or written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from halfseen.data import open_data
from tests.bad_input.given import LABELS, QUICK, entries, fill, table
from tests.shell import Ended


def test_an_out_folder_that_may_not_be_written(powerless: Callable[[], Any], wrong: Callable[..., str]) -> None:
    Path("locked").mkdir(mode=0o555)
    with powerless():
        said = wrong("train", "mine.npz", *QUICK, "--out", "locked/run")
        assert "the folder locked/run cannot be made (locked may not be written to); choose another --out" in said
        assert "may not be written to" in wrong("train", "mine.npz", *QUICK, "--out", "locked")


def test_a_data_folder_that_may_only_be_read(powerless: Callable[[], Any], cli: Callable[..., Ended]) -> None:
    """Nothing is written there: the cache has its own place."""
    root = fill(Path("mine"), {"cat": 3, "dog": 3, "unlabelled": 3})
    for folder in (root / "cat", root / "dog", root / "unlabelled", root):
        folder.chmod(0o555)
    before = sorted(p.stat().st_mtime_ns for p in root.rglob("*"))
    with powerless():
        ended = cli("train", root, *QUICK, "--steps", "1", "--out", "run")
    assert ended.code == 0, ended.err
    assert sorted(p.stat().st_mtime_ns for p in root.rglob("*")) == before
    assert len(list(Path("cache").iterdir())) == 2  # the entry and its lock


def test_a_cache_folder_that_may_not_be_written(powerless: Callable[[], Any], wrong: Callable[..., str]) -> None:
    root = fill(Path("mine"), {"cat": 3, "dog": 3, "unlabelled": 3})
    Path("cache").chmod(0o555)
    with powerless():
        said = wrong("train", root, *QUICK)
    assert "could not be kept in" in said
    assert "(Permission denied): make room there, or set HALFSEEN_CACHE to a folder with room" in said


def test_a_cache_that_is_there_may_be_read_only(powerless: Callable[[], Any]) -> None:
    root = fill(Path("mine"), {"cat": 3, "dog": 3, "unlabelled": 3})
    made = open_data(root).fingerprint()
    entries()[0].chmod(0o755)  # as somebody would who shares it
    Path("cache").chmod(0o555)
    with powerless():
        assert open_data(root).fingerprint() == made


def test_files_that_may_not_be_read(powerless: Callable[[], Any], cli: Callable[..., Ended]) -> None:
    root = fill(Path("mine"), {"cat": 8, "dog": 8, "unlabelled": 3})
    (root / "cat/2.png").chmod(0o000)
    with powerless():
        ended = cli("train", root, *QUICK, "--steps", "1", "--out", "run")
        assert ended.code == 0, ended.err
        assert "1 file was left out: cat/2.png (the file may not be read)" in ended.err
        assert len(open_data(root).skipped) == 1
    (root / "cat/2.png").chmod(0o444)  # neither its size nor its time has changed
    with powerless():
        assert open_data(root).skipped == ()


def test_folders_and_tables_that_may_not_be_read(powerless: Callable[[], Any], wrong: Callable[..., str]) -> None:
    root = table(LABELS)
    (root / "labels.csv").chmod(0o000)
    with powerless():
        assert "labels.csv could not be read (Permission denied): check the file" in wrong("train", root)
    (root / "labels.csv").unlink()
    inner = fill(Path("more"), {"cat": 2, "dog": 2})
    (inner / "cat").chmod(0o000)
    with powerless():
        said = wrong("train", inner)
        assert "The folder more/cat could not be read (Permission denied): check its permissions." in said
    inner.chmod(0o000)
    with powerless():
        assert "more could not be read (Permission denied)" in wrong("train", inner)
        assert "more/cat may not be read: check the permissions of the folders above it" in wrong("train", "more/cat")
