"""Folders of pictures: layouts, parts, tables, bad files, and the cache that makes the second start instant."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from halfseen.data import choose_split, images, open_data, pool
from halfseen.data.folders import open_folder
from halfseen.errors import UserError
from tests.data.test_images import bomb
from tests.shared import unpacked


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HALFSEEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(path: Path, level: int = 0, mode: str = "L", size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, level if mode == "L" else (level, 0, 0)).save(path)
    return path


def fill(root: Path, counts: dict[str, int], ending: str = "png") -> Path:
    """root/NAME/0.png ... : the grey level tells the picture."""
    level = 0
    for name, count in counts.items():
        for i in range(count):
            picture(root / name / f"{i}.{ending}", level := (level + 1) % 256)
    return root


def test_class_folders_and_unlabelled(tmp_path):
    root = fill(tmp_path / "mine", {"cat": 3, "dog": 2, "Unlabeled/deep": 4})
    data = open_data(root)
    assert data.name == "mine"
    assert data.classes == ("cat", "dog")
    assert data.shape == (1, 8, 8)
    assert dict(zip(data.paths, data.x[:, 0, 0, 0].tolist(), strict=True)) == {
        "cat/0.png": 1,
        "cat/1.png": 2,
        "cat/2.png": 3,
        "dog/0.png": 4,
        "dog/1.png": 5,
        **{f"Unlabeled/deep/{i}.png": 6 + i for i in range(4)},
    }
    known = dict(zip(data.paths, data.y.tolist(), strict=True))
    assert known["cat/2.png"] == 0
    assert known["dog/1.png"] == 1
    assert known["Unlabeled/deep/0.png"] == -1
    assert data.given.tolist() == [k >= 0 for k in data.y.tolist()]
    assert data.test_x is None
    assert not data.flip


def test_train_val_and_test_parts(tmp_path):
    counts = {"train/cat": 3, "train/dog": 2, "val/dog": 2, "test/cat": 1, "test/dog": 2, "unlabelled": 5}
    data = open_data(str(fill(tmp_path / "mine", counts)))
    assert len(data.x) == 10
    assert data.given.sum() == 5
    assert data.val_y.tolist() == [1, 1]
    assert data.test_y.tolist() == [0, 1, 1]
    assert data.test_paths == ("test/cat/0.png", "test/dog/0.png", "test/dog/1.png")
    assert data.test_x[:, 0, 0, 0].tolist() == [8, 9, 10]
    assert data.val_x[:, 0, 0, 0].tolist() == [6, 7]


def test_names_are_sorted_as_people_count(tmp_path):
    assert open_data(fill(tmp_path / "mine", {"10": 2, "9": 2, "b": 1, "A": 1})).classes == ("9", "10", "A", "b")


def test_a_table_beside_nested_pictures(tmp_path):
    root = fill(tmp_path / "mine", {"a/b": 3, "c": 3, "test": 2})
    table = "\ufeffpath;label\r\na/b/0.png;yes\r\nc/0.png;no\r\na\\b\\1.png;\r\ntest/0.png;yes\r\n"
    (root / "labels.csv").write_text(table, encoding="utf-8", newline="")
    data = open_data(root)
    assert data.classes == ("no", "yes")
    known = dict(zip(data.paths, data.y.tolist(), strict=True))
    assert known == {"a/b/0.png": 1, "a/b/1.png": -1, "a/b/2.png": -1, "c/0.png": 0, "c/1.png": -1, "c/2.png": -1}
    assert data.test_paths == ("test/0.png",)
    assert ("test/1.png", "in the test part without a label") in data.skipped


def test_what_somebody_found_of_no_class_is_no_part_of_the_pool(tmp_path):
    root = fill(tmp_path / "mine", {"a": 6})
    rows = [
        "a/0.png,yes,",
        "a/1.png,no,random",
        "a/2.png,,none of these",
        "a/3.png,,skipped",
        "a/4.png,no,none of these",
    ]
    (root / "labels.csv").write_text("\n".join(["path,label,halfseen", *rows]))
    data = open_data(root)
    known = dict(zip(data.paths, data.y.tolist(), strict=True))
    assert known == {"a/0.png": 1, "a/1.png": 0, "a/3.png": -1, "a/4.png": 0, "a/5.png": -1}  # a label is a label
    assert data.skipped == (("a/2.png", "of no class, says labels.csv"),)
    assert "a/2.png" in (open_folder(root, pool=True).paths or ())  # somebody may yet change their mind


def test_parts_that_the_table_is_silent_about_are_read_by_their_classes(tmp_path):
    root = fill(tmp_path / "mine", {"a": 3, "test/yes": 2, "test/no": 1, "val": 2})
    (root / "labels.csv").write_text("path,label\na/0.png,yes\na/1.png,no\n")
    (root / "val/labels.csv").write_text("path,label\n0.png,no\n1.png,yes\n")
    data = open_data(root)
    assert (data.classes, data.y.tolist(), data.skipped) == (("no", "yes"), [1, 0, -1], ())
    assert (data.test_y.tolist(), data.val_y.tolist()) == ([0, 1, 1], [0, 1])
    assert data.test_paths == ("test/no/0.png", "test/yes/0.png", "test/yes/1.png")

    (root / "labels.csv").write_text("path,label\na/0.png,yes\na/1.png,no\ntest/yes/0.png,no\n")  # it speaks
    data = open_data(root)
    assert (data.test_y.tolist(), data.test_paths) == ([0], ("test/yes/0.png",))
    assert ("test/no/0.png", "in the test part without a label") in data.skipped


def test_a_table_in_each_part(tmp_path):
    root = fill(tmp_path / "mine", {"train": 4, "test": 2})
    (root / "train/labels.csv").write_text("path,label\n0.png,x\n1.png,y\n")
    (root / "test/labels.csv").write_text("path,label\n0.png,y\n1.png,x\n")
    data = open_data(root)
    assert data.y.tolist() == [0, 1, -1, -1]
    assert data.test_y.tolist() == [1, 0]


def test_files_that_are_no_images_are_named_and_hidden_ones_are_not_looked_at(tmp_path):
    root = fill(tmp_path / "mine", {"cat": 3, "dog": 2})
    (root / "cat/notes.txt").write_text("x")
    (root / ".git").mkdir()
    (root / "dog/.DS_Store").write_text("x")
    assert open_data(root).skipped == (("cat/notes.txt", "no image by its name"),)


def test_one_colour_picture_among_many_grey_ones_makes_the_set_colour(tmp_path, monkeypatch):
    monkeypatch.setattr("halfseen.data.cache.SAMPLE", 3)  # which misses it: it is noticed while decoding
    root = fill(tmp_path / "mine", {"cat": 9, "dog": 9})
    picture(root / "cat/4.png", 200, "RGB")
    data = open_data(root)
    assert data.shape == (3, 8, 8)
    assert data.x[4, :, 0, 0].tolist() == [200, 0, 0]
    assert data.x[5, :, 0, 0].tolist() == [6, 6, 6]
    assert open_data(root, channels=1).shape == (1, 8, 8)


def test_pictures_of_all_sizes_come_to_one(tmp_path):
    root = fill(tmp_path / "mine", {"cat": 2, "dog": 2})
    picture(root / "cat/big.png", 9, "RGB", (300, 200))
    assert open_data(root).shape == (3, 32, 32)
    assert open_data(root, size=(12, 20)).shape == (3, 12, 20)


def spoil(root: Path) -> dict[str, str]:
    """Bad files of five kinds among the pictures: {path: what is said of it}."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)
    Image.fromarray(noise).save(root / "cat/cut.png")
    good = (root / "cat/cut.png").read_bytes()
    (root / "cat/empty.png").write_bytes(b"")
    (root / "cat/cut.png").write_bytes(good[: len(good) // 2])
    (root / "cat/text.jpg").write_text("no picture")
    (root / "dog/huge.png").write_bytes(bomb(50_000))
    return {"cat/empty.png": "empty", "cat/cut.png": "damaged", "cat/text.jpg": "not a picture", "dog/huge.png": "safe"}


def test_bad_files_are_named_and_left_out(tmp_path):
    root = fill(tmp_path / "mine", {"cat": 30, "dog": 30})
    expected = spoil(root)
    for _ in range(2):  # from the files and from the cache
        data = open_data(root)
        said = dict(data.skipped)
        assert said.keys() == expected.keys()
        assert all(words in said[path] for path, words in expected.items())
        assert len(data.x) == 60
        assert data.x[:, 0, 0, 0].tolist() == list(range(1, 61))
        assert data.y.tolist() == [0] * 30 + [1] * 30


def test_bad_files_stop_when_asked_and_when_they_are_many(tmp_path):
    root = fill(tmp_path / "mine", {"cat": 30, "dog": 30})
    spoil(root)
    with pytest.raises(UserError, match="mend or remove it"):
        open_data(root, on_bad_image="stop")
    few = fill(tmp_path / "few", {"cat": 10, "dog": 10})
    spoil(few)
    with pytest.raises(UserError, match="4 of 24 images are bad, more than a tenth"):
        open_data(few)


def test_the_second_start_decodes_nothing(tmp_path, monkeypatch, cache):
    root = fill(tmp_path / "mine", {"cat": 5, "dog": 5, "test/dog": 2})
    first = open_data(root)

    def never(*_, **__):
        raise AssertionError("a picture was decoded again")

    monkeypatch.setattr("halfseen.data.cache.decode_all", never)
    monkeypatch.setattr(images, "header", never)
    second = open_data(root)
    assert second.fingerprint() == first.fingerprint()
    assert second.paths == first.paths
    with pytest.raises(AssertionError, match="decoded again"):  # other settings are another entry
        open_data(root, size=16)


def test_a_changed_folder_is_read_anew_and_the_old_entry_removed(tmp_path, cache):
    root = fill(tmp_path / "mine", {"cat": 5, "dog": 5})
    before = open_data(root)
    picture(root / "cat/0.png", 250)
    os.utime(root / "cat/0.png", ns=(1, 1))
    after = open_data(root)
    assert before.x[0, 0, 0, 0] == 1  # the mapped pages of a running program stay
    assert after.x[0, 0, 0, 0] == 250
    assert len([e for e in cache.iterdir() if e.is_dir()]) == 1


def test_the_fingerprint_is_of_pixels_and_labels(tmp_path, cache):
    root = fill(tmp_path / "mine", {"cat": 5, "dog": 5})
    here = open_data(root).fingerprint()
    shutil.copytree(root, tmp_path / "copy/mine")  # other times, another place, the same pictures
    os.utime(tmp_path / "copy/mine/cat/0.png", ns=(1, 1))
    assert open_data(tmp_path / "copy/mine").fingerprint() == here
    picture(root / "cat/0.png", 250)
    changed = open_data(root).fingerprint()
    assert changed != here
    shutil.move(root / "cat/0.png", root / "dog/7.png")
    assert open_data(root).fingerprint() not in (here, changed)


def test_two_that_open_a_folder_together_decode_it_once(tmp_path, monkeypatch):
    from halfseen.data import cache as module

    root = fill(tmp_path / "mine", {"cat": 5, "dog": 5})
    calls = []
    decode_all = module.decode_all

    def slow(*arguments, **options):
        calls.append(1)
        time.sleep(0.3)
        return decode_all(*arguments, **options)

    monkeypatch.setattr(module, "decode_all", slow)
    with ThreadPoolExecutor(3) as threads:
        sets = list(threads.map(open_data, [root] * 3))
    assert len(calls) == 1
    assert len({data.fingerprint() for data in sets}) == 1


def test_labels_are_not_in_the_cache(tmp_path, monkeypatch):
    root = fill(tmp_path / "mine", {"all": 4})
    (root / "labels.csv").write_text("path,label\nall/0.png,a\nall/1.png,b\n")
    open_data(root)
    (root / "labels.csv").write_text("path,label\nall/0.png,b\nall/1.png,c\nall/2.png,b\n")
    monkeypatch.setattr("halfseen.data.cache.decode_all", None)
    assert open_data(root).classes == ("b", "c")


@pytest.mark.parametrize("harm", ["short", "no meta", "bad meta", "lying meta"])
def test_a_damaged_entry_is_made_anew(tmp_path, cache, harm):
    root = fill(tmp_path / "mine", {"cat": 5, "dog": 5})
    whole = open_data(root).fingerprint()
    entry = next(e for e in cache.iterdir() if e.is_dir())
    if harm == "short":
        (entry / "x.u8").write_bytes((entry / "x.u8").read_bytes()[:-1])
    elif harm == "no meta":
        (entry / "meta.json").unlink()
    elif harm == "bad meta":
        (entry / "meta.json").write_text('{"shape": [1,')
    else:
        (entry / "meta.json").write_text(json.dumps({"shape": [9, 1, 8, 8], "bad": []}))
    assert open_data(root).fingerprint() == whole


def test_a_disk_that_is_full_is_said_in_words(tmp_path, monkeypatch):
    root = fill(tmp_path / "mine", {"cat": 5, "dog": 5})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("halfseen.data.decoder.work", full)
    with pytest.raises(UserError, match=r"No space left on device.*HALFSEEN_CACHE"):
        open_data(root)


def test_decoding_in_processes_gives_what_decoding_here_gives(tmp_path, cache, monkeypatch):
    root = fill(tmp_path / "mine", {"cat": 60, "dog": 60})
    expected = spoil(root)
    here = open_data(root)
    shutil.rmtree(cache)
    monkeypatch.setattr(pool, "FEW", 0)
    there = open_data(root, workers=2)
    assert there.fingerprint() == here.fingerprint()
    assert there.skipped == here.skipped
    assert dict(there.skipped).keys() == expected.keys()


def test_a_picture_that_kills_its_decoder_is_a_bad_one(tmp_path, monkeypatch):
    root = fill(tmp_path / "mine", {"cat": 20, "dog": 20})
    killer = tmp_path / "killer.py"
    code = Path(pool.decoder.__file__).read_text()
    code = code.replace("__file__", repr(pool.decoder.__file__))
    code = code.replace("def work(job", "def honest(job").replace("print(json.dumps(work(", "print(json.dumps(work(")
    code = code.replace(
        "def main() -> None:",
        "def work(job, out):\n"
        "    if any(p.endswith('dog/7.png') for p in job['paths']): os.kill(os.getpid(), 9)\n"
        "    return honest(job, out)\n\n\n"
        "def main() -> None:",
    )
    killer.write_text(code)
    monkeypatch.setattr(pool.decoder, "__file__", str(killer))
    monkeypatch.setattr(pool, "FEW", 0)
    data = open_data(root, workers=1)
    assert data.skipped == (("dog/7.png", pool.CRASHED),)
    assert len(data.x) == 39


def test_a_decoding_that_is_killed_leaves_nothing_that_is_taken_for_a_result(tmp_path, cache):
    root = fill(tmp_path / "mine", {"cat": 400, "dog": 400})
    code = f"from halfseen.data import open_data; print('go', flush=True); open_data({str(root)!r}, workers=1, size=64)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    until = time.monotonic() + 60
    while not list(cache.glob("*-building-*/x.u8")) and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    data = open_data(root, size=64)
    assert len(data.x) == 800
    assert data.x[799].unique().tolist() == [800 % 256]
    assert not list(cache.glob("*-building-*"))


def test_long_decoding_says_so_on_stderr(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("halfseen.machine.progress.PATIENCE", -1.0)
    root = fill(tmp_path / "mine", {"cat": 5, "dog": 5})
    open_data(root)
    out, err = capsys.readouterr()
    assert "decoding: 10 of 10 images" in err
    assert out == ""
    open_data(root, size=4, progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, "holds no training images"),
        ({"cat": 3}, "only the class 'cat'"),
        ({"unlabelled": 3}, "no labels at all"),
        ({"cat": 3, "dog": 0}, "dog holds no images"),
        ({"cat": 3, "dog": 1, "test/bird": 1}, "of class 'bird', which no training image is"),
        ({"cat": 3, "dog": 1, "test": 1}, "outside any class folder, such as 0.png"),
        ({"cat": 3, "dog": 1, ".": 2}, "2 images outside any class folder"),
        ({"train/cat": 3, "train/dog": 1, "bird": 2}, "holds 'bird' beside train"),
        ({"inner/cat": 3, "inner/dog": 1}, "did you mean .*inner"),
    ],
)
def test_folders_nothing_can_be_learned_from(tmp_path, counts, words):
    root = fill(tmp_path / "mine", counts)
    for name in counts or {".": 0}:
        (root / name).mkdir(parents=True, exist_ok=True)
    with pytest.raises(UserError, match=words):
        open_data(root)


def test_a_class_whose_labelled_pictures_are_all_bad(tmp_path):
    root = fill(tmp_path / "mine", {"cat": 30, "dog": 1, "eel": 3})
    (root / "dog/0.png").write_bytes(b"")
    with pytest.raises(UserError, match="Every labelled image of class 'dog'"):
        open_data(root)


def test_links_may_lead_elsewhere_and_in_circles(tmp_path):
    root = fill(tmp_path / "mine", {"cat": 2, "dog": 2})
    elsewhere = fill(tmp_path / "elsewhere", {"x": 3})
    (root / "unlabelled").symlink_to(elsewhere)
    (root / "cat/again").symlink_to(root / "cat")
    data = open_data(root)
    assert len(data.x) == 7


def test_letters(tmp_path):
    """26 classes of real letters, 16 + 8 each."""
    data = open_data(unpacked("letters", tmp_path))
    assert data.shape == (1, 28, 28)
    assert data.num_classes == 26
    assert data.classes[:3] == ("A", "B", "C")
    assert data.y.bincount().tolist() == [16] * 26
    assert data.test_y.bincount().tolist() == [8] * 26
    assert not data.skipped
    file = Image.open(tmp_path / "letters" / data.paths[100])
    assert np.array_equal(data.x[100, 0], np.asarray(file))
    split = choose_split(data.y, data.given, labels_per_class=2, seed=0, classes=data.classes)
    assert len(split.unlabelled) == 26 * 14


def test_blood_cells_with_most_labels_taken_away(tmp_path):
    """Real JPEGs of every size: the labels of ten of each class stay in a table, the others are hidden."""
    root = unpacked("blood-cells", tmp_path)
    rows = []
    for kind in ("RBC", "WBC", "Platelets"):
        rows += [f"{kind}/{p.name},{kind}" for p in sorted((root / kind).iterdir())[:10]]
    (root / "labels.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    data = open_data(root)
    assert data.classes == ("Platelets", "RBC", "WBC")
    assert len(data.x) == 200
    assert data.given.sum() == 30
    assert data.shape[0] == 3
    assert data.flip
    split = choose_split(data.y, data.given, seed=0, classes=data.classes)
    assert (len(split.labelled), len(split.val), len(split.unlabelled)) == (24, 6, 170)
    assert torch.equal(open_data(root).x, data.x)


def test_a_pool_may_have_loose_pictures_and_no_class(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "cat/c.png", "test/cat/d.png", "test/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(tmp_path / name)
    found = open_folder(tmp_path, pool=True, progress=False)
    assert dict(zip(found.paths or (), found.y.tolist(), strict=True)) == {"a.png": -1, "b.png": -1, "cat/c.png": 0}
    assert found.test_paths == ("test/cat/d.png",)
    assert ("test/e.png", "in the test part without a label") in found.skipped
    albums = open_folder(tmp_path, pool=True, albums=True, progress=False)
    assert albums.paths == ("a.png", "b.png", "cat/c.png")
    assert albums.classes == ()
    (tmp_path / "labels.csv").write_text("path,label\na.png,dog\n")  # a table says it all, with or without albums
    assert open_folder(tmp_path, pool=True, albums=True, progress=False).classes == ("dog",)
