"""`halfseen label` as a command: what was named elsewhere taken over, and mistakes. Its page is in tests/labelling/."""

import builtins
from pathlib import Path
from typing import Any

import pytest

from halfseen.commands.label import by_folders, ending, label, take
from halfseen.data import open_data
from halfseen.data.tables import read_labels
from halfseen.errors import UserError
from halfseen.suggest.look import Look
from halfseen.suggest.pool import open_pool
from tests.labelling.photos import painted, toy
from tests.shell import alone

__all__ = ["alone"]
LOOK = Look()


def sheet(file: Path, rows: str) -> Path:
    file.write_text("path,label,guess\n" + rows)
    return file


def test_take_adds_to_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    painted(tmp_path / "p", 6)
    take(tmp_path / "p", sheet(tmp_path / "a.csv", "photo-0.png,red,blue\nphoto-1.png,,red\n"), LOOK)
    take(tmp_path / "p", sheet(tmp_path / "b.csv", "photo-0.png,red,\nphoto-2.png,blue,\n"), LOOK)
    assert read_labels(tmp_path / "p" / "labels.csv") == {"photo-0.png": "red", "photo-2.png": "blue"}
    assert "1 new labels of 2" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"names photo-0.png green, and labels.csv has red: keep the right one in both"):
        take(tmp_path / "p", sheet(tmp_path / "c.csv", "photo-3.png,red,\nphoto-0.png,green,\n"), LOOK)
    assert "photo-3.png" not in read_labels(tmp_path / "p" / "labels.csv")  # all of a file, or nothing


def test_labels_of_class_folders_and_of_the_test_part_are_not_hidden_by_the_table(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        painted(tmp_path / "p" / name, 2)
        painted(tmp_path / "p" / "test" / name, 2)
    painted(tmp_path / "p" / "unlabelled", 3)
    before = open_data(tmp_path / "p")
    pool = open_pool(tmp_path / "p", Look(toy(tmp_path)))
    assert len(pool.paths) == 7  # the test part is not asked for
    assert by_folders(pool).keys() == {
        *(f"{name}/photo-{i}.png" for name in ("cat", "dog") for i in range(2)),
        *(f"test/{name}/photo-{i}.png" for name in ("cat", "dog") for i in range(2)),
    }
    take(tmp_path / "p", sheet(tmp_path / "a.csv", "unlabelled/photo-0.png,cat,\n"), LOOK)
    after = open_data(tmp_path / "p")
    assert after.paths == before.paths
    assert after.test_paths == before.test_paths
    assert after.test_y is not None
    assert after.test_y.tolist() == before.test_y.tolist()  # type: ignore[union-attr]
    assert int(after.given.sum()) == int(before.given.sum()) + 1


def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    painted(tmp_path / "p", 3)
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.json", "split.json"):
        (run / name).write_text("{}")
    filled = sheet(tmp_path / "a.csv", "photo-0.png,red,\n")
    with pytest.raises(UserError, match="name the folder of pictures, not the run"):
        take(run, filled, LOOK)
    with pytest.raises(UserError, match="there is no folder"):
        take(tmp_path / "q", filled, LOOK)
    with pytest.raises(UserError, match="names no picture's label yet"):
        take(tmp_path / "p", sheet(tmp_path / "b.csv", "photo-0.png,,\n"), LOOK)
    with pytest.raises(UserError, match="--every 0: train again after 1 answer or more"):
        label(tmp_path / "p", True, 0, 0, False, 0, LOOK)
    usual = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name == "halfseen.labelling.server":
            raise ImportError("No module named starlette")
        return usual(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"needs starlette and uvicorn: run `pip install halfseen\[label\]`"):
        label(tmp_path / "p", True, 5, 0, False, 0, LOOK)


def test_the_last_line_says_what_is_next(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    assert ending(("a",), 3, file, tmp_path) == (
        f"3 pictures are named; a classifier needs some of two classes: halfseen label {tmp_path}"
    )
    assert ending(("a", "b"), 3, file, tmp_path).endswith(f"named in {file}. Now: halfseen train {tmp_path}")
