"""A loaded model and what Python programs have in hand: every form of the same pictures gets the same answer."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import halfseen
from halfseen.commands.predict import predict
from halfseen.data import arrays
from halfseen.errors import UserError
from halfseen.methods import supervised
from halfseen.model import load_model
from halfseen.model.model import Model, save_model
from halfseen.overrides import flat, tuples
from tests.commands.test_predict import make_run, rows_of

CLASSES = ("rot", "grün", "blue sky")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Of colour pictures of 12x10."""
    return halfseen.load(make_run(tmp_path_factory.mktemp("colour") / "run", (3, 12, 10), CLASSES))


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return halfseen.load(make_run(tmp_path_factory.mktemp("grey") / "run", (1, 12, 10), CLASSES))


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return halfseen.load(make_run(tmp_path_factory.mktemp("vectors") / "run", (5,), CLASSES))


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    """[n, h, w, c], larger than what the models take."""
    return np.random.default_rng(0).integers(0, 256, (6, 20, 17, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(x: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures as files, whose natural order is that of the rows; and one that is no picture."""
    place = tmp_path_factory.mktemp("files")
    for i, row in enumerate(x):
        Image.fromarray(row).save(place / f"{7 + i}.png")  # 10 stands after 9
    (place / "notes.txt").write_text("hello")
    return place


def close(one: np.ndarray, two: np.ndarray, form: str = "") -> None:
    assert one.shape == two.shape, form
    np.testing.assert_allclose(one, two, atol=1e-6, err_msg=form)


def test_names_and_probabilities(model: Model, x: np.ndarray) -> None:
    P, names = model.predict_proba(x), model.predict(x)
    assert (P.shape, P.dtype) == ((6, 3), np.float32)
    np.testing.assert_allclose(P.sum(1), 1, atol=1e-6)
    assert names.shape == (6,)
    assert names.dtype.kind == "U"
    assert model.classes == CLASSES
    assert names.tolist() == [CLASSES[k] for k in P.argmax(1)]
    assert len(np.abs(np.diff(P[:, 0])).nonzero()[0]) == 5  # the pictures differ, so the tests below say something


def test_every_form_of_colour_pictures(model: Model, x: np.ndarray, folder: Path) -> None:
    P = model.predict_proba(x)
    paths = model.paths(folder)
    assert [p.name for p in paths] == [f"{7 + i}.png" for i in range(6)]
    pictures = [Image.open(p) for p in paths]
    forms: dict[str, Any] = {
        "channels first": x.transpose(0, 3, 1, 2),
        "a tensor": torch.from_numpy(x).permute(0, 3, 1, 2),
        "floats": x / 255,
        "floats of a tensor": torch.from_numpy(x).permute(0, 3, 1, 2) / 255,
        "a list of arrays": list(x),
        "a list of tensors": list(torch.from_numpy(x).permute(0, 3, 1, 2)),
        "a folder": folder,
        "a folder's name": str(folder),
        "paths": paths,
        "paths as text": tuple(map(str, paths)),
        "paths one after another": iter(paths),
        "paths in an array": np.array(list(map(str, paths))),
        "a column of paths": pd.Series(list(map(str, paths))),
        "Pillow's": pictures,
        "all kinds": [x[0], torch.from_numpy(x[1]).permute(2, 0, 1), paths[2], str(paths[3]), pictures[4], x[5]],
        "transparent": np.concatenate([x, np.full_like(x[..., :1], 255)], 3),
    }
    for name, form in forms.items():
        close(model.predict_proba(form), P, name)
    close(model.predict_proba(x[:3].astype(np.int64)), P[:3])


def test_npz_and_home(model: Model, x: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    np.savez(tmp_path / "some.npz", x=x)
    close(model.predict_proba("~/some.npz"), model.predict_proba(x))
    run = make_run(tmp_path / "run", (3, 12, 10), CLASSES)
    close(halfseen.load("~/run").predict_proba(x), load_model(run / "model").predict_proba(x))


def test_a_single_picture(model: Model, grey: Model, x: np.ndarray, folder: Path) -> None:
    P = model.predict_proba(x)[:1]
    for one in (x[0], x[:1], [x[0]], Image.fromarray(x[0]), folder / "7.png", str(folder / "7.png")):
        close(model.predict_proba(one), P)
    own = np.random.default_rng(1).integers(0, 256, (3, 12, 10), dtype=np.uint8)  # the model's own shape
    P = model.predict_proba(own[None])
    for alike in (own, torch.from_numpy(own), own.transpose(1, 2, 0)):
        close(model.predict_proba(alike), P)
    P = grey.predict_proba(own[:, None])
    assert len(P) == 3
    for three in (own, torch.from_numpy(own), list(own), list(torch.from_numpy(own))):
        close(grey.predict_proba(three), P)
    close(grey.predict_proba(own[0]), P[:1])
    close(grey.predict_proba(torch.from_numpy(own[0])), P[:1])
    other = np.random.default_rng(2).integers(0, 256, (20, 30), dtype=np.uint8)
    close(grey.predict_proba([other]), grey.predict_proba(other[None]))


def test_pictures_of_several_sizes(grey: Model) -> None:
    some = [np.random.default_rng(i).integers(0, 256, (12 + i, 9 + 2 * i), dtype=np.uint8) for i in range(5)]
    P = np.concatenate([grey.predict_proba(picture[None]) for picture in some])
    close(grey.predict_proba(some), P)
    close(grey.predict_proba([Image.fromarray(picture) for picture in some]), P)
    floats = [picture.astype(np.float64) for picture in some]
    floats.append(np.ones((12, 10)))  # dark on this scale, and white on the other
    found = grey.predict_proba(floats)
    close(found[:-1], P)
    close(found[-1:], grey.predict_proba(np.ones((1, 12, 10), dtype=np.uint8)))


def test_more_than_a_chunk(grey: Model) -> None:
    many = np.random.default_rng(0).integers(0, 256, (600, 13, 10), dtype=np.uint8)
    close(grey.predict_proba(list(many)), grey.predict_proba(many))


def test_none_at_all(model: Model, vectors: Model) -> None:
    for nothing in ([], np.empty((0, 4, 4, 3)), iter(())):
        assert model.predict(nothing).shape == (0,)
        assert model.predict_proba(nothing).shape == (0, 3)
    assert vectors.predict_proba([]).shape == (0, 3)


def test_vectors(vectors: Model, tmp_path: Path) -> None:
    v = np.random.default_rng(0).normal(size=(7, 5))
    P = vectors.predict_proba(v)
    assert P.shape == (7, 3)
    np.savez(tmp_path / "v.npz", x=v)
    for form in (v.tolist(), list(v), torch.from_numpy(v), pd.DataFrame(v), tmp_path / "v.npz"):
        close(vectors.predict_proba(form), P)
    close(vectors.predict_proba(v[0]), P[:1])
    for wrong in ("a.png", [Path("a.png")], Image.new("L", (5, 5))):
        with pytest.raises(UserError, match="trained on vectors of 5 numbers"):
            vectors.predict(wrong)
    with pytest.raises(UserError, match=r"trained on vectors; give an array \[n, 5\], not \[2, 3, 5\]"):
        vectors.predict(np.zeros((2, 3, 5)))
    with pytest.raises(UserError, match=r"of shape \(5,\), not \(6,\)"):
        vectors.predict(np.zeros((2, 6)))


def test_what_the_command_says(model: Model, folder: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (3, 12, 10), CLASSES)
    predict(run, folder, tmp_path / "p.csv", True, "cpu")
    written = rows_of(tmp_path / "p.csv")[1:]
    assert [row[0] for row in written] == [str(p.relative_to(folder)) for p in model.paths(folder)]
    assert [row[1] for row in written] == model.predict(folder).tolist()
    np.testing.assert_allclose(np.array([row[3:] for row in written], float), model.predict_proba(folder), rtol=1e-5)


def some(shape: tuple[int, ...], tensor: bool = False) -> Any:
    array = np.zeros(shape, dtype=np.uint8)
    return torch.from_numpy(array) if tensor else array


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (some((40, 64)), r"an array \[40, 64\] may be one picture or rows of pixels: give \[n, h, w\]"),
        (some((3, 30, 30), True), r"a tensor \[3, 30, 30\] may be one picture or 3 grey ones: give \[n, c, h, w\]"),
        (some((2, 5, 5, 5, 3)), "has the shape"),
        ([some((2, 5, 5, 3))], "a picture of the list has the shape"),
        (np.full((2, 12, 10), np.nan), "nan or infinite"),
        (np.full((2, 12, 10), -1.0), "negative pixels"),
        (None, "holds object and not numbers"),
        ({"x": some((2, 12, 10))}, "holds object and not numbers"),
        ([[1, 2], [3]], "cannot be made one array"),
        ("nowhere", "there is no file or folder nowhere"),
        (["nowhere.png"], r"nowhere\.png could not be read: the file does not exist"),
    ],
)
def test_what_is_no_picture(model: Model, images: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        model.predict(images)


@pytest.fixture
def damaged(folder: Path, tmp_path: Path) -> Iterator[Path]:
    """A file that begins as a picture does."""
    (tmp_path / "good.png").write_bytes((folder / "7.png").read_bytes())
    (tmp_path / "half.png").write_bytes((folder / "7.png").read_bytes()[:200])
    return tmp_path / "half.png"


def test_there_is_a_row_for_each_image_or_an_error(model: Model, damaged: Path) -> None:
    good = damaged.with_name("good.png")
    for images in (damaged.parent, damaged, [good, damaged], [str(damaged)]):
        with pytest.raises(UserError, match=r"half\.png could not be read: damaged .*; leave it out, or mend the file"):
            model.predict(images)
    said = pytest.raises(UserError, match=r"images\[1\] could not be read: damaged")
    with Image.open(good) as first, Image.open(damaged) as second, said:
        model.predict([first, second])


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(UserError, match="there is no device 'gpu'"):
        halfseen.load(run, device="gpu")
    assert load_model(run, torch.device("cpu")).device.type == "cpu"


def test_settings_that_json_keeps_as_lists(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    model = load_model(run)
    settings = flat(supervised.Config())
    assert isinstance(settings["optim.betas"], tuple)
    save_model(run / "model", model.net, {**model.about, "method_settings": settings}, model.facts)
    assert isinstance(load_model(run).about["method_settings"]["optim.betas"], list)
    assert tuples({"a": [[1, 2], 3], "b": "text", "c": None}) == {"a": ((1, 2), 3), "b": "text", "c": None}


def test_a_home_folder_of_nobody(model: Model) -> None:
    with pytest.raises(UserError, match="~no-such-user/run holds no model"):
        halfseen.load("~no-such-user/run")
    with pytest.raises(UserError, match="there is no file or folder ~no-such-user/new"):
        model.predict("~no-such-user/new")
    with pytest.raises(UserError, match=r"~no-such-user/a\.png could not be read: the file does not exist"):
        model.predict(["~no-such-user/a.png"])
    with pytest.raises(UserError, match="there is no file or folder ~no-such-user"):
        model.paths("~no-such-user")


def test_what_is_no_path_of_a_model() -> None:
    for wrong in (3, None, {"folder": "run"}):
        with pytest.raises(UserError, match=r"loaded from a run folder or an \.onnx file, not from"):
            halfseen.load(wrong)  # type: ignore[arg-type]


def test_an_npz_that_is_a_trap(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guards of training hold for prediction too: pickles, bombs, and an .npy under another name."""
    trap = tmp_path / "trap.npz"
    np.savez(trap, x=np.array([{"a": 1}, None], dtype=object))
    with pytest.raises(UserError, match="it holds Python objects"):
        model.predict(trap)
    with open(trap, "wb") as file:
        np.save(file, np.zeros((2, 12, 10, 3), dtype=np.uint8))
    with pytest.raises(UserError, match=r"could not be read as an \.npz file"):
        model.predict(trap)
    np.savez_compressed(trap, x=np.zeros((999, 12, 10, 3), dtype=np.uint8))
    monkeypatch.setattr(arrays, "LARGE", 100)
    with pytest.raises(UserError, match=r"would unpack [\d,]+ bytes to 359,"):
        model.predict(trap)


@pytest.mark.parametrize(
    ("key", "value"),
    [("method", 3), ("method", None), ("method_settings", [1]), ("method_settings", "x"), ("facts", [])],
)
def test_a_model_whose_description_is_of_the_wrong_kind(key: str, value: Any, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    about = run / "model" / "model.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), key: value}))
    with pytest.raises(
        UserError, match=r"the model in .* is damaged or of another version \(.*\); export the run again"
    ):
        halfseen.load(run)
