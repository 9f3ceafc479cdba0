"""Domain adaptation: which images show labels, which are scored, and the sizes in between."""

import json

import numpy as np
import pytest
import torch

import halfseen
from halfseen.commands.evaluate import evaluate
from halfseen.commands.export import sample
from halfseen.data import open_data
from halfseen.errors import UserError


@pytest.fixture
def sets(tmp_path):
    g = np.random.default_rng(0)
    for name, n, side, classes in (("a", 20, 8, 3), ("b", 30, 12, 3), ("c", 20, 8, 4)):
        x = g.integers(0, 256, (n, side, side), dtype=np.uint8)
        y = np.arange(n) % classes
        np.savez(tmp_path / f"{name}.npz", x=x, y=y, x_test=x[:6], y_test=y[:6])
    return tmp_path


def test_labels_come_from_the_source_and_the_task_from_the_target(sets) -> None:
    pair = open_data(f"{sets / 'a.npz'}->{sets / 'b.npz'}")
    assert pair.shape == (1, 12, 12)
    assert pair.given.tolist() == [True] * 20 + [False] * 30
    assert len(pair.test_x) == 6
    target = open_data(str(sets / "b.npz"))
    assert torch.equal(pair.x[20:], target.x)
    assert torch.equal(pair.test_x, target.test_x)
    assert torch.equal(pair.x[:20], open_data(str(sets / "a.npz"), size=12).x)
    assert torch.equal(pair.y[:20], open_data(str(sets / "a.npz")).y)
    assert pair.mean.tolist() == pair.std.tolist() == [0.5]


def test_size_and_channels_hold_for_both(sets) -> None:
    pair = open_data(f"{sets / 'a.npz'}->{sets / 'b.npz'}", size=16, channels=3)
    assert pair.shape == (3, 16, 16)
    assert torch.equal(pair.x[:, 0], pair.x[:, 2])


def test_a_class_that_the_target_lacks_is_a_sentence(sets) -> None:
    with pytest.raises(UserError, match="has the class '3'"):
        open_data(f"{sets / 'c.npz'}->{sets / 'b.npz'}")


def test_a_run_on_a_pair_is_scored_and_exported_on_its_own_data(sets, monkeypatch, capsys) -> None:
    monkeypatch.chdir(sets)
    quick = {"steps": 2, "batch": 4, "unlabelled_batch": 4, "threads": 1, "report": False, "quiet": True}
    result = halfseen.train("a.npz->b.npz", out="run", channels=3, method="supervised", **quick)
    for more in ({}, {"data": "a.npz -> b.npz"}):
        evaluate(result.folder, more.get("data"), None, "cpu", True)
        found = json.loads(capsys.readouterr().out)
        assert (found["part"], found["n"]) == ("test", 6)
        assert found["confusion"] == result.metrics["headline"]["test"]["confusion"]
    x, which = sample(halfseen.load(result.folder), result.folder, None)
    assert which == "test images of a.npz->b.npz"
    assert torch.equal(x, open_data("b.npz", channels=3).test_x)
