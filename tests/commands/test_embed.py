"""`halfseen embed`: the backbone's clean rows, with the images' names and the labels that may be known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from halfseen.backbones import load_backbone
from halfseen.cli import main
from halfseen.commands.embed import embed
from halfseen.data import open_data
from halfseen.errors import UserError
from tests.run.test_start import BACKBONE, folder


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("backbone") / "toy.py"
    file.write_text(BACKBONE)
    return f"{file}:Toy"


def test_features_names_and_labels(toy: str, tmp_path: Path) -> None:
    photos = folder(tmp_path / "p", 60, n=5)
    main(["embed", str(photos), "--backbone", toy, "--out", str(tmp_path / "f.npz")])
    found = np.load(tmp_path / "f.npz")
    images = open_data(photos, size=48)
    with torch.no_grad():
        own = load_backbone(toy)(images.x.float() / 255)
    np.testing.assert_allclose(found["features"], own.numpy(), atol=2e-3, rtol=2e-3)
    assert found["paths"].tolist() == list(images.paths or ())
    assert found["labels"].tolist() == images.y.tolist()
    assert found["classes"].tolist() == ["cats", "dogs"]


def test_test_images_are_beside(toy: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (9, 32, 32), dtype=np.uint8)
    np.savez(
        tmp_path / "d.npz", x=x, y=np.arange(9) % 3 - (np.arange(9) == 8) * 3, test_x=x[:4], test_y=np.arange(4) % 2
    )
    embed(str(tmp_path / "d.npz"), tmp_path / "f.npz", toy)
    found = np.load(tmp_path / "f.npz")
    np.testing.assert_array_equal(found["test_features"], found["features"][:4])
    assert found["labels"][8] == -1


def test_mistakes(toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there.npz").write_text("")
    for out, said in (("there.npz", "exists; choose another --out"), ("f.csv", "give it that ending")):
        with pytest.raises(UserError, match=said):
            embed("digits", tmp_path / out, toy)
    monkeypatch.setattr("halfseen.commands.embed.best_installed", lambda: ("none", "no backbone is installed"))
    with pytest.raises(UserError, match="no backbone is installed"):
        embed("digits", tmp_path / "x.npz")
