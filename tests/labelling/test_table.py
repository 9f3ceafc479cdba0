"""labels.csv under the hands of somebody who labels: whole after every answer, and nothing of others' lost."""

import os
from pathlib import Path

import pytest

from halfseen.data import open_data
from halfseen.data.tables import NONE, can_be_written, read_labels
from halfseen.errors import UserError
from halfseen.labelling.table import ALIKE, NOTHING, RANDOM, SKIPPED, Answer, Table, only_one
from tests.labelling.photos import painted
from tests.shell import alone

__all__ = ["alone"]


def test_an_answer_is_in_the_file_at_once_and_read_again(tmp_path: Path) -> None:
    painted(tmp_path, 6)
    table = Table(tmp_path, {})
    assert not table.file.exists()
    table.put({"photo-1.png": Answer("red, or not", RANDOM)})
    table.put({"photo-0.png": Answer("blue"), "photo-2.png": Answer("blue", ALIKE)})
    table.put({"photo-3.png": Answer("", NONE), "photo-4.png": Answer("", SKIPPED)})
    assert Table(tmp_path, {}).answers == table.answers
    assert list(table.answers) == ["photo-1.png", "photo-0.png", "photo-2.png", "photo-3.png", "photo-4.png"]
    assert read_labels(table.file)["photo-1.png"] == "red, or not"
    images = open_data(tmp_path)  # what training sees of it: no label where there is a note only, nothing of no class
    assert dict(zip(images.paths or (), images.y.tolist(), strict=True)) == {
        "photo-0.png": 0,
        "photo-1.png": 1,
        "photo-2.png": 0,
        "photo-4.png": -1,
        "photo-5.png": -1,
    }


def test_taken_back_it_is_gone_and_so_is_an_empty_table(tmp_path: Path) -> None:
    painted(tmp_path, 3)
    table = Table(tmp_path, {})
    table.put({"photo-0.png": Answer("red"), "photo-1.png": Answer("red")})
    table.put({"photo-0.png": NOTHING})
    assert list(read_labels(table.file)) == ["photo-1.png"]
    table.put({"photo-1.png": NOTHING})
    assert not table.file.exists()
    table.put({"photo-1.png": Answer("blue")})
    assert read_labels(table.file) == {"photo-1.png": "blue"}


def test_columns_of_others_stay(tmp_path: Path) -> None:
    painted(tmp_path, 4)
    file = tmp_path / "labels.csv"
    file.write_bytes("who;file;class\nann;photo-2.png;red\n;photo-0.png;\n".encode("utf-16"))
    table = Table(tmp_path, {})
    table.put({"photo-0.png": Answer("blue"), "photo-1.png": Answer("red", ALIKE)})
    assert file.read_text() == (
        "who,file,class,halfseen\nann,photo-2.png,red,\n,photo-0.png,blue,\n,photo-1.png,red,look-alike\n"
    )
    table.put({"photo-0.png": NOTHING})  # its row was there before: it stays, without a label
    assert ",photo-0.png,,\n" in file.read_text()


def test_labels_by_folders_are_taken_over(tmp_path: Path) -> None:
    painted(tmp_path / "red", 2)
    painted(tmp_path / "blue", 2)
    painted(tmp_path / "unlabelled", 2)
    table = Table(tmp_path, {"red/photo-0.png": "red", "blue/photo-0.png": "blue"})
    table.put({"unlabelled/photo-1.png": Answer("green")})
    assert read_labels(table.file) == {
        "red/photo-0.png": "red",
        "blue/photo-0.png": "blue",
        "unlabelled/photo-1.png": "green",
    }


def test_what_another_program_wrote_meanwhile_stays(tmp_path: Path) -> None:
    painted(tmp_path, 4)
    table = Table(tmp_path, {})
    table.put({"photo-0.png": Answer("red")})
    with table.file.open("a") as f:
        f.write("photo-1.png,blue,\n")
    table.refresh()
    table.put({"photo-2.png": Answer("red")})
    assert read_labels(table.file) == {"photo-0.png": "red", "photo-1.png": "blue", "photo-2.png": "red"}


def test_nothing_is_kept_that_could_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    painted(tmp_path, 2)
    table = Table(tmp_path, {})
    table.put({"photo-0.png": Answer("red")})

    def full(*_: object) -> None:
        raise UserError("no room")

    monkeypatch.setattr("halfseen.labelling.table.write_bytes", full)
    with pytest.raises(UserError, match="no room"):
        table.put({"photo-1.png": Answer("red")})
    assert table.of("photo-1.png") == NOTHING
    with pytest.raises(UserError, match=r"no table can name the file ' a\.png': rename it"):
        table.put({" a.png": Answer("red")})


def test_names_of_files_that_a_table_can_hold() -> None:
    assert all(can_be_written(p) for p in ("a.png", "b c/d, é.png", 'q"q.png', "=1.png"))
    assert not any(can_be_written(p) for p in (" a.png", "a\nb.png", "a\\b.png", "c:/a.png", os.fsdecode(b"\xff.png")))


def test_one_program_at_a_time(tmp_path: Path) -> None:
    said = "is being labelled by another `halfseen label`"
    with only_one(tmp_path), pytest.raises(UserError, match=said), only_one(tmp_path / ".." / tmp_path.name):
        pass
    with only_one(tmp_path):
        pass
