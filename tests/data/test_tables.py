"""labels.csv as people and their spreadsheets write it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfseen.data.tables import read_labels
from halfseen.errors import UserError


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png", "deep/er/c.png", "é.png", "with, comma.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def read(folder, raw):
    (folder / "labels.csv").write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    return read_labels(folder / "labels.csv")


EXPECTED = {"a.png": "cat", "b.png": "", "deep/er/c.png": "dog"}


@pytest.mark.parametrize(
    "raw",
    [
        "path,label\na.png,cat\nb.png,\ndeep/er/c.png,dog\n",
        "path,label\r\na.png,cat\r\nb.png,\r\ndeep/er/c.png,dog\r\n",
        "\ufeffpath,label\na.png,cat\nb.png,\ndeep/er/c.png,dog",
        "path;label\na.png;cat\nb.png;\ndeep/er/c.png;dog\n",
        "path\tlabel\na.png\tcat\nb.png\t\ndeep/er/c.png\tdog\n",
        'Path , "Label"\n"a.png","cat"\n b.png ,  \n./deep/x/../er/c.png, dog\n\n,,\n',
        "id,label,who,filename\n1,cat,me,a.png\n2,-1,me,b.png\n3,dog,you,deep\\er\\c.png\n",
        "path,label\na.png,cat\nb.png\na.png,cat\ndeep/er/c.png,dog\n",
        "path,label\na.png,cat\nb.png,\ndeep/er/c.png,dog\n".encode("utf-16"),
    ],
    ids=["plain", "crlf", "bom", "semicolon", "tab", "spaces", "more columns", "short row, same twice", "utf-16"],
)
def test_usual_ways_of_writing(folder, raw):
    assert read(folder, raw) == EXPECTED


def test_latin_1_and_quoted_commas(folder):
    (folder / "\u00e9.png").write_bytes(b"x")
    found = read(folder, 'path,label\n\u00e9.png,caf\u00e9\n"with, comma.png",x\n'.encode("latin-1"))
    assert found == {"\u00e9.png": "caf\u00e9", "with, comma.png": "x"}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("path,label\na.png,cat\nb.png,dog\na.png,dog\n", "'a.png' two labels, 'cat' in line 2 and 'dog' in line 4"),
        ("path,label\na.png,cat\nnone.png,dog\ngone.png,x\n", r"line 3: there is no file 'none.png'.*1 more"),
        ("path,label\n../a.png,cat\n", "is not inside"),
        ("path,label\ndeep/../../a.png,cat\n", "is not inside"),
        ("path,label\n/etc/passwd,cat\n", "is not inside"),
        ("path,label\nC:\\a.png,cat\n", "is not inside"),
        ("path,label\n,cat\n", "the path is empty"),
        ("a.png,cat\nb.png,dog\n", "no column 'path'"),
        ("path,kind\na.png,cat\n", "no column 'label' but path, kind"),
        ("", "is empty"),
        ("path,label\n", "has no rows"),
        ('path,label\n"a.png,cat\n', "not a table"),
        (b"path,label\n\x00\x01\x02", "no text"),
        (b"\xff\xfea\x00\x00", "no text"),
        ("path,label\n" + "x" * 200_000 + ",cat\n", "not a table"),
    ],
)
def test_mistakes_are_said_in_words(folder, raw, words):
    with pytest.raises(UserError, match=words):
        read(folder, raw)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"path,label\n", b"\xef\xbb\xbfpath;label\r\na.png;cat\r\n"]))
def test_any_bytes_give_a_table_or_a_sentence(tmp_path_factory, raw, head):
    folder = tmp_path_factory.mktemp("t")
    (folder / "a.png").write_bytes(b"x")
    try:
        found = read(folder, head + raw)
    except UserError:  # any other exception fails the test
        return
    assert found.keys() == {"a.png"}
