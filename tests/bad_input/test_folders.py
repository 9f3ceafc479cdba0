"""Folders of images: what is missing, empty, of one class, linked, or strangely named."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from halfseen.data import open_data
from tests.bad_input.given import QUICK, fill, npz, picture
from tests.shell import Ended


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
    assert "There was no test or validation image, so nobody knows how good it is." in said


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


def test_links(wrong: Callable[..., str], trains: Callable[..., str]) -> None:
    """A link may lead outside: whoever made it owns the folder. One that leads to itself is a file that cannot be read."""
    root = fill(Path("mine"), {"cat": 8, "dog": 8, "unlabelled": 4})
    outside = picture(Path("elsewhere/o.png"), 99)
    (root / "cat/outside.png").symlink_to(outside.resolve())
    (root / "dog/loop.png").symlink_to("loop.png")
    (root / "loop").symlink_to("loop")
    assert open_data(root).x[8, 0, 0, 0] == 99
    said = trains(root)
    assert "1 file was left out: dog/loop.png (could not be read (Too many levels of symbolic links))" in said


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
