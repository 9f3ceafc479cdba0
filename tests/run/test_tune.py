"""Fine-tuning from the command line, from Python and from the estimator: two runs, the second from where the first is."""

import json
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import halfseen
from halfseen.cli import main
from halfseen.data import open_data
from halfseen.errors import UserError
from halfseen.machine.progress import Display
from halfseen.run import session, start
from tests.run.test_start import BACKBONE, folder

LAYERS = """
    def layers(self):
        return [self.first, self.conv, self.norm]
"""
CODE = BACKBONE.replace("self.conv = ", "self.first = nn.Conv2d(3, 3, 1)\n        self.conv = ")
CODE = CODE.replace("self.conv(x)", "self.conv(self.first(x))")
CONV = {"fixmatch": "net.backbone.net.conv.weight", "dnll": "backbone.net.conv.weight"}  # an average holds its network
GIVEN: dict[str, Any] = {"labels_per_class": 3, "batch": 4, "unlabelled_batch": 8, "report": False, "quiet": True}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(start, "STEPS", 20)  # of the head's run
    (tmp_path / "toy.py").write_text(CODE + LAYERS)
    return f"{tmp_path / 'toy.py'}:Toy"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return folder(tmp_path / "photos", 60)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


@pytest.mark.parametrize(("method", "tune"), [("fixmatch", "last"), ("dnll", "all"), ("supervised", "all")])
def test_the_second_run_starts_where_the_first_came_to(
    method: str, tune: str, photos: Path, toy: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = [
        "train",
        str(photos),
        "--method",
        method,
        "--labels-per-class",
        "3",
        "--batch",
        "4",
        "--unlabelled-batch",
        "8",
    ]
    main([*words, "--backbone", toy, "--tune", tune, "--steps", "3", "--out", str(out)])
    head, tuned = (
        json.loads((tmp_path / "out-head/config.json").read_text()),
        json.loads((out / "config.json").read_text()),
    )
    assert (head["steps"], head["batch"], tuned["steps"], tuned["batch"]) == (20, [32, 128], 3, [4, 8])
    assert tuned["policies"][:2] == ["photo", "photo+photo-ra"]
    ours, before = weights(out), weights(tmp_path / "out-head")
    place = "net." if method != "dnll" else ""
    for name, moves in (("conv.weight", True), ("first.weight", tune == "all"), ("norm.weight", False)):
        same = torch.equal(ours[f"{place}backbone.net.{name}"], before[f"backbone.net.{name}"])
        assert same != moves, name
    images = open_data(photos, size=48)
    model = halfseen.load(out)
    P = model.probabilities(images.x)
    assert float((P.argmax(1) == images.y).float().mean()) > 0.9
    outputs = np.load(out / "outputs.npz")
    np.testing.assert_allclose(P[outputs["unlabelled_ids"]].numpy(), outputs["unlabelled"], atol=5e-3)
    (tmp_path / "toy.py").unlink()
    torch.testing.assert_close(halfseen.load(out).probabilities(images.x), P)


@pytest.mark.parametrize("method", ["fixmatch", "dnll"])
def test_where_nothing_moves_it_says_what_the_head_says(
    method: str, photos: Path, toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CLIP", 1e-9)
    halfseen.train(photos, out=tmp_path / "out", method=method, backbone=toy, tune="all", steps=2, **GIVEN)
    x = open_data(photos, size=48).x
    head, tuned = (halfseen.load(tmp_path / name).probabilities(x) for name in ("out-head", "out"))
    torch.testing.assert_close(tuned, head, atol=0.02, rtol=0)
    ours, before = weights(tmp_path / "out"), weights(tmp_path / "out-head")
    assert not torch.equal(ours[CONV[method]], before["backbone.net.conv.weight"])


def test_it_goes_on_bit_for_bit(photos: Path, toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = GIVEN | {"method": "dnll", "backbone": toy, "tune": "all", "steps": 8}
    halfseen.train(photos, out=tmp_path / "whole", **given)

    def press(self: Display, step: int, steps: int, stage: str) -> None:
        if step == 3 and steps == 8:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Display, "at", press)
        with pytest.raises(KeyboardInterrupt):
            halfseen.train(photos, out=tmp_path / "cut", **given)
    halfseen.train(out=tmp_path / "cut", resume=True, quiet=True)
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_a_head_that_was_stopped_goes_on_and_a_finished_one_is_taken(
    photos: Path, toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = GIVEN | {"method": "supervised", "backbone": toy, "tune": "last", "steps": 2}

    def press(self: Display, step: int, steps: int, stage: str) -> None:
        if step == 10 and steps == 20:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Display, "at", press)
        with pytest.raises(KeyboardInterrupt):
            halfseen.train(photos, out=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()
    halfseen.train(photos, out=tmp_path / "out", **given)  # the same command again
    made = (tmp_path / "out-head" / "metrics.json").stat().st_mtime_ns
    os.rename(tmp_path / "out", tmp_path / "other")
    halfseen.train(photos, out=tmp_path / "out", **given)
    assert (tmp_path / "out-head" / "metrics.json").stat().st_mtime_ns == made
    os.rename(tmp_path / "out", tmp_path / "third")
    with pytest.raises(UserError, match=r"the head in .*out-head was trained with --seed 0, and now it is 1"):
        halfseen.train(photos, out=tmp_path / "out", **given, seed=1)


def test_the_estimator_tunes_too(toy: str) -> None:
    random = np.random.default_rng(0)
    truth = np.arange(24) % 2
    X = random.integers(0, 100, (24, 48, 48, 3), dtype=np.uint8)
    X[np.arange(24), ..., truth] += 120
    y = np.where(np.arange(24) < 6, truth, -1)
    model = halfseen.SemiSupervisedClassifier(
        backbone=toy, tune="last", steps=2, batch=4, unlabelled_batch=8, val=None, random_state=0
    ).fit(X, y)
    assert model.score(X, truth) > 0.9
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"backbone": "none", "tune": "last"}, "--tune last needs a backbone"),
        ({"method": "probe", "tune": "all"}, "--tune all needs a method that trains on batches"),
        ({"tune": "all", "slim": True}, "--slim names a backbone, and --tune all makes another one of it"),
        ({"tune": "most"}, "tune cannot be 'most'"),
    ],
)
def test_what_is_refused(given: dict[str, Any], said: str, photos: Path, toy: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        halfseen.train(photos, out=tmp_path / "x", **{**GIVEN, "backbone": toy, "steps": 2, **given})
