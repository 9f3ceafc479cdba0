"""What users have on their disks and type by mistake: a sentence that says what to do, never a traceback, never silence.

Through the command line wherever a user would meet it there. Damage by chance is in test_damaged_files.py.
"""

import contextlib
import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import halfseen
from halfseen.cli import main
from halfseen.commands.train import run
from halfseen.data import arrays, cache, decoder, images, open_data
from halfseen.data.tables import read_labels
from halfseen.errors import UserError, guarded
from halfseen.machine import files
from halfseen.run import folder as run_folder
from halfseen.settings import Settings
from halfseen.training import checkpoint
from tests.data.test_images import bomb
from tests.shell import Ended, alone  # noqa: F401  # a fixture for every test here

QUICK = ["--net", "small", "--threads", "1", "--batch", "4", "--unlabelled-batch", "4", "--no-report"]
RUN = [*QUICK, "--steps", "3", "--eval-every", "1", "--save-every", "1e-9"]  # a checkpoint after every step
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


def sentence(work: Callable[[], Ended]) -> str:
    """The one sentence that a mistake ends with; the exit code is 2, and no run is left behind."""
    before = set(Path().iterdir())
    ended = work()
    assert ended.code == 2, ended.err
    assert ended.out == ""
    assert ended.err.startswith("halfseen: ")
    assert ended.err.count("\n") == 1
    assert len(ended.err) < 600
    assert {p.name for p in set(Path().iterdir()) - before} <= {"cache"}
    return ended.err


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


def picture(path: Path, level: int = 0, size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).save(path)
    return path


def fill(root: Path, counts: dict[str, int]) -> Path:
    """root/NAME/0.png ... : the grey level tells the picture."""
    level = 0
    for name, count in counts.items():
        for i in range(count):
            picture(root / name / f"{i}.png", level := (level + 3) % 256)
    return root


def table(text: str | bytes, files: int = 4) -> Path:
    """A folder `mine` with pictures 0.png, 1.png ... and this labels.csv."""
    root = Path("mine")
    for i in range(files):
        picture(root / f"{i}.png", 40 * i)
    (root / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


LABELS = "path,label\n0.png,cat\n1.png,dog\n"
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
SOME = np.array([0, 1] * 3 + [-1] * 6)


def npz(**stored: Any) -> Path:
    np.savez("mine.npz", **{"x": PIXELS, "y": SOME, **stored})
    return Path("mine.npz")


# ---- folders -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "nowhere is neither a folder, an .npz file nor a known set: check the path; known: blobs,"),
        ("~no-such-user/photos", "check the path"),
        ("x" * 3000, "check the path"),
        ("nul\0byte", "check the path"),
        ("", "The name of the data is empty"),
        ("notes.txt", "is a file and no .npz file: name the folder of the images, here ."),
        ("pipe.npz", "check the path"),  # a pipe would be waited for
    ],
    ids=["missing", "no such user", "too long", "nul", "empty", "a file", "a pipe"],
)
def test_a_missing_folder(name: str, said: str, wrong: Callable[..., str]) -> None:
    Path("notes.txt").write_text("x")
    os.mkfifo("pipe.npz")
    assert said in wrong("train", name, "--out", "run")


def test_a_folder_without_images(wrong: Callable[..., str]) -> None:
    Path("void/cat").mkdir(parents=True)
    (Path("void") / "readme.txt").write_text("x")
    assert "The class folder void/cat holds no images: add some, or remove it." in wrong("train", "void")
    Path("void/cat").rmdir()
    assert "void holds no training images" in wrong("train", "void")


def test_a_class_with_one_labelled_image(trains: Callable[..., str]) -> None:
    said = trains(fill(Path("mine"), {"cat": 1, "dog": 5, "unlabelled": 4}))
    assert "6 labelled" in said
    assert "there was no test or validation image to score the model on" in said


def test_a_class_with_one_labelled_image_cannot_be_held_out(wrong: Callable[..., str]) -> None:
    root = fill(Path("mine"), {"cat": 1, "dog": 5, "unlabelled": 4})
    said = wrong("train", root, *QUICK, "--val", "1")
    assert "No labelled image of class 'cat' is left to train on after 1 was held out" in said
    assert "hold out none" in said


def test_all_labelled(trains: Callable[..., str], wrong: Callable[..., str]) -> None:
    root = fill(Path("mine"), {"cat": 4, "dog": 4})
    said = trains(root, "--method", "fixmatch")
    assert "every image shows its label" in said
    assert "use the method supervised" in said
    said = wrong("train", root, *QUICK, "--method", "r2d2", "--out", "other")
    assert "Every image is labelled, so none is left" in said
    shutil.rmtree("run")
    assert "every image" not in trains(root, "--method", "supervised")


def test_none_labelled(wrong: Callable[..., str]) -> None:
    said = wrong("train", fill(Path("mine"), {"unlabelled": 4}))
    assert "mine has no labels at all: a classifier needs labelled examples of at least two classes" in said


def test_one_class_only(wrong: Callable[..., str]) -> None:
    assert "mine has only the class 'cat'" in wrong("train", fill(Path("mine"), {"cat": 4, "unlabelled": 2}))
    assert "mine has only the class '0'" in wrong("train", npz(y=np.zeros(12, int)))


def test_1000_classes_with_one_label_each(trains: Callable[..., str]) -> None:
    x = np.random.default_rng(0).integers(0, 256, (1001, 8, 8), dtype=np.uint8)
    said = trains(npz(x=x, y=np.r_[np.arange(1000), -1]), "--method", "supervised")
    assert "1000 labelled, 1 unlabelled, 0 validation images of 1000 classes" in said


@pytest.mark.parametrize(("one", "two"), [("cat", "cat "), ("caf\u00e9", "cafe\u0301"), ("1", "1.0"), ("a  b", "a b")])
def test_class_names_that_look_like_one(one: str, two: str, wrong: Callable[..., str]) -> None:
    said = wrong("train", fill(Path("mine"), {one: 2, two: 2, "dog": 2, "unlabelled": 2}))
    assert "which look like one: give all their images one name" in said


def test_class_names_that_differ_in_case(trains: Callable[..., str]) -> None:
    said = trains(fill(Path("mine"), {"A": 2, "a": 2, "B": 2, "b": 2, "unlabelled": 4}))  # as handwriting has them
    assert "'A' and 'a' (and 1 more such pairs) differ only in case: if they are one, give them one name" in said
    assert "differ only in case" in json.loads(Path("run/metrics.json").read_text())["note"]


def test_white_space_around_a_label_is_no_part_of_it() -> None:
    root = table('path,label\n0.png, cat\n1.png,"dog "\n2.png,\tcat \n')
    assert open_data(root).classes == ("cat", "dog")


def test_links(wrong: Callable[..., str], trains: Callable[..., str]) -> None:
    """A link may lead outside: whoever made it owns the folder. One that leads to itself is a file that cannot be read."""
    root = fill(Path("mine"), {"cat": 8, "dog": 8, "unlabelled": 4})
    outside = picture(Path("elsewhere/o.png"), 99)
    (root / "cat/outside.png").symlink_to(outside.resolve())
    (root / "dog/loop.png").symlink_to("loop.png")
    (root / "loop").symlink_to("loop")
    assert open_data(root).x[8, 0, 0, 0] == 99
    said = trains(root)
    assert "1 files were left out: dog/loop.png (could not be read (Too many levels of symbolic links))" in said


def test_pipes_are_not_waited_for() -> None:
    root = fill(Path("mine"), {"cat": 8, "dog": 8})
    os.mkfifo(root / "cat/pipe.png")
    assert open_data(root).skipped == (("cat/pipe.png", "not a plain file"),)


STRANGE = ["with space", "  spaces  ", "\u00e9moji \U0001f600", "new\nline", "quote\"',;", "-n", "%s{}", "\udcff\udcfe"]


def test_strange_file_names(cli: Callable[..., Ended], trains: Callable[..., str]) -> None:
    root = fill(Path("mine"), {"cat": 4, "dog": 4, "unlabelled": 2})
    for name in STRANGE:
        picture(root / "cat" / f"{name}.png", 50)
        (root / "dog" / f"{name}.txt").write_text("x")
    said = trains(root)
    assert "8 files were left out: dog/  spaces  .txt" in said
    assert len([line for line in said.splitlines() if "left out" in line]) == 1  # a line break in a name breaks no line
    skipped = json.loads(Path("run/config.json").read_text())["skipped"]
    assert sorted(path for path, _ in skipped) == sorted(f"dog/{name}.txt" for name in STRANGE)
    assert cli("predict", "run", root, "--out", "p.csv").code == 0
    raw = Path("p.csv").read_bytes()
    assert all(f"cat/{name}.png".replace('"', '""').encode("utf-8", "surrogateescape") in raw for name in STRANGE)


def test_a_table_may_name_strange_files(trains: Callable[..., str]) -> None:
    root = fill(Path("mine"), {"unlabelled": 2})
    names = [name for name in STRANGE if name == name.strip() and "\udcff" not in name]
    lines = []
    for i, name in enumerate(names):
        picture(root / f"{name}.png", 9 * i)
        lines.append('"' + f"{name}.png".replace('"', '""') + f'",{"cat" if i % 2 else "dog"}\n')
    (root / "labels.csv").write_text("path,label\n" + "".join(lines))
    assert f"{len(names)} labelled" in trains(root)


# ---- labels.csv ----------------------------------------------------------------------------------------------------------

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


# ---- pictures ------------------------------------------------------------------------------------------------------------


def spoil(root: Path) -> dict[str, str]:
    """Five bad files among the pictures: {path: what is said of it}."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "cat/cut.jpg")
    whole = (root / "cat/cut.jpg").read_bytes()
    (root / "cat/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "cat/corrupt.png").write_bytes(picture(Path("p.png")).read_bytes()[:-20] + bytes(20))
    (root / "cat/zero.jpg").write_bytes(b"")
    (root / "dog/text.jpg").write_text("<html>404 not found</html>")
    (root / "dog/huge.png").write_bytes(bomb(60_000))
    return {
        "cat/cut.jpg": "damaged",
        "cat/corrupt.png": "damaged",
        "cat/zero.jpg": "the file is empty",
        "dog/text.jpg": "not a picture that can be read",
        "dog/huge.png": "pixels that are safe to decode",
    }


def test_bad_images_are_named_and_counted(trains: Callable[..., str]) -> None:
    root = fill(Path("mine"), {"cat": 30, "dog": 30})
    expected = spoil(root)
    said = trains(root, "--labels-per-class", "4")
    assert "5 files were left out: cat/corrupt.png (damaged" in said
    assert "; all of them are in run/config.json" in said
    skipped = dict(json.loads(Path("run/config.json").read_text())["skipped"])
    assert skipped.keys() == expected.keys()
    assert all(words in skipped[path] for path, words in expected.items())
    assert json.loads(Path("run/metrics.json").read_text())["skipped"] == 5
    assert "Warning" not in said  # Pillow's


def test_on_bad_image_stop(wrong: Callable[..., str]) -> None:
    root = fill(Path("mine"), {"cat": 30, "dog": 30})
    spoil(root)
    said = wrong("train", root, *QUICK, "--on-bad-image", "stop")
    assert "cat/corrupt.png: damaged" in said
    assert "mend or remove it, or choose skip for bad images" in said
    assert "--on-bad-image cannot be 'ignore'; it is one of 'skip', 'stop'" in wrong(
        "train", root, "--on-bad-image", "ignore"
    )


def test_more_than_a_tenth_bad_stops(wrong: Callable[..., str]) -> None:
    root = fill(Path("mine"), {"cat": 9, "dog": 9})
    (root / "cat/zero.jpg").write_bytes(b"")
    (root / "dog/zero.jpg").write_bytes(b"")
    assert open_data(fill(Path("more"), {"cat": 10, "dog": 10})).skipped == ()
    assert "2 of 20 images are bad" not in str(open_data(root).skipped)  # a tenth, and not more
    (root / "dog/also.jpg").write_text("x")
    said = wrong("train", root, *QUICK, "--on-bad-image", "skip")
    assert "3 of 21 images are bad, more than a tenth; the first is cat/zero.jpg: the file is empty" in said
    assert not list(Path("cache").glob("*building*"))


def shade(mode: str) -> Image.Image:
    """A picture of this mode, dark on the left and bright on the right."""
    ramp = np.broadcast_to(np.linspace(10, 240, 24).astype(np.uint8), (20, 24))
    if mode == "I;16":
        return Image.fromarray(ramp.astype(np.uint16) * 257)
    if mode == "P with transparency":
        picture = Image.fromarray(ramp).convert("RGB").quantize(8)
        picture.info["transparency"] = 0
        return picture
    if mode in ("LA", "RGBA"):
        return Image.merge("RGBA", [Image.fromarray(ramp)] * 3 + [Image.new("L", (24, 20), 255)]).convert(mode)
    return Image.fromarray(ramp).convert("RGB" if mode in ("CMYK", "P") else mode).convert(mode)


MODES = [
    ("1", "png"),
    ("L", "png"),
    ("LA", "png"),
    ("P", "png"),
    ("P with transparency", "png"),
    ("RGB", "jpg"),
    ("RGBA", "png"),
    ("CMYK", "jpg"),
    ("I;16", "png"),
    ("L", "gif"),
    ("RGB", "webp"),
]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_all_sizes_and_modes(channels: int) -> None:
    """Sizes, modes and the camera's position differ; each comes out as the same ramp, upright."""
    root = Path("mine")
    for folder in ("cat", "dog"):
        (root / folder).mkdir(parents=True)
        for i, (mode, ending) in enumerate(MODES):
            exif = Image.Exif()
            exif[0x0112] = 3 if ending == "jpg" else 1  # held upside down
            look = shade(mode).resize((24 + i, 20), 0)
            stored = look.transpose(Image.Transpose.ROTATE_180) if ending == "jpg" else look
            kept = {"transparency": 0} if "transparency" in mode else {}
            stored.save(root / folder / f"{i}.{ending}", exif=exif, **kept)
    data = open_data(root, channels=channels, size=16)
    assert data.skipped == ()
    assert data.x.shape == (2 * len(MODES), channels, 16, 16)
    left, right = data.x[..., 2:6].float().mean((1, 2, 3)), data.x[..., -4:].float().mean((1, 2, 3))
    for name, dark, bright in zip(data.paths or (), left, right, strict=True):
        assert bright - dark > 100, name


def test_a_file_that_vanishes_between_listing_and_reading(
    trains: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fill(Path("mine"), {"cat": 10, "dog": 10})
    gone = root / "cat/3.png"
    work = decoder.work

    def late(job: Any, out: Any) -> Any:
        gone.unlink(missing_ok=True)
        return work(job, out)

    with monkeypatch.context() as patch:
        patch.setattr(decoder, "work", late)
        assert "1 files were left out: cat/3.png (the file does not exist)" in trains(root)
    picture(gone, 77)
    data = open_data(root)  # it is back
    assert data.skipped == ()
    assert data.x[3, 0, 0, 0] == 77


def test_a_folder_that_vanishes_between_listing_and_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    root = fill(Path("mine"), {"cat": 2, "dog": 2})
    listed = images.EXTENSIONS

    class Vanishing(frozenset[str]):
        def __contains__(self, ending: object) -> bool:
            shutil.rmtree(root / "dog", ignore_errors=True)
            return ending in listed

    monkeypatch.setattr("halfseen.data.folders.EXTENSIONS", Vanishing(listed))
    with pytest.raises(UserError, match=r"The folder mine/dog could not be read \(No such file or directory\)"):
        open_data(root)


# ---- arrays --------------------------------------------------------------------------------------------------------------

VECTORS = np.random.default_rng(0).normal(size=(12, 5))


def with_value(values: np.ndarray, value: float) -> np.ndarray:
    values = values.astype(np.float64)
    values[3, 1] = value
    return values


WRONG_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "nan": ({"x": with_value(PIXELS, np.nan)}, "nan or infinite values in 1 rows, the first being 3: mend or drop"),
    "inf": ({"x": with_value(PIXELS, np.inf)}, "nan or infinite values in 1 rows"),
    "nan in vectors": ({"x": with_value(VECTORS, np.nan)}, "nan or infinite values in 1 rows"),
    "-inf in vectors": ({"x": with_value(VECTORS, -np.inf)}, "nan or infinite values in 1 rows"),
    "beyond float32": ({"x": with_value(VECTORS, 1e300)}, "features up to 1e+300, too large for float32: scale them"),
    "vast pixels": ({"x": with_value(PIXELS, 1e300)}, "pixels up to 1e+300: give pictures as 0..255"),
    "negative pixels": ({"x": with_value(PIXELS, -3)}, "negative pixels (-3)"),
    "no features": ({"x": np.zeros((12, 0))}, "has the shape (12, 0): give [N,h,w]"),
    "no pixels": ({"x": np.zeros((12, 8, 0))}, "has the shape (12, 8, 0)"),
    "a number": ({"x": np.float32(3)}, "has the shape ()"),
    "a number that is none": ({"x": np.float32("nan")}, "has the shape ()"),
    "texts for pixels": ({"x": np.array(["a"] * 12)}, "and not numbers"),
    "complex pixels": ({"x": PIXELS.astype(complex)}, "holds complex128 and not numbers"),
    "objects": ({"x": np.array([{}] * 12)}, "it holds Python objects"),
    "no rows": ({"x": PIXELS[:0], "y": SOME[:0]}, "no training images"),
    "no label": ({"y": np.full(12, -1)}, "has no labels at all"),
    "negative labels": ({"y": np.array([-5, 1, 0] * 4)}, "has the label -5: labels count from 0, and -1 means unl"),
    "fractions": ({"y": np.array([0.5, 1, 0] * 4)}, "holds fractions"),
    "infinite labels": ({"y": np.array([np.inf, 1, 0] * 4)}, "has the label inf: give smaller numbers, or names"),
    "vast labels": ({"y": np.array([2**64 - 1, 1, 0] * 4, dtype=np.uint64)}, "label 1.84467e+19: give smaller"),
    "complex labels": ({"y": SOME.astype(complex)}, "holds complex128: give whole numbers or names"),
    "too few labels": ({"y": SOME[:5]}, "x has 12 rows and y has 5: give one label per row"),
    "one-hot labels": ({"y": np.eye(12)}, "y has the shape (12, 12): give one label for each row"),
    "names in a square": ({"classes": np.array([["a", "b"]])}, "classes has the shape (1, 2)"),
    "too few names": ({"classes": np.array(["a"])}, "names 1 classes but holds the label 1"),
}


@pytest.mark.parametrize("name", WRONG_ARRAYS)
@pytest.mark.filterwarnings("error")  # numpy's or torch's own words would stand beside the sentence
def test_arrays_that_are_wrong(name: str, wrong_data: Callable[[str | Path], str]) -> None:
    stored, said = WRONG_ARRAYS[name]
    assert said in wrong_data(npz(**stored))


def test_rows_that_differ_in_shape() -> None:
    with pytest.raises(UserError, match="its rows differ in shape: give all rows one shape"):
        open_data({"x": [[1, 2], [3]], "y": np.array([0, 1])})


@pytest.mark.parametrize(
    "labels", [[3, 7, 42] * 4, [3.0, 7.0, 42.0] * 4, ["3", "7", "42"] * 4, [b"3", b"7", b"42"] * 4]
)
def test_labels_that_are_not_contiguous(labels: list[Any]) -> None:
    data = open_data(npz(y=np.array(labels)))
    assert data.classes == ("3", "7", "42")
    assert data.y.tolist() == [0, 1, 2] * 4


WRONG_NPZ: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "could not be read as an .npz file"),
    "text": (lambda: b"x,y\n1,2\n", "could not be read as an .npz file"),
    "cut": (lambda: npz().read_bytes()[:300], "could not be read as an .npz file"),
    "a pickle": (lambda: pickle.dumps({"x": 1}), "could not be read as an .npz file"),
    "an .npy file": (lambda: (np.save("a.npy", PIXELS), Path("a.npy").read_bytes())[1], "could not be read as an .npz"),
    "other arrays": (lambda: (np.savez("a.npz", a=PIXELS), Path("a.npz").read_bytes())[1], "has no array 'x' but a"),
}


@pytest.mark.parametrize("name", WRONG_NPZ)
def test_files_that_are_no_npz(name: str, wrong_data: Callable[[str | Path], str]) -> None:
    make, said = WRONG_NPZ[name]
    raw = make()
    for made in Path().glob("*.np?"):
        made.unlink()
    Path("mine.npz").write_bytes(raw)
    assert said in wrong_data("mine.npz")


class Loaded:
    """What a pickle in an array would do to the machine."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("pickle-was-opened"),))


def test_pickles_are_never_opened(tmp_path: Path, wrong: Callable[..., str]) -> None:
    said = wrong("train", npz(x=np.array([Loaded()] * 12, dtype=object)), "--out", "run")
    assert "it holds Python objects" in said
    assert "unsafe" not in said  # numpy would advise to load it all the same
    torch.save({"method": Loaded()}, "last.pt")
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load(Path("last.pt"))
    assert not Path("pickle-was-opened").exists()


def test_arrays_larger_than_the_memory_are_not_begun(
    wrong: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "LARGE", 100)
    monkeypatch.setattr(os, "sysconf", lambda name: 10)
    assert "GiB, more than the memory of this machine" in wrong("train", npz(), "--out", "run")


# ---- names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--method", "fixmach"], "there is no method 'fixmach'; did you mean 'fixmatch'?"),
        (["--method", "gone.py"], "there is no file gone.py"),
        (["--method", "broken.py"], "broken.py cannot be imported: SyntaxError"),
        (["--method", "binary.py"], "binary.py cannot be imported"),
        (["--net", "smal"], "there is no net 'smal': did you mean 'small'?"),
        (["--set", "method.tua=1"], "method has no setting 'tua'; did you mean 'tau'?"),
        (["--set", "net.dropuot=1"], "net 'small' has no option 'dropuot': did you mean 'dropout'?"),
        (["--set", "method.tau=nine"], "method.tau is a number, not 'nine'"),
        (["--weak", "fmm"], "did you mean 'fm'?"),
        (["--strong", "raa"], "did you mean 'ra'?"),
        (["--seeed", "1"], "train does not know '--seeed'; did you mean --seed?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_unknown_names(args: list[str], said: str, wrong: Callable[..., str]) -> None:
    Path("broken.py").write_text("def")
    Path("binary.py").write_bytes(b"\xff\x00\xfe")
    assert said in wrong("train", npz(), *QUICK, "--steps", "1", *args)


def test_an_unknown_data_set(wrong: Callable[..., str]) -> None:
    assert "did you mean 'cifar10'?" in wrong("train", "cifar-10")


# ---- the folder of the run -----------------------------------------------------------------------------------------------


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


def test_a_cache_that_is_a_file(wrong: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("taken").write_text("x")
    monkeypatch.setenv("HALFSEEN_CACHE", "taken")
    said = wrong("train", fill(Path("mine"), {"cat": 3, "dog": 3}))
    assert "could not be kept in taken (File exists)" in said


def test_a_machine_without_home_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFSEEN_CACHE", "~no-such-user/cache")
    with pytest.raises(UserError, match=r"There is no home folder .* set HALFSEEN_CACHE to a folder"):
        open_data(fill(Path("mine"), {"cat": 3, "dog": 3}))


def test_files_that_may_not_be_read(powerless: Callable[[], Any], cli: Callable[..., Ended]) -> None:
    root = fill(Path("mine"), {"cat": 8, "dog": 8, "unlabelled": 3})
    (root / "cat/2.png").chmod(0o000)
    with powerless():
        ended = cli("train", root, *QUICK, "--steps", "1", "--out", "run")
        assert ended.code == 0, ended.err
        assert "1 files were left out: cat/2.png (the file may not be read)" in ended.err
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


# ---- resuming ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
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


def scores(run: Path) -> Any:
    """What a run found, without what depends on the clock."""
    return {k: v for k, v in json.loads((run / "metrics.json").read_text()).items() if k != "seconds"}


LAST = Path("checkpoints/last.pt")


def other_run(*more: str, data: str = "mine.npz") -> Callable[[Path], None]:
    def harm(run: Path) -> None:
        np.savez("three.npz", x=PIXELS, y=np.arange(12) % 3)
        main(["train", data, *RUN, "--quiet", "--out", "other", *more])
        shutil.copy("other" / LAST, run / LAST)
        shutil.rmtree("other")

    return harm


def rewrite(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def harm(run: Path) -> None:
        (run / name).write_text(json.dumps(change(json.loads((run / name).read_text()))))

    return harm


def spoil_state(**changes: Any) -> Callable[[Path], None]:
    def harm(run: Path) -> None:
        torch.save({**torch.load(run / LAST, weights_only=True), **changes}, run / LAST)

    return harm


DAMAGED = "last.pt is damaged and cannot be read; start again in another folder, or copy best.pt over it"
FOREIGN = "last.pt is of another run, not of fixmatch on small: put the right one back, or remove it"
HARMS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (lambda run: os.truncate(run / LAST, 5000), DAMAGED),
    "of zero bytes": (lambda run: os.truncate(run / LAST, 0), DAMAGED),
    "garbage": (lambda run: (run / LAST).write_bytes(b"garbage" * 1000), DAMAGED),
    "a pickle": (lambda run: (run / LAST).write_bytes(pickle.dumps({"step": 1})), DAMAGED),
    "a list": (lambda run: torch.save([1], run / LAST), "last.pt is no checkpoint of halfseen"),
    "an empty dict": (lambda run: torch.save({}, run / LAST), FOREIGN),
    "of another method": (other_run("--method", "dml"), FOREIGN),
    "of another net": (other_run("--set", "net.width=8"), FOREIGN),
    "of more classes": (other_run(data="three.npz"), FOREIGN),
    "of a longer run": (spoil_state(total=99), FOREIGN),
    "with a step that is none": (spoil_state(total="three"), FOREIGN),
    "of other data": (lambda run: npz(), "the images or labels of mine.npz have changed"),
    "without its data": (lambda run: Path("mine.npz").unlink(), "mine.npz is neither a folder"),
    "config cut": (lambda run: os.truncate(run / "config.json", 50), "config.json is damaged (line"),
    "config binary": (lambda run: (run / "config.json").write_bytes(b"\xff\xfe"), "config.json is damaged"),
    "config a list": (lambda run: (run / "config.json").write_text("[]"), "config.json is damaged or of another"),
    "config deep": (lambda run: (run / "config.json").write_text("[" * 100_000), "config.json is damaged"),
    "config empty": (lambda run: (run / "config.json").write_text("{}"), "config.json is damaged or of another"),
    "config steps": (rewrite("config.json", lambda c: {**c, "steps": "x"}), "is damaged or of another version"),
    "a setting's kind": (
        rewrite("config.json", lambda c: {**c, "settings": {**c["settings"], "seed": "x"}}),
        "config.json is damaged or of another version (seed is int, not 'x')",
    ),
    "an unknown setting": (
        rewrite("config.json", lambda c: {**c, "settings": {**c["settings"], "sede": 1}}),
        "is damaged or of another version",
    ),
    "split gone": (lambda run: (run / "split.json").unlink(), "has no split.json; restore the file, or start again"),
    "split cut": (lambda run: os.truncate(run / "split.json", 30), "split.json is damaged"),
    "split of no lists": (lambda run: (run / "split.json").write_text("{}"), "The saved split is damaged"),
    "split out of range": (rewrite("split.json", lambda s: {**s, "val": [99]}), "names images that are not there"),
    "split without labels": (rewrite("split.json", lambda s: {**s, "labelled": [39]}), "without a label"),
    "split twice": (rewrite("split.json", lambda s: {**s, "val": s["labelled"]}), "held out twice"),
}


@pytest.mark.parametrize("name", HARMS)
def test_resume_refuses_what_does_not_fit(name: str, unfinished: Path, cli: Callable[..., Ended]) -> None:
    harm, said = HARMS[name]
    harm(unfinished)
    before = {p: p.read_bytes() for p in unfinished.rglob("*") if p.is_file() and p.name != "log.jsonl"}
    ended = cli("train", "--out", "run", "--resume")
    assert ended.code == 2, ended.err
    last = ended.err.splitlines()[-1]
    assert last.startswith("halfseen: ")
    assert said in last
    assert not (unfinished / "metrics.json").exists()
    assert {p: p.read_bytes() for p in before} == before  # what is there is left for the user to mend


def test_resume_with_other_data_or_another_method_named(unfinished: Path, cli: Callable[..., Ended]) -> None:
    assert "run was trained on mine.npz, not digits" in cli("train", "digits", "--out", "run", "--resume").err
    said = cli("train", "--out", "run", "--resume", "--method", "dml").err
    assert "run was started with --method fixmatch, not dml" in said


def test_the_advice_to_go_on_from_the_best_is_good(finished: Path, unfinished: Path, cli: Callable[..., Ended]) -> None:
    (unfinished / LAST).write_bytes(b"")
    assert "copy best.pt over it to go on from there" in cli("train", "--out", "run", "--resume").err
    shutil.copy(unfinished / "checkpoints/best.pt", unfinished / LAST)
    assert cli("train", "--out", "run", "--resume").code == 0
    assert scores(unfinished) == scores(finished / "run")


def test_a_damaged_best_checkpoint(unfinished: Path, cli: Callable[..., Ended]) -> None:
    (unfinished / "checkpoints/best.pt").write_bytes(b"x")
    ended = cli("train", "--out", "run", "--resume")
    assert ended.code == 2
    assert "best.pt is damaged and cannot be read; start again in another folder" in ended.err


def test_a_run_without_a_checkpoint_says_that_it_begins_again(
    finished: Path, unfinished: Path, cli: Callable[..., Ended]
) -> None:
    (unfinished / LAST).unlink()
    ended = cli("train", "--out", "run", "--resume")
    assert "no checkpoint had been saved yet, so the run starts at its beginning" in ended.err
    assert scores(unfinished) == scores(finished / "run")


def test_a_damaged_log_stops_no_resume(finished: Path, unfinished: Path, cli: Callable[..., Ended]) -> None:
    (unfinished / LAST).unlink()  # so that all steps are logged again
    log = unfinished / "log.jsonl"
    whole = len(log.read_text().splitlines())
    log.write_bytes(b'\xff\xfe\x00\n{}\n[1]\n"x"\n{"step": "one"}\n' + b"[" * 100_000 + b'\n{"step": 3, "stage')
    assert cli("train", "--out", "run", "--resume").code == 0
    assert len(log.read_text().splitlines()) == whole
    assert scores(unfinished) == scores(finished / "run")


# ---- full disks ----------------------------------------------------------------------------------------------------------

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
import halfseen
from halfseen.cli import main
from halfseen.commands.train import run

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


# ---- the cache -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures() -> Path:
    return fill(Path("mine"), {"cat": 6, "dog": 6})


def entries() -> list[Path]:
    return [p for p in Path("cache").iterdir() if p.is_dir()]


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
