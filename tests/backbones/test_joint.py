"""Several backbones as one: their features side by side, one bank, one model; V-PET's blocks are theirs."""

from pathlib import Path

import numpy as np
import pytest
import torch

import halfseen
from halfseen import methods
from halfseen.backbones import load_backbone
from halfseen.backbones.joint import Joint
from halfseen.backbones.lite0 import Lite
from halfseen.data import open_data
from halfseen.errors import UserError
from halfseen.run.trial import those_that_run
from halfseen.settings import Settings

OWN = """
import torch

class Small(torch.nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.conv = torch.nn.Conv2d(3, 6, 5, stride=3)

    def forward(self, x):
        return self.conv(x - 0.5).relu().mean((2, 3)) * 10

def one():
    return Small(1)

def two():
    return Small(2)
"""


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HALFSEEN_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "own.py"
    file.write_text(OWN)
    return f"{file}:one+{file}:two"


def test_features_stand_side_by_side(name: str) -> None:
    joint, parts = load_backbone(name), [load_backbone(part) for part in name.split("+")]
    assert (joint.name, joint.dim) == (name, 12)
    assert joint.key not in {part.key for part in parts}
    x = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        want = torch.cat([part(x) for part in parts], 1)
        torch.testing.assert_close(joint(x), want)
        torch.testing.assert_close(joint.frozen()(x), want)
    assert not torch.allclose(want[:, :6], want[:, 6:])


def test_layers_hold_every_parameter_once() -> None:
    joint = Joint("lite0+lite1", [Lite("lite0"), Lite("lite1")])
    found = [p for layer in joint.layers() for p in layer.parameters()]
    assert len(found) == len({id(p) for p in found}) == len(list(joint.parameters()))
    assert len(joint.layers()) == max(len(Lite(n).layers()) for n in ("lite0", "lite1"))


class Fixed(Lite):
    def __init__(self, side: int) -> None:
        super().__init__()
        self.fixed, self.side = True, side


def test_sides_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(UserError, match="32 and 64 pixels only"):
        Joint("a+b", [Fixed(64), Fixed(32)])
    assert Joint("a+b", [Lite(), Fixed(64)]).side == 64


@pytest.mark.parametrize("wrong", ["lite0+", "lite0+lite0", "+"])
def test_names_that_say_nothing(wrong: str) -> None:
    with pytest.raises(UserError, match="twice or none"):
        load_backbone(wrong)


def test_a_plus_in_a_path_is_of_the_path(tmp_path: Path) -> None:
    folder = tmp_path / "c++"
    folder.mkdir()
    (folder / "own.py").write_text(OWN)
    assert load_backbone(f"{folder / 'own.py'}:one").dim == 6


def test_a_part_that_is_none_is_named() -> None:
    with pytest.raises(UserError, match="there is no backbone"):
        load_backbone("lite9+lite0")


def test_vpet_votes_with_both_and_the_model_is_whole(name: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    y = np.arange(48) % 3
    x = (random.integers(0, 90, (48, 24, 24, 3)) + 55 * y[:, None, None, None] * np.array([1, 0, 1])).astype(np.uint8)
    run = halfseen.train(
        {"x": x, "y": np.where(np.arange(48) < 12, y, -1), "test_x": x[12:], "test_y": y[12:]},
        out=tmp_path / "run",
        method="vpet",
        backbone=name,
        size=32,
        steps=60,
        val="none",
        overrides={"method.blocks": "2"},
        threads=1,
        report=False,
        quiet=True,
    )
    assert run.metrics["headline"]["test"]["accuracy"] > 0.6
    assert set(run.metrics["last"]) == {"net", "ensemble"}
    said = np.load(run.folder / "outputs.npz")["test"].argmax(1)
    assert list(halfseen.load(run.folder).predict(x[12:])) == [str(k) for k in said]


def test_every_method_runs_on_a_bank(name: str) -> None:
    """Its first steps, on the features of two backbones; the others are named with their reasons: 12 features are too few
    to drop a twentieth of them, and a linear head has no features of its own to move."""
    random = np.random.default_rng(0)
    arrays = {"x": random.integers(0, 255, (60, 24, 24, 3)).astype(np.uint8), "y": np.arange(60) % 3}
    images = open_data(arrays | {"test_x": arrays["x"][:6], "test_y": arrays["y"][:6]})
    settings = Settings(backbone=name, size=32, threads=1, weak_views=1, strong_views=1)
    found, why = those_that_run(images, methods.names(), settings, lambda _: None)
    assert why.keys() == {"vadd", "sntg"}
    assert "delta=0.05 of 12 features" in why["vadd"]
    assert "take --net mlp" in why["sntg"]
    assert found == [n for n in methods.names() if n not in why]
