"""Predictions as csv: each readable image once, in natural order, decoded as for training, quoted as readers expect."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from halfseen.commands.predict import cell, predict, summary
from halfseen.data import open_data
from halfseen.errors import UserError
from halfseen.model import load_model
from halfseen.model.facts import Facts
from halfseen.model.model import save_model
from halfseen.nets import make_net
from tests.shared import unpacked

CLASSES = ("RBC", 'a "quoted", name', "=ünï\ncode")


def make_run(folder: Path, shape: tuple[int, ...] = (3, 12, 10), classes: tuple[str, ...] = CLASSES) -> Path:
    """A run folder with an untrained model, whose output layer is loud enough for all classes to be predicted."""
    torch.manual_seed(1)
    c = shape[0]
    facts = Facts(classes, shape, (0.5,) * c, (0.25,) * c, False, 10, 5, 5)
    net = make_net("small" if len(shape) == 3 else "mlp", classes=len(classes), shape=shape)
    nn.init.normal_(net.head.weight)
    about = {"method": "supervised", "method_settings": {}, "net": "small" if len(shape) == 3 else "mlp"}
    method = {**about, "net_options": {}, "predictor": "net"}
    save_model(folder / "model", net, method, facts)
    return folder


def picture(path: Path, seed: int, size: tuple[int, int] = (20, 24), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)


def rows_of(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8", "surrogateescape"), newline=""), strict=True))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def test_one_row_per_image_in_natural_order(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["img2.png", "img10.png", "sub/a.bmp", 'we, "ird".png', "=1+1.png", "line\nbreak.png", "back\rhere.png"]
    names += ["ünïcode.png", " space .png"]
    for i, name in enumerate(names):
        picture(tmp_path / "in" / name, i)
    (tmp_path / "in" / "labels.csv").write_text("path,label\n")
    (tmp_path / "in" / ".hidden.png").write_bytes(b"x")
    out = tmp_path / "deep" / "er" / "p.csv"
    predict(run, tmp_path / "in", out, False, "cpu")
    rows = rows_of(out)
    assert rows[0] == ["path", "label", "confidence"]
    assert sorted(r[0] for r in rows[1:]) == sorted(names)
    order = [r[0] for r in rows[1:]]
    assert order.index("img2.png") < order.index("img10.png")
    assert all(r[1] in CLASSES for r in rows[1:])
    assert all(1 / 3 <= float(r[2]) <= 1 for r in rows[1:])
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith("9 images: ")
    total = sum(sum(r[1] == c for r in rows[1:]) for c in CLASSES)
    assert total == 9
    assert said.out.rstrip().endswith(f"written to {out}")


def test_a_name_that_is_no_utf8_keeps_its_bytes(run: Path, tmp_path: Path) -> None:
    import os

    picture(tmp_path / "in" / "a.png", 0)
    wanted = os.fsencode(tmp_path / "in") + b"/caf\xe9.png"
    try:
        os.rename(os.fsencode(tmp_path / "in" / "a.png"), wanted)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    predict(run, tmp_path / "in", tmp_path / "p.csv", False, "cpu")
    assert b"\ncaf\xe9.png," in (tmp_path / "p.csv").read_bytes()


def test_probabilities_are_the_models_on_images_opened_as_for_training(tmp_path: Path) -> None:
    folder = unpacked("blood-cells", tmp_path)  # colour JPEG of every size
    images = open_data(folder, size=(24, 20), cache_dir=tmp_path / "cache", progress=False)
    run = make_run(tmp_path / "run", (3, 24, 20), images.classes)
    model = load_model(run)
    with torch.no_grad():  # so that every class is predicted
        model.net.head.bias -= model.probabilities(images.x).log().mean(0)
    save_model(run / "model", model.net, model.about, model.facts)
    predict(run, folder, tmp_path / "p.csv", True, "cpu")
    rows = rows_of(tmp_path / "p.csv")
    assert rows[0] == ["path", "label", "confidence", *(f"p({c})" for c in images.classes)]
    assert images.paths is not None
    P = load_model(run).probabilities(images.x)
    expected = dict(zip(images.paths, P, strict=True))
    assert len(rows) == 201
    assert [r[0] for r in rows[1:]] == list(images.paths)
    for path, label, confidence, *p in rows[1:]:
        numbers = torch.tensor([float(v) for v in p])
        torch.testing.assert_close(numbers, expected[path], atol=2e-6, rtol=1e-5)
        assert label == images.classes[int(expected[path].argmax())]
        assert float(confidence) == max(map(float, p))
        assert abs(sum(map(float, p)) - 1) < 1e-5
    assert len({r[1] for r in rows[1:]}) > 1  # otherwise the labels above would prove little


def test_bad_files_are_named_and_counted_and_not_fatal(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    for i in range(4):
        picture(folder / f"{i}.png", i)
    (folder / "empty.jpg").touch()
    (folder / "text.png").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:300])
    (folder / "odd\nname.png").write_text("no picture either")
    (folder / "notes.txt").write_text("hello")
    predict(run, folder, tmp_path / "p.csv", False, "cpu")
    assert [r[0] for r in rows_of(tmp_path / "p.csv")[1:]] == [f"{i}.png" for i in range(4)]
    said = capsys.readouterr().err
    assert "4 of 8 images could not be read:" in said
    assert "  empty.jpg: the file is empty\n" in said
    assert "  text.png: not a picture" in said
    assert "  cut.png: damaged" in said
    assert "  'odd\\nname.png': " in said
    assert "left aside, no images by their names: 1, such as notes.txt" in said


def test_no_readable_image(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        predict(run, tmp_path / "in", tmp_path / "p.csv", False, "cpu")
    (tmp_path / "in" / "a.png").touch()
    with pytest.raises(UserError, match=r"no image of .* could be read"):
        predict(run, tmp_path / "in", tmp_path / "p.csv", False, "cpu")
    assert "a.png: the file is empty" in capsys.readouterr().err
    assert not (tmp_path / "p.csv").exists()
    with pytest.raises(UserError, match="there is no file or folder"):
        predict(run, tmp_path / "gone", tmp_path / "p.csv", False, "cpu")


def test_one_file_and_grey_for_colour(run: Path, tmp_path: Path) -> None:
    picture(tmp_path / "one.png", 0, mode="L")
    (tmp_path / "one.png").rename(tmp_path / "one.photo")  # what was named is opened, whatever its name
    predict(run, tmp_path / "one.photo", tmp_path / "p.csv", False, "cpu")
    assert [r[0] for r in rows_of(tmp_path / "p.csv")[1:]] == [str(tmp_path / "one.photo")]


def test_arrays_give_what_files_give(run: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (300, 12, 10, 3), dtype=np.uint8)  # more than one chunk
    np.savez(tmp_path / "x.npz", x=x, y=np.zeros(300))
    np.savez(tmp_path / "unnamed.npz", x)
    for i in (0, 7, 299):
        Image.fromarray(x[i]).save(tmp_path / f"{i}.png")
    predict(run, tmp_path / "x.npz", tmp_path / "p.csv", True, "cpu")
    predict(run, tmp_path / "unnamed.npz", tmp_path / "q.csv", True, "cpu")
    rows = rows_of(tmp_path / "p.csv")
    assert [r[0] for r in rows[1:]] == [str(i) for i in range(300)]
    assert rows_of(tmp_path / "q.csv") == rows
    for i in (0, 7, 299):
        predict(run, tmp_path / f"{i}.png", tmp_path / f"{i}.csv", True, "cpu")
        single = rows_of(tmp_path / f"{i}.csv")[1]
        assert single[1] == rows[i + 1][1]
        assert [float(v) for v in single[2:]] == pytest.approx([float(v) for v in rows[i + 1][2:]], abs=1e-5)


def test_vectors(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (5,))
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(7, 5)))
    predict(run, tmp_path / "x.npz", tmp_path / "p.csv", False, "cpu")
    assert len(rows_of(tmp_path / "p.csv")) == 8
    picture(tmp_path / "in" / "a.png", 0)
    with pytest.raises(UserError, match=r"vectors of 5 numbers; give an \.npz file"):
        predict(run, tmp_path / "in", tmp_path / "q.csv", False, "cpu")
    np.savez(tmp_path / "wide.npz", x=np.zeros((7, 6)))
    with pytest.raises(UserError, match=r"\(5,\), not \(6,\)"):
        predict(run, tmp_path / "wide.npz", tmp_path / "q.csv", False, "cpu")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"a": np.zeros(3), "b": np.zeros(3)}, "has no array 'x' but a, b"),
        ({"x": np.array(["a"])}, "not numbers"),
        ({"x": np.full((2, 4, 4), np.nan)}, "nan or infinite"),
    ],
)
def test_arrays_that_are_no_images(arrays: dict[str, np.ndarray], said: str, run: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match=said):
        predict(run, tmp_path / "x.npz", tmp_path / "p.csv", False, "cpu")


def test_a_damaged_npz(run: Path, tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04 and then nothing", b"hello"):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(UserError, match=r"could not be read as an \.npz file"):
            predict(run, tmp_path / "x.npz", tmp_path / "p.csv", False, "cpu")


def test_what_exists_is_not_replaced(run: Path, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png", 0)
    out = tmp_path / "p.csv"
    out.write_text("path,label,confidence\na.png,corrected by hand,1\n")
    with pytest.raises(UserError, match="exists already; remove it, or choose another --out"):
        predict(run, tmp_path / "in", out, False, "cpu")
    assert "by hand" in out.read_text()
    with pytest.raises(UserError, match="is a folder; name the csv file"):
        predict(run, tmp_path / "in", tmp_path / "in", False, "cpu")
    with pytest.raises(UserError, match="could not be written"):
        predict(run, tmp_path / "in", out / "below.csv", False, "cpu")
    assert not list(tmp_path.glob("**/*.part"))


@given(st.text(alphabet=st.sampled_from('a,"\r\n =é '), max_size=12))
def test_any_cell_is_read_back(text: str) -> None:
    line = cell(text) + "," + cell("b") + "\n"
    assert list(csv.reader(io.StringIO(line, newline=""), strict=True)) == [[text, "b"]]


def test_long_work_is_seen(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halfseen.machine.progress.PATIENCE", -1.0)
    for i in range(3):
        picture(tmp_path / "in" / f"{i}.png", i)
    predict(run, tmp_path / "in", tmp_path / "p.csv", False, "cpu")
    said = capsys.readouterr().err
    assert said.startswith("labelling: 1 of 3 images, 0:0")
    assert said.count("\n") == 1  # and no more until ten seconds have gone
    assert "\x1b" not in said


def test_summary_counts_every_image() -> None:
    assert summary([2, 0, 5], ("a", "b", "c")) == "7 images: 5 c, 2 a"
    many = summary([1] * 30, tuple(map(str, range(30))))
    assert many.startswith("30 images: 1 0, 1 1,")
    assert many.endswith("10 of 10 other labels")
