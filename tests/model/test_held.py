"""A saved model and the backbone below it: held, so that it needs nothing else, or only named."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import halfseen
from halfseen.backbones import load_backbone
from halfseen.commands.export import export
from halfseen.data import ImageSet, open_data
from halfseen.errors import UserError
from tests.backbones.graphs import write
from tests.backbones.small import saved
from tests.backbones.test_own import MEAN

KINDS = ("vit", "clip", "convnext", "onnx", "own")


def pictures() -> ImageSet:
    random = np.random.default_rng(0)
    y = np.arange(24) % 2
    x = random.integers(0, 100, (24, 32, 32, 3), dtype=np.uint8)
    x[np.arange(24), ..., y] += 100
    return open_data({"x": x, "y": y})


def backbone(kind: str, place: Path) -> str:
    if kind == "own":
        (place / "mine.py").write_text(MEAN)
        return f"{place}/mine.py:made"
    if kind == "onnx":
        return str(write(place / "net.onnx", ["n", 3, "h", "w"]))
    said = {"image_mean": [0.4, 0.5, 0.6], "size": {"height": 32, "width": 32}}
    saved(kind, place / "folder", **said)
    return str(place / "folder")


def run(kind: str, place: Path, **more: bool) -> tuple[Path, ImageSet]:
    images = pictures()
    given: dict[str, Any] = {
        "steps": 5,
        "labels_per_class": 3,
        "batch": 4,
        "unlabelled_batch": 6,
        "size": 32,
        "seed": 1,
    }
    given |= {"method": "fixmatch", "quiet": True, "report": False, **more}
    halfseen.train(images, out=place / "run", backbone=backbone(kind, place), **given)
    return place / "run", images


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_needs_nothing_but_its_folder(kind: str, tmp_path: Path) -> None:
    made, images = run(kind, tmp_path)
    before = halfseen.load(made).probabilities(images.x)
    shutil.move(made / "model", tmp_path / "elsewhere")
    for name in ("folder", "run"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
    for file in ("net.onnx", "mine.py"):
        (tmp_path / file).unlink(missing_ok=True)
    torch.testing.assert_close(halfseen.load(tmp_path / "elsewhere").probabilities(images.x), before)


@pytest.mark.parametrize("kind", ["vit", "own"])
def test_a_slim_model_names_its_backbone(kind: str, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole, images = run(kind, tmp_path / "whole")
    made, _ = run(kind, tmp_path, slim=True)
    size = [(folder / "model" / "model.safetensors").stat().st_size for folder in (made, whole)]
    assert size[0] < size[1]
    assert not (made / "model" / "backbone").exists()
    one, two = (halfseen.load(folder).probabilities(images.x) for folder in (made, whole))
    torch.testing.assert_close(one, two)
    model = json.loads((made / "model" / "model.json").read_text())
    assert model["backbone"]["key"] == load_backbone(model["backbone"]["name"]).key
    if kind == "own":
        (tmp_path / "mine.py").write_text(MEAN.replace("1.0", "2.0"))
        with pytest.raises(UserError, match="has other weights now; put the old ones back"):
            halfseen.load(made)
        (tmp_path / "mine.py").unlink()
    else:
        shutil.rmtree(tmp_path / "folder")
    with pytest.raises(UserError, match=r"the model does not hold its backbone .*, and it is not here: there is no"):
        halfseen.load(made)


def test_slim_without_a_backbone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--slim leaves the backbone out of the model, and this run has none"):
        halfseen.train("digits", out=tmp_path / "x", slim=True, steps=5, labels_per_class=3)


def test_a_model_that_lost_its_backbones_files_says_so(tmp_path: Path) -> None:
    made, _ = run("vit", tmp_path)
    (made / "model" / "backbone" / "config.json").unlink()
    with pytest.raises(UserError, match=r"has no config\.json"):
        halfseen.load(made)


def test_models_of_before_backbones_were_held_still_load(tmp_path: Path) -> None:
    """They have the weights, and the network is made from where it lay."""
    made, images = run("vit", tmp_path)
    model = halfseen.load(made)
    shutil.rmtree(made / "model" / "backbone")
    file = made / "model" / "model.json"
    about = json.loads(file.read_text())
    del about["backbone"]["held"]
    file.write_text(json.dumps(about))
    torch.testing.assert_close(halfseen.load(made).probabilities(images.x), model.probabilities(images.x))


@pytest.mark.parametrize("gives", ["features", "both"])
def test_a_graph_and_its_head_are_exported_as_one_graph(gives: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="pip install halfseen[onnx]")
    images = pictures()
    net = write(tmp_path / "net.onnx", ["n", 3, "h", "w"], gives=[gives, "maps"])
    given: dict[str, Any] = {"method": "probe", "labels_per_class": 3, "size": 32, "quiet": True, "report": False}
    halfseen.train(images, out=tmp_path / "run", backbone=str(net), **given)
    net.unlink()
    export(tmp_path / "run", tmp_path / "m.onnx")
    one, two = (halfseen.load(tmp_path / name).probabilities(images.x[:7]) for name in ("run", "m.onnx"))
    torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


def test_a_graph_for_so_many_pictures_at_once_cannot_be_part_of_one(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="pip install halfseen[onnx]")
    net = write(tmp_path / "net.onnx", [4, 3, "h", "w"])
    given: dict[str, Any] = {"method": "probe", "labels_per_class": 3, "size": 32, "quiet": True, "report": False}
    halfseen.train(pictures(), out=tmp_path / "run", backbone=str(net), **given)
    with pytest.raises(UserError, match="takes 4 pictures at a time, and a model takes any number"):
        export(tmp_path / "run", tmp_path / "m.onnx")
