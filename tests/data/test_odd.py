"""Pictures unlike the others by kind, size or shape: named with the reason, kept with the cache, told at the beginning."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import halfseen
from halfseen.data import open_data
from halfseen.data.images import Look, odd

PLAIN: Look = (40, 60, "in colour")


def folder(place: Path, n: int = 24) -> Path:
    random = np.random.default_rng(0)
    for i in range(n):
        path = place / ("a", "b")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(path)
    return place


@pytest.mark.parametrize(
    ("look", "why"),
    [
        ((40, 60, "grey"), "grey, where most are in colour"),
        ((10, 15, "in colour"), "15 x 10 pixels, where 60 are usual"),
        ((400, 600, "in colour"), "600 x 400 pixels, where 60 are usual"),
        ((60, 40, "in colour"), "40 x 60, so it is stretched more than the others"),
        (
            (10, 240, "transparent"),
            "transparent, where most are in colour; 240 x 10 pixels, where 60 are usual; 240 x 10, so it is stretched more "
            "than the others",
        ),
    ],
)
def test_one_among_twenty_is_odd_and_says_why(look: Look, why: str) -> None:
    looks = dict.fromkeys(range(20), PLAIN) | {7: look}
    assert odd(looks) == {7: why}


def test_what_is_usual_is_not_odd() -> None:
    assert odd({}) == {}
    assert odd({0: PLAIN}) == {}
    mixed = {i: (40, 60, "grey" if i % 3 else "in colour") for i in range(30)}  # a folder of both
    assert odd(mixed) == {}


@pytest.mark.parametrize("workers", [None, 2])
def test_files_are_named_once_and_from_the_cache(
    workers: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from halfseen.data import pool
    from halfseen.data.folders import open_folder

    if workers:
        monkeypatch.setattr(pool, "FEW", 0)  # other processes decode
    place = folder(tmp_path / "p")
    grey, deep, cut = place / "a/grey.png", place / "b/deep.png", place / "b/cut.png"
    Image.new("L", (30, 20)).save(grey)
    Image.fromarray(np.full((20, 30), 40_000, np.uint16)).save(deep)
    Image.new("RGBA", (30, 20), (9, 9, 9, 9)).save(cut)
    (place / "b/bad.png").write_text("no picture")
    for _ in range(2):
        found = open_folder(place, cache_dir=tmp_path / "cache", workers=workers, progress=False)
        assert dict(found.odd) == {
            "a/grey.png": "grey, where most are in colour",
            "b/deep.png": "grey of more than 8 bits, where most are in colour",
            "b/cut.png": "transparent, where most are in colour",
        }
    entry = next(path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    about = json.loads((entry / "meta.json").read_text())
    del about["odd"]  # as an older version wrote it
    (entry / "meta.json").write_text(json.dumps(about))
    again = open_folder(place, cache_dir=tmp_path / "cache", workers=workers, progress=False)
    assert again.odd == found.odd


def test_a_turned_photograph_is_not_stretched(tmp_path: Path) -> None:
    place = folder(tmp_path / "p")
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright: stored lying, seen standing
    Image.new("RGB", (20, 30)).save(place / "a/turned.jpg", exif=exif)
    assert open_data(place).odd == ()


def test_a_run_names_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = folder(tmp_path / "p")
    Image.new("L", (300, 20)).save(place / "a/strip.png")
    given = {"method": "supervised", "steps": 2, "size": 16, "backbone": "none", "labels_per_class": 2, "val": None}
    halfseen.train(place, out=tmp_path / "r", **given)
    said = capsys.readouterr().err
    assert "1 picture is unlike the others: a/strip.png (grey, where most are in colour; 300 x 20 pixels" in said
    config = json.loads((tmp_path / "r/config.json").read_text())
    assert [path for path, _ in config["odd"]] == ["a/strip.png"]
    assert "1 picture is unlike the others" in (tmp_path / "r/report.html").read_text()
