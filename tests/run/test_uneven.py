"""Labels of which some classes have few: how often they are shown, what is predicted, what is said."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import halfseen
from halfseen.data import open_data
from halfseen.data.batches import equally
from halfseen.data.split import Split
from halfseen.errors import UserError
from halfseen.method import Plan
from halfseen.model.facts import Facts, shift
from halfseen.probes import PROBES
from halfseen.probes.probe import solved
from halfseen.run.beginning import labels_told
from halfseen.training.judge import adjusted
from halfseen.training.loader import Loader
from halfseen.training.metrics import balanced_accuracy, summary

SHORT = {"val": "none", "steps": 30, "report": False, "quiet": True}


def tail() -> dict[str, np.ndarray]:
    """Vectors of three classes that overlap, with 30, 6 and 3 labels among 150, and 60 test rows of each."""
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 50)
    x = (random.normal(size=(150, 4)) + 1.2 * np.eye(3, 4)[y]).astype(np.float32)
    given = np.where(np.arange(150) % 50 < np.array([30, 6, 3])[y], y, -1)
    test_y = np.repeat(np.arange(3), 60)
    test_x = (random.normal(size=(180, 4)) + 1.2 * np.eye(3, 4)[test_y]).astype(np.float32)
    return {"x": x, "y": given, "test_x": test_x, "test_y": test_y}


# ---- how often they are shown ------------------------------------------------------------------------------------------


def test_every_class_is_repeated_until_it_has_as_many_as_the_largest() -> None:
    ids, y = torch.tensor([7, 8, 9, 3, 4, 1]), torch.tensor([0, 0, 0, 2, 2, 1])
    found = equally(ids, y)
    assert sorted(found.tolist()) == [1, 1, 1, 3, 3, 4, 7, 8, 9]  # 3 of each; of two labels the first twice
    even = torch.tensor([0, 1, 0, 1])
    assert equally(torch.arange(4), even).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("epoch", "counts"), [("labeled_pass", [40, 40, 40]), ("mixed_pass", [40, 40, 40]), ("selected_pass", [40, 4, 1])]
)
def test_a_lap_shows_every_class_equally_often(epoch: str, counts: list[int]) -> None:
    y = torch.arange(150) % 3
    images = open_data({"x": np.zeros((150, 2), np.float32), "y": y.numpy()})
    labelled = torch.cat([(y == k).nonzero().flatten()[:n] for k, n in enumerate((40, 4, 1))])
    others = torch.arange(150)[~torch.isin(torch.arange(150), labelled)]  # 105
    loader = Loader(images, Split(labelled, others, labelled[:0]), torch.device("cpu"), 0, 1, balanced=True)
    batch, laps = {"labeled_pass": ((5, 3), 24), "mixed_pass": ((9, 0), 25), "selected_pass": ((6, 0), 25)}[epoch]
    streams = loader.streams(Plan(25, len(labelled), len(others), batch), epoch, 0, None)
    seen = torch.cat([torch.cat(streams.at(step)) for step in range(laps)])
    shown = seen[torch.isin(seen, labelled)]
    assert torch.bincount(y[shown], minlength=3).tolist() == counts


def test_the_weighted_probe_is_scikit_learns() -> None:
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    y = np.repeat(np.arange(3), (12, 5, 3))
    x = random.normal(size=(20, 4)) + np.eye(3, 4)[y]
    W, b = solved(x[:, None], y, 1.0, 1e-8, balanced=True)
    theirs = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-8, max_iter=5000).fit(x, y)
    np.testing.assert_allclose(x @ W + b, theirs.decision_function(x), atol=1e-4)


# ---- what is predicted -------------------------------------------------------------------------------------------------


def test_what_is_subtracted_is_tau_times_the_log_of_the_share() -> None:
    y = torch.tensor([0, 0, 0, 1])
    assert shift(y, 2, 1.0) == pytest.approx((math.log(0.75), math.log(0.25)))
    assert shift(y, 2, 0.5) == pytest.approx((math.log(0.75) / 2, math.log(0.25) / 2))
    assert shift(y, 2, 0.0) == ()
    assert shift(y, 3, 1.0)[2] == pytest.approx(math.log(0.125))  # a fold without a label of it: half a label
    p = torch.tensor([[0.6, 0.4]])
    q = p / torch.tensor([0.75, 0.25])
    torch.testing.assert_close(adjusted(p.log(), shift(y, 2, 1.0)).softmax(1), q / q.sum())
    assert adjusted(p, ()) is p


@pytest.mark.parametrize("method", ["fixmatch", "probe"])
def test_every_front_door_predicts_the_adjusted(method: str, tmp_path: Path) -> None:
    """What a run scores, its model predicts and its ONNX graph gives is the plain run's over the shares."""
    given = {**SHORT} if method == "fixmatch" else {k: v for k, v in SHORT.items() if k != "steps"}
    data = tail()
    plain = halfseen.train(data, out=tmp_path / "plain", method=method, **given)
    other = halfseen.train(data, out=tmp_path / "other", method=method, logit_adjust=1.0, **given)
    model, x = halfseen.load(other.folder), data["test_x"]
    p = halfseen.load(plain.folder).predict_proba(x) / (np.array([30, 6, 3]) / 39)
    p /= p.sum(1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(x), p, atol=1e-5)
    assert (
        np.bincount(p.argmax(1), minlength=3).tolist()
        != np.bincount(halfseen.load(plain.folder).predict_proba(x).argmax(1), minlength=3).tolist()
    )
    right = float((p.argmax(1) == data["test_y"]).mean())
    assert other.metrics["headline"]["test"]["accuracy"] == pytest.approx(right)
    hidden = np.load(other.folder / "outputs.npz")
    rows = data["x"][hidden["unlabelled_ids"]]
    np.testing.assert_allclose(model.predict_proba(rows), hidden["unlabelled"], atol=2e-3)
    if halfseen_onnx():
        from halfseen.cli import main

        main(["export", str(other.folder), str(tmp_path / "m.onnx")])
        graph = halfseen.load(tmp_path / "m.onnx")
        assert graph.facts.adjust == ()  # once is enough
        np.testing.assert_allclose(graph.predict_proba(x), p, atol=1e-4)


def halfseen_onnx() -> bool:
    from importlib.util import find_spec

    return all(map(find_spec, ("onnx", "onnxscript", "onnxruntime")))


def test_balance_finds_rare_classes_that_a_plain_run_misses(tmp_path: Path) -> None:
    found = {
        name: halfseen.train(tail(), out=tmp_path / name, method=method, **given, **SHORT).metrics["headline"]["test"]
        for name, method, given in (
            ("plain", "supervised", {}),
            ("weighted", "supervised", {"class_weight": "balanced"}),
            ("adjusted", "supervised", {"logit_adjust": 1.0}),
        )
    }
    plain = found.pop("plain")
    for scores in found.values():
        assert scores["per_class"][2] > plain["per_class"][2]
        assert scores["balanced_accuracy"] > plain["balanced_accuracy"]


@pytest.mark.parametrize("name", ["probe", "graph"])
def test_a_probe_can_be_balanced(name: str, tmp_path: Path) -> None:
    given = {k: v for k, v in SHORT.items() if k != "steps"}
    plain = halfseen.train(tail(), out=tmp_path / "a", method=name, **given).metrics["headline"]["test"]
    other = halfseen.train(tail(), out=tmp_path / "b", method=name, class_weight="balanced", **given)
    assert other.metrics["headline"]["test"]["balanced_accuracy"] > plain["balanced_accuracy"]
    assert PROBES[name].config().balanced is False


def test_the_nearest_means_have_nothing_to_weigh(tmp_path: Path) -> None:
    given = {k: v for k, v in SHORT.items() if k != "steps"}
    with pytest.raises(UserError, match="prototype counts every class once already: leave --class-weight out"):
        halfseen.train(tail(), out=tmp_path / "a", method="prototype", class_weight="balanced", **given)


@pytest.mark.parametrize("tau", [-1.0, float("inf"), float("nan")])
def test_a_tau_that_is_none(tau: float, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="logit-adjust must be 0 or more and finite"):
        halfseen.train(tail(), out=tmp_path / "a", logit_adjust=tau, **SHORT)


def test_facts_with_too_few_numbers_are_damaged() -> None:
    facts = Facts(("a", "b"), (3,), (0.0,) * 3, (1.0,) * 3, False, 9, 4, 5, adjust=(0.1,))
    with pytest.raises(UserError, match=r"facts\.adjust has 1 numbers for 2 classes"):
        Facts.from_json(facts.as_json())


# ---- what is said ------------------------------------------------------------------------------------------------------


def test_balanced_accuracy_counts_every_class_once() -> None:
    P = torch.eye(2)[[0, 0, 0, 0]]
    y = torch.tensor([0, 0, 0, 1])
    assert balanced_accuracy(P, y) == 0.5
    assert balanced_accuracy(torch.eye(3)[[0, 0, 1]], torch.tensor([0, 0, 1])) == 1.0  # the third has no image
    assert summary(P, y, 2)["balanced_accuracy"] == 0.5


def told(*counts: int, names: str = "abcdefghijklmnop") -> list[str]:
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels_told(y, names[: len(counts)])


def test_the_labels_of_each_class_are_counted() -> None:
    assert told(5, 5) == ["5 labels of each class"]
    assert told(5, 9, 7) == ["labels: a 5, b 9, c 7"]
    assert told(*range(5, 18)) == ["labels: from 5 (a) to 17 (m) of a class"]


def test_few_labels_and_a_long_tail_are_warned_of() -> None:
    assert told(1, 1)[1] == "fewer than 5 labels of every class: the result hangs on which pictures they are"
    assert told(8, 4)[1].startswith("fewer than 5 labels of b: ")
    assert told(4, 9, 3, 2, 1)[1].startswith("fewer than 5 labels of e, d, c, ...: ")
    assert len(told(49, 5)) == 1
    assert told(50, 5)[1] == (
        "a has 50 labels and b 5: --class-weight balanced shows every class equally often, --logit-adjust 1 predicts as if "
        "all were equally frequent"
    )


def test_a_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    halfseen.train(tail(), out=tmp_path / "a", method="probe", val="none", report=False)
    said = capsys.readouterr().err
    assert "labels: 0 30, 1 6, 2 3" in said
    assert "fewer than 5 labels of 2" in said
