"""labels.csv: what is wrong is named by its line, and what programs write is read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from halfseen.data import open_data
from halfseen.data.tables import read_labels
from halfseen.errors import UserError
from tests.bad_input.given import LABELS, picture, table

WRONG_TABLES: dict[str, tuple[str | bytes, str]] = {
    "a path that does not exist": (LABELS + "x.png,cat\n", "line 4: there is no file 'x.png' in mine"),
    "a path that no file can have": (LABELS + "x" * 5000 + ".png,cat\n", "line 4: there is no file 'xxx"),
    "a folder": (LABELS + "sub,cat\n", "line 4: there is no file 'sub'"),
    "two labels for one image": (LABELS + "0.png,dog\n", "'0.png' two labels, 'cat' in line 2 and 'dog' in line 4"),
    "two spellings of one path": (LABELS + "./0.png,dog\n", "two labels, 'cat' in line 2 and 'dog' in line 4"),
    "a path above the folder": (LABELS + "../x.jpg,cat\n", "'../x.jpg' is not inside mine: move the image there"),
    "a path above by a detour": (LABELS + "sub/../../x.jpg,cat\n", "is not inside mine"),
    "an absolute path": (LABELS + "/etc/passwd,cat\n", "'/etc/passwd' is not inside mine"),
    "a drive of Windows": (LABELS + "C:\\x.jpg,cat\n", "is not inside mine"),
    "an empty file": ("", "is empty: write a first line path,label"),
    "blank lines only": ("\n\n  \n", "is empty"),
    "a header only": ("path,label\n", "has no rows"),
    "every label empty": ("path,label\n0.png,\n1.png,\n", "mine has no labels at all"),
    "one class": ("path,label\n0.png,cat\n1.png,cat\n", "mine has only the class 'cat'"),
    "one column": ("path\n0.png\n1.png\n", "has no column 'label' but path: its first line must be path,label"),
    "no header": ("0.png,cat\n1.png,dog\n", "has no column 'path' but 0.png, cat"),
    "another delimiter": (LABELS.replace(",", "|"), "has no column 'path' but path|label"),
    "a column twice": ("path,label,label\n0.png,cat,dog\n", "has 2 columns named 'label'"),
    "very many columns": ("c," * 100_000 + "\n0.png\n", "but c, c, c, c, c, c, c, c, c and 99992 more"),
    "a huge field": ("path,label\n0.png," + "x" * 200_000 + "\n", "line 2: not a table (field larger than"),
    "an open quote": (LABELS + '2.png,"cat\n', "not a table"),
    "no text": (b"path,label\n\x00\x01\x02", "is no text in UTF-8, UTF-16 or Latin-1: save it as CSV in UTF-8"),
    "utf-16 without a mark": (LABELS.encode("utf-16-le"), "is no text"),
    "utf-16 cut in half": (LABELS.encode("utf-16")[:-1], "is no text"),
    "a spreadsheet": (b"PK\x03\x04\x14\x00\x06\x00", "is no text"),
}


@pytest.mark.parametrize("name", WRONG_TABLES)
def test_labels_csv_that_is_wrong(name: str, wrong_data: Callable[[str | Path], str]) -> None:
    text, said = WRONG_TABLES[name]
    root = table(text)
    (root / "sub").mkdir()
    picture(Path("x.jpg"))
    assert said in wrong_data(root)


USUAL_TABLES: dict[str, str | bytes] = {
    "a BOM": "\ufeff" + LABELS,
    "CRLF": LABELS.replace("\n", "\r\n"),
    "CR": LABELS.replace("\n", "\r"),
    "semicolons": LABELS.replace(",", ";"),
    "tabs": LABELS.replace(",", "\t"),
    "latin-1": "path,label,who\n0.png,cat,J\u00fcrgen\n1.png,dog,Ren\u00e9\n".encode("latin-1"),
    "utf-16": LABELS.encode("utf-16"),
    "utf-16 big end first": b"\xfe\xff" + LABELS.encode("utf-16-be"),
    "extra columns": "id,label,path,note\n1,cat,0.png,\n2,dog,1.png,x\n",
    "the same row twice": LABELS + "0.png,cat\n",
    "more cells than columns": "path,label\n0.png,cat,,\n1.png,dog,x\n",
    "-1 as pandas writes it": LABELS + "2.png,-1.0\n3.png,-1\n",
}


@pytest.mark.parametrize("name", USUAL_TABLES)
def test_labels_csv_as_programs_write_it(name: str) -> None:
    data = open_data(table(USUAL_TABLES[name]))
    assert data.classes == ("cat", "dog")
    assert data.y.tolist() == [0, 1, -1, -1]


def test_labels_in_a_table_are_names_whatever_they_look_like() -> None:
    data = open_data(table("path,label\n0.png,42\n1.png,7\n2.png,3.5\n3.png,-4\n"))
    assert data.classes == ("3.5", "7", "42", "-4")


def test_labels_csv_that_vanishes_or_is_a_folder(wrong: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    root = table(LABELS)
    (root / "labels.csv").unlink()
    (root / "labels.csv").mkdir()
    assert "4 images outside any class folder, such as 0.png" in wrong("train", root)
    with pytest.raises(UserError, match="could not be read"):
        read_labels(root / "labels.csv")


def test_white_space_around_a_label_is_no_part_of_it() -> None:
    root = table('path,label\n0.png, cat\n1.png,"dog "\n2.png,\tcat \n')
    assert open_data(root).classes == ("cat", "dog")
