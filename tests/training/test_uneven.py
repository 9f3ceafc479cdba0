"""Class weights as how often an image is drawn, and logits less the logarithm of the labels' shares: for every method."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import halfseen
from halfseen import methods
from halfseen.data import Split, open_data
from halfseen.data.batches import Stream, picked
from halfseen.errors import UserError
from halfseen.method import Plan
from halfseen.probes.probe import solved
from halfseen.settings import Settings
from halfseen.training import metrics
from halfseen.training.judge import Judge
from halfseen.training.loader import Loader
from halfseen.training.uneven import shift, shift_of, shifted, times

Y = torch.tensor([0] * 20 + [1] * 8 + [2] * 3 + [3])  # 32 labels


def test_an_image_counts_as_the_inverse_of_its_class() -> None:
    e = times(Y, "balanced")
    assert e.tolist() == pytest.approx([32 / (4 * n) for n in (20, 8, 3, 1) for _ in range(n)])
    assert times(Y, "none") is None
    torch.testing.assert_close(times(torch.tensor([0, 0, 2]), "balanced").float(), torch.tensor([0.75, 0.75, 1.5]))


def test_every_lap_has_as_many_rows_of_each_class() -> None:
    stream = Stream(torch.arange(32), 8, 0, whole_laps=True, times=times(Y, "balanced"))
    for lap in range(5):
        seen = torch.cat([stream.at(4 * lap + i) for i in range(4)])
        assert torch.bincount(Y[seen]).tolist() == [8, 8, 8, 8]
        copies = torch.bincount(seen, minlength=32).double()
        assert (copies - times(Y, "balanced")).abs().max() < 1  # rounded up or down


def test_the_mean_loss_of_what_is_drawn_is_the_weighted_loss() -> None:
    """Over many laps, of any loss of a row: here its own number squared."""
    e, loss = times(Y, "balanced"), torch.arange(32.0, dtype=torch.float64) ** 2
    drawn = torch.stack([loss[picked(e, 7, lap)].mean() for lap in range(400)])
    wanted = (e * loss).mean()
    assert abs(drawn.mean() - wanted) < 4 * drawn.std() / 20
    assert abs(loss.mean() - wanted) > 20 * drawn.std() / 20  # without weights it would be another number


EPOCHS = sorted({str(methods.load(name).method.epoch) for name in methods.names()} | {"selected_pass"})


@pytest.mark.parametrize("epoch", EPOCHS)
def test_whatever_an_epoch_is_the_classes_are_drawn_alike(epoch: str) -> None:
    """So it is for every method: how its rows come is all that it says of them."""
    images = open_data("blobs", progress=False)
    ids = torch.cat([(images.y == k).nonzero()[:n, 0] for k, n in enumerate((30, 6, 3, 1))]).sort().values
    rest = torch.tensor([i for i in range(len(images.y)) if i not in set(ids.tolist())])[:120]
    data = Loader(images, Split(ids, rest, ids[:0]), torch.device("cpu"), 0, 1, "balanced")
    plan = Plan(100, 40, 120, (8, 24))
    streams = data.streams(plan, int(epoch) if epoch.isdigit() else epoch, 0, None)
    rows = [streams.at(step) for step in range(20 if epoch != "selected_pass" else 25)]
    seen = torch.cat([torch.cat([x, u[torch.isin(u, ids)]]) for x, u in rows])
    count = torch.bincount(images.y[seen], minlength=4)
    assert len(seen) >= 150
    assert count.max() - count.min() <= 6
    others = torch.cat([u[~torch.isin(u, ids)] for _, u in rows])
    assert torch.bincount(others).max() - torch.bincount(others)[rest].min() <= 1 + (len(others) % 120 != 0)


def test_logits_lose_the_logarithm_of_the_share() -> None:
    by = shift_of(Y, 5, 2.0)  # a class without a label counts as one with one
    assert by == pytest.approx([-2 * np.log(n / 32) for n in (20, 8, 3, 1, 1)])
    assert shift_of(Y, 5, 0.0) == ()
    net = nn.Linear(3, 5)
    x = torch.randn(7, 3)
    plain = net(x)
    with shifted(net, by):
        torch.testing.assert_close(net(x), plain + torch.tensor(by))
        # the posterior p pi^-tau / sum
        p = plain.softmax(1) * torch.tensor([20, 8, 3, 1, 1]).div(32) ** -2.0
        torch.testing.assert_close(net(x).softmax(1), p / p.sum(1, keepdim=True))
    torch.testing.assert_close(net(x), plain)
    assert shift(net, by)(x).sub(plain).mean(0).tolist() == pytest.approx(by, abs=1e-5)


def test_the_judge_scores_what_is_moved() -> None:
    net = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.eye(2))
    x, y = torch.tensor([[1.0, 0.5], [1.0, 0.0]]), torch.tensor([1, 0])

    class Only:
        norm = "copied"

        def predictors(self) -> dict[str, nn.Module]:
            return {"net": net}

    for by, right in (((), 0.5), ((0.0, 0.7), 1.0)):
        judge = Judge({"test": (x, y)}, lambda v: v, torch.device("cpu"), shift=by)
        assert judge.at_end(Only(), 2)["net"]["test"]["accuracy"] == right


def test_balanced_accuracy_counts_classes_and_not_images() -> None:
    y = torch.tensor([0] * 8 + [1] * 2)
    P = torch.eye(3)[torch.tensor([0] * 8 + [0, 1])]
    assert metrics.accuracy(P, y) == 0.9
    assert metrics.balanced_accuracy(P, y) == 0.75  # the third class does not occur
    assert metrics.summary(P, y, 3)["balanced_accuracy"] == 0.75


def uneven(draw: int = 0) -> dict[str, np.ndarray]:
    """Three classes of vectors, 40, 10 and 2 of them labelled; test images of all alike but for one."""
    random = np.random.default_rng(draw)
    y = np.repeat([0, 1, 2], [140, 60, 30])
    x = (random.normal(size=(230, 4)) + 1.6 * np.eye(3, 4)[y]).astype(np.float32)
    shown = np.where(np.isin(np.arange(230), [*range(40), *range(140, 150), 200, 201]), y, -1)
    t = np.arange(100) % 3
    test = (random.normal(size=(100, 4)) + 1.6 * np.eye(3, 4)[t]).astype(np.float32)
    return {"x": x, "y": shown, "x_test": test, "y_test": t}


QUICK = {"steps": 30, "batch": 12, "unlabelled_batch": 12, "threads": 1, "report": False, "quiet": True, "val": "none"}


@pytest.mark.parametrize("method", ["fixmatch", "probe", "graph", "prototype"])
def test_adjustment_is_in_the_scores_and_in_the_saved_model_and_not_in_training(method: str, tmp_path: Path) -> None:
    data = uneven()
    plain = halfseen.train(data, out=tmp_path / "plain", method=method, **QUICK)
    moved = halfseen.train(data, out=tmp_path / "moved", method=method, logit_adjust=1.0, **QUICK)
    one, two = (halfseen.load(r.folder).predict_proba(data["x_test"]) for r in (plain, moved))
    wanted = one * (52 / np.array([40, 10, 2]))
    np.testing.assert_allclose(two, wanted / wanted.sum(1, keepdims=True), atol=1e-5)
    assert moved.metrics["headline"]["test"]["accuracy"] == pytest.approx((two.argmax(1) == data["y_test"]).mean())
    outputs = np.load(moved.folder / "outputs.npz")
    np.testing.assert_allclose(outputs["test"], two, atol=1e-5)
    pool = halfseen.load(moved.folder).predict_proba(data["x"])[outputs["unlabelled_ids"]]
    close = 5e-2 if method == "graph" else 2e-3  # its nodes are kept in half precision, and a rare class is multiplied
    np.testing.assert_allclose(outputs["unlabelled"], pool, atol=close)
    recalls = [r.metrics["headline"]["test"]["per_class"] for r in (plain, moved)]
    assert recalls[1][2] > recalls[0][2]


def test_the_adjusted_model_is_the_exported_one(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="pip install halfseen[onnx]")
    halfseen.train(uneven(), out=tmp_path / "r", method="probe", logit_adjust=1.0, **QUICK)
    from halfseen.cli import main

    main(["export", str(tmp_path / "r"), str(tmp_path / "m.onnx")])
    x = torch.from_numpy(uneven()["x_test"])
    one, two = (halfseen.load(tmp_path / name).probabilities(x) for name in ("r", "m.onnx"))
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("views", [1, 3])
def test_the_weighted_probe_is_scikit_learns(views: int) -> None:
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(3), (12, 5, 3))
    x = random.normal(size=(20, views, 4)) + np.eye(3, 4)[y][:, None]
    W, b = solved(x, y, 1.0, 1e-8, times(torch.from_numpy(y), "balanced").numpy())
    rows, weights = x.reshape(-1, 4), np.full(20 * views, 1 / views)
    theirs = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-8, max_iter=5000)
    theirs.fit(rows, np.repeat(y, views), weights * 1.0)
    np.testing.assert_allclose(rows @ W + b, theirs.decision_function(rows), atol=1e-4)


@pytest.mark.parametrize("method", ["mean_teacher", "probe", "graph"])
def test_balanced_finds_more_of_the_rare_class(method: str, tmp_path: Path) -> None:
    found = [
        halfseen.train(
            uneven(), out=tmp_path / weight, method=method, class_weight=weight, **{**QUICK, "steps": 150}
        ).metrics["headline"]["test"]
        for weight in ("none", "balanced")
    ]
    assert found[1]["per_class"][2] > found[0]["per_class"][2]
    assert found[1]["balanced_accuracy"] > found[0]["balanced_accuracy"]


def test_what_cannot_be_weighed_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="take the probe"):
        halfseen.train(uneven(), out=tmp_path / "r", method="prototype", class_weight="balanced", **QUICK)
    for tau in (-1.0, float("inf"), float("nan")):
        with pytest.raises(UserError, match="--logit-adjust must be 0"):
            Settings(logit_adjust=tau)
    with pytest.raises(UserError, match="class_weight cannot be 'even'"):
        halfseen.train(uneven(), out=tmp_path / "r", class_weight="even", **QUICK)


def test_a_model_with_a_shift_of_another_length_is_damaged() -> None:
    from halfseen.model.facts import Facts

    facts = Facts(("a", "b"), (2,), (0.0, 0.0), (1.0, 1.0), False, 4, 2, 2)
    assert Facts.from_json(replace(facts, shift=(0.0, 1.0)).as_json()).shift == (0.0, 1.0)
    with pytest.raises(UserError, match="3 numbers for 2 classes"):
        Facts.from_json(replace(facts, shift=(0.0, 1.0, 2.0)).as_json())
