"""Run folders: where a run cannot be written, and what evaluate and the page find damaged in one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import halfseen
from tests.bad_input.given import QUICK, fill, npz, picture
from tests.shell import Ended


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("full", "full exists already; choose another --out, or add --resume"),
        ("file", "file exists already"),
        ("file/run", "the folder file/run cannot be made (file is a file); choose another --out"),
        ("/proc/run", "cannot be made"),
        ("x" * 300, "cannot be made (File name too long)"),
        ("link", "cannot be made"),
    ],
    ids=["it holds something", "a file", "below a file", "below /proc", "a long name", "a link to nothing"],
)
def test_out_folders_that_cannot_be(out: str, said: str, wrong: Callable[..., str]) -> None:
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    Path("file").write_text("mine")
    Path("link").symlink_to("nothing")
    assert said in wrong("train", npz(), *QUICK, "--steps", "1", "--out", out)
    assert Path("file").read_text() == Path("full/mine.txt").read_text() == "mine"


def test_an_empty_out_folder_is_used(trains: Callable[..., str]) -> None:
    Path("run").mkdir()
    trains(npz())


def test_the_page_of_a_run_with_names_that_are_no_utf8() -> None:
    root = fill(Path("mine"), {"cat": 4, "dog": 4, "unlabelled": 2})
    picture(root / "cat" / "\udcff.png", 50)
    (root / "dog" / "\udcfe.txt").write_text("x")
    halfseen.train(root, out="run", net="small", threads=1, batch=4, unlabelled_batch=4, steps=2, quiet=True)
    assert "\\udcfe.txt" in Path("run/report.html").read_text()


def test_evaluating_a_run_with_a_damaged_config(trains: Callable[..., str], wrong: Callable[..., str]) -> None:
    trains(fill(Path("mine"), {"cat": 4, "dog": 4, "unlabelled": 2}))
    Path("run/config.json").write_text("{}")
    assert "config.json is damaged or of another version" in wrong("evaluate", "run")


@pytest.mark.parametrize("command", [("predict", "{}", "x.png"), ("evaluate", "{}"), ("export", "{}", "x.onnx")])
def test_a_path_that_is_too_long(command: tuple[str, ...], wrong: Callable[..., str]) -> None:
    endless = "a" * 5000
    said = wrong(*(word.format(endless) for word in command))
    assert "too long" in said


@pytest.mark.parametrize("damage", [None, b"", b"PK\x03\x04 and no more"])
def test_a_page_without_whole_outputs(
    damage: bytes | None, trains: Callable[..., str], cli: Callable[..., Ended]
) -> None:
    trains(fill(Path("mine"), {"cat": 4, "dog": 4, "unlabelled": 2}))
    config = json.loads(Path("run/config.json").read_text())
    config["settings"]["report"] = True
    Path("run/config.json").write_text(json.dumps(config))
    outputs = Path("run/outputs.npz")
    outputs.unlink() if damage is None else outputs.write_bytes(damage)
    ended = cli("train", "--out", "run", "--resume")
    assert ended.code == 2
    assert "outputs.npz is missing or damaged; remove run/metrics.json and add --resume" in ended.err
    Path("run/metrics.json").unlink()
    assert cli("train", "--out", "run", "--resume").code == 0
    assert Path("run/report.html").is_file()
