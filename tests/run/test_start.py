"""What a run starts from: which backbone, at which size; and a run on one, from the command to the model of pixels."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import halfseen
from halfseen.cli import main
from halfseen.data import open_data, store
from halfseen.errors import UserError
from halfseen.machine.progress import Display
from halfseen.run import start
from halfseen.settings import Settings

BACKBONE = """
import torch
from torch import nn

class Toy(nn.Module):
    side, least, dim = 48, 16, 16

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 16, 8, stride=8)
        self.norm = nn.BatchNorm2d(16)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x))).mean((2, 3))
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("backbone") / "toy.py"
    file.write_text(BACKBONE)
    return f"{file}:Toy"


def folder(place: Path, side: int, mode: str = "RGB", n: int = 12) -> Path:
    random = np.random.default_rng(0)
    for k, name in enumerate(("cats", "dogs")):
        (place / name).mkdir(parents=True)
        for i in range(n):
            x = random.integers(0, 100, (side, side, 3), dtype=np.uint8)
            x[..., k] += 120
            Image.fromarray(x).convert(mode).save(place / name / f"{i}.png")
    return place


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("photos") / "p", 60)


@pytest.fixture(scope="module")
def trained(photos: Path, toy: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    words = ["train", str(photos), "--method", "fixmatch", "--labels-per-class", "3", "--steps", "30", "--batch", "6"]
    words += ["--unlabelled-batch", "12", "--backbone", toy, "--set", "method.align=true", "--out", str(out)]
    main(words)
    return out


def test_auto_is_for_colour_photographs(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "best_installed", lambda: ("lite0", "why"))
    monkeypatch.setattr(start, "load_backbone", lambda name: type("B", (), {"side": 224})())
    found, said = start.settled(photos, Settings())
    assert (found.backbone, found.size) == ("lite0", 224)
    assert said == "starting from the backbone lite0: why; --backbone none: from scratch"
    small, grey = folder(tmp_path / "small", 40), folder(tmp_path / "grey", 60, "L")
    assert (found.steps, found.batch, found.unlabelled_batch) == (1500, 32, 128)
    assert found.overrides == ("method.align=true",)
    asked = Settings(minutes=2, batch=8, overrides=("method.align=false",))
    kept = start.settled(photos, asked)[0]
    assert (kept.steps, kept.minutes, kept.batch, kept.overrides) == (None, 2, 8, asked.overrides)
    assert start.settled(photos, Settings(method="supervised"))[0].overrides == ()
    for data, settings in (
        (small, Settings()),
        (grey, Settings()),
        ("mnist-5k", Settings()),
        (photos, Settings(net="resnet18")),
        (photos, Settings(strong="fm+ra")),
        (photos, Settings(backbone="none")),
        ({"x": np.zeros((4, 60, 60, 3), np.uint8), "y": np.arange(4) % 2}, Settings()),
    ):
        found, said = start.settled(data, settings)
        assert (found.backbone, found.size, said) == ("none", None, "")
    assert start.settled(small, Settings(backbone="lite0"))[0].size == 96
    assert start.settled(photos, Settings(backbone="lite0", size=64))[0].size == 64
    monkeypatch.setattr(start, "best_installed", lambda: ("none", "none is here"))
    assert start.settled(photos, Settings()) == (Settings(backbone="none"), "training from scratch: none is here")


@pytest.mark.parametrize("setting", ["zca", "per_image"])
def test_pixels_settings_are_refused(setting: str, toy: str) -> None:
    with pytest.raises(UserError, match="brings its own normalisation"):
        start.settled("digits", Settings(backbone=toy, **{setting: True}))  # type: ignore[arg-type]


def test_a_run_on_a_backbone_leaves_a_model_of_pixels(trained: Path, photos: Path, tmp_path: Path) -> None:
    config = json.loads((trained / "config.json").read_text())
    assert config["settings"]["size"] == 48
    assert config["policies"] == ["weak", "strong", "weak"]
    assert config["net"] == "linear"
    model = halfseen.load(trained)
    assert model.facts.shape == (3, 48, 48)
    images = open_data(photos, size=48)
    P = model.probabilities(images.x)
    assert float((P.argmax(1) == images.y).float().mean()) > 0.9
    outputs = np.load(trained / "outputs.npz")
    ids = torch.from_numpy(outputs["unlabelled_ids"])
    np.testing.assert_allclose(P[ids].numpy(), outputs["unlabelled"], atol=5e-3)  # the bank is in half precision
    big = halfseen.load(trained).predict_proba(photos)  # pictures of another size are brought to the model's
    np.testing.assert_allclose(big, P.numpy(), atol=1e-4)
    assert (trained / "report.html").is_file()
    main(["predict", str(trained), str(photos), "--out", str(tmp_path / "said.csv")])
    assert len((tmp_path / "said.csv").read_text().splitlines()) == 25


def test_it_exports_one_graph_from_pixels(trained: Path, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    main(["export", str(trained), str(tmp_path / "m.onnx")])
    x = open_data(photos, size=48).x[:5]
    one, two = halfseen.load(trained).probabilities(x), halfseen.load(tmp_path / "m.onnx").probabilities(x)
    torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


def test_a_run_goes_on_bit_for_bit(photos: Path, toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"method": "dnll", "labels_per_class": 3, "steps": 40, "batch": 6, "unlabelled_batch": 12, "backbone": toy}
    halfseen.train(photos, out=tmp_path / "whole", report=False, quiet=True, **given)

    def press(self: Display, step: int, steps: int, stage: str) -> None:
        if step == 17:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Display, "at", press)
        with pytest.raises(KeyboardInterrupt):
            halfseen.train(photos, out=tmp_path / "cut", report=False, quiet=True, **given)
    halfseen.train(out=tmp_path / "cut", resume=True, quiet=True)
    x = open_data(photos, size=48).x
    one, two = (halfseen.load(tmp_path / name).probabilities(x) for name in ("whole", "cut"))
    assert torch.equal(one, two)


@pytest.mark.parametrize(("name", "said"), {"no/such.py:f": "no/such.py", "nothing": "there is no backbone"}.items())
def test_bad_names(name: str, said: str, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        halfseen.train(photos, out=tmp_path / "x", backbone=name, labels_per_class=3, steps=5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": 12}, r"needs pictures of at least 16x16 pixels, and these have 12x12: give a larger --size"),
        ({"weak_views": 0}, "a bank keeps at least one view of each kind"),
        ({"strong": "fm+ra"}, "no view 'fm' in 'fm\\+ra' of images that a backbone has seen"),
        ({"net": "resnet18"}, "net 'resnet18' is for pictures"),
    ],
)
def test_what_does_not_go_with_a_backbone(
    given: dict[str, object], said: str, photos: Path, toy: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        halfseen.train(photos, out=tmp_path / "x", backbone=toy, labels_per_class=3, steps=5, **given)
    assert not (tmp_path / "x").exists()


def test_a_bank_that_finds_no_room_says_so_before_it_begins(
    photos: Path, toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HALFSEEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: store.shutil._ntuple_diskusage(1 << 30, 1 << 30, 100))
    monkeypatch.setattr(store.Store, "fill", lambda *_: pytest.fail("it began"))
    with pytest.raises(SystemExit):
        main(["train", str(photos), "--backbone", toy, "--labels-per-class", "3", "--out", str(tmp_path / "x")])
    assert "halfseen: The bank of views needs 0 MB in" in capsys.readouterr().err
    images = open_data(photos, size=48)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HALFSEEN_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set HALFSEEN_CACHE to a folder that may be written to"):
        halfseen.train(images, out=tmp_path / "x", backbone=toy, labels_per_class=3, steps=5)


def test_a_run_is_told_beside_its_probes(
    photos: Path, toy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"labels_per_class": 3, "steps": 30, "batch": 6, "unlabelled_batch": 12, "backbone": toy}
    metrics = halfseen.train(photos, out=tmp_path / "r", extra_val_per_class=4, report=False, **given).metrics
    assert set(metrics["probes"]) == {"probe", "graph", "prototype"}
    for scores in metrics["probes"].values():
        assert min(scores["val"], scores["unlabelled"]) > 0.9
    assert "the labels alone, by logistic regression on the same features: " in capsys.readouterr().err
    scratch = halfseen.train("digits", out=tmp_path / "s", labels_per_class=3, steps=5, report=False, quiet=True)
    assert scratch.metrics["probes"] == {}
