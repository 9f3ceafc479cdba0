"""Metrics against torchmetrics, scikit-learn and examples worked out by hand."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from halfseen.training import metrics


def sample(n=400, K=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, K, generator=g) * 2
    return logits, logits.softmax(1), torch.randint(K, (n,), generator=g)


def test_against_torchmetrics():
    import torchmetrics.functional.classification as tm

    _, P, y = sample()
    assert metrics.accuracy(P, y) == pytest.approx(tm.multiclass_accuracy(P, y, 5, average="micro").item())
    assert metrics.macro_f1(P, y) == pytest.approx(tm.multiclass_f1_score(P, y, 5, average="macro").item())
    torch.testing.assert_close(metrics.per_class(P, y).float(), tm.multiclass_accuracy(P, y, 5, average="none"))
    assert torch.equal(metrics.confusion(P, y), tm.multiclass_confusion_matrix(P, y, 5))
    for bins in (15, 10, 4):
        theirs = tm.multiclass_calibration_error(P, y, 5, n_bins=bins, norm="l1").item()
        assert metrics.ece(P, y, bins) == pytest.approx(theirs, abs=1e-6)


def test_calibration_is_counted_in_float64():
    """Shares of bins in float32 would be off by up to 6e-8."""
    _, P, y = sample(n=997)
    P, r = P.double(), metrics.reliability_bins(P.double(), y)
    gaps = [
        n / 997 * abs(a - c)
        for n, a, c in zip(r.count.tolist(), r.accuracy.tolist(), r.confidence.tolist(), strict=True)
        if n
    ]
    assert metrics.ece(P, y) == pytest.approx(sum(gaps), rel=1e-13)


def test_against_scikit_learn():
    import sklearn.metrics as sk

    logits, P, y = sample()
    predicted = P.argmax(1)
    assert metrics.accuracy(P, y) == pytest.approx(sk.accuracy_score(y, predicted))
    assert metrics.macro_f1(P, y) == pytest.approx(sk.f1_score(y, predicted, average="macro"))
    assert metrics.confusion(P, y).tolist() == sk.confusion_matrix(y, predicted).tolist()
    assert metrics.per_class(P, y).tolist() == pytest.approx(list(sk.recall_score(y, predicted, average=None)))
    wide = logits.double().softmax(1)
    assert metrics.nll(logits, y) == pytest.approx(sk.log_loss(y, wide))
    _, two, y2 = sample(K=2)
    # scikit-learn scores the second class alone, which is half of the sum over both
    assert metrics.brier(two, y2) == pytest.approx(2 * sk.brier_score_loss(y2, two[:, 1].double()), rel=1e-6)


def test_by_hand():
    P = torch.tensor([[0.78, 0.22, 0.0], [0.55, 0.45, 0.0], [0.1, 0.9, 0.0], [0.3, 0.7, 0.0]])
    y = torch.tensor([0, 1, 1, 1])
    assert metrics.accuracy(P, y) == 0.75
    assert metrics.confusion(P, y).tolist() == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]
    recall = metrics.per_class(P, y).tolist()
    assert recall[:2] == pytest.approx([1, 2 / 3])
    assert math.isnan(recall[2])  # a class without images
    assert metrics.macro_f1(P, y) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert metrics.brier(P, y) == pytest.approx((2 * 0.22**2 + 2 * 0.55**2 + 2 * 0.1**2 + 2 * 0.3**2) / 4)
    nll = -math.log(0.78 * 0.45 * 0.9 * 0.7) / 4
    assert metrics.nll(P.clamp_min(1e-30).log(), y) == pytest.approx(nll)
    # five bins: .55 | .7, .78 | .9, in (.4,.6] (.6,.8] (.8,1]: right 0 of 1, 2 of 2, 1 of 1
    assert metrics.ece(P, y, bins=5) == pytest.approx((0.55 + 2 * 0.26 + 0.1) / 4)


def test_bins_are_open_below_and_closed_above():
    P = torch.tensor([[0.75, 0.25], [0.5, 0.5], [1.0, 0.0]], dtype=torch.float64)
    r = metrics.reliability_bins(P, torch.tensor([0, 0, 1]), bins=4)
    assert r.count.tolist() == [0, 1, 1, 1]
    assert r.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert r.confidence[1:].tolist() == [0.5, 0.75, 1]
    assert r.accuracy[1:].tolist() == [1, 1, 0]
    assert math.isnan(r.confidence[0])


def test_a_perfectly_calibrated_sure_and_right_classifier():
    y = torch.tensor([0, 1, 2])
    P = F.one_hot(y, 3).float()
    assert (metrics.ece(P, y), metrics.brier(P, y), metrics.macro_f1(P, y)) == (0, 0, 1)
    assert metrics.ece(P, (y + 1) % 3) == 1
    assert metrics.brier(P, (y + 1) % 3) == 2
    assert metrics.nll(P * 1000, (y + 1) % 3) == pytest.approx(1000)


def test_bootstrap_interval_equals_resampling_and_the_normal_approximation():
    g = torch.Generator().manual_seed(0)
    correct = torch.rand(500, generator=g) < 0.9
    low, high = metrics.bootstrap_interval(correct, draws=20000)
    resampled = correct[torch.randint(500, (20000, 500), generator=g)].double().mean(1)
    theirs = torch.quantile(resampled, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    assert [low, high] == pytest.approx(theirs, abs=0.003)
    p = correct.double().mean().item()
    assert (high - low) / 2 == pytest.approx(1.96 * math.sqrt(p * (1 - p) / 500), rel=0.05)
    assert metrics.bootstrap_interval(correct, seed=3) == metrics.bootstrap_interval(correct, seed=3)
    assert metrics.bootstrap_interval(torch.ones(10, dtype=torch.bool)) == (1, 1)


def test_summary_is_json_and_agrees_with_its_parts():
    logits, P, y = sample(K=4)
    y = y.clamp_max(2)  # no image of class 3
    s = metrics.summary(logits, y, 4)
    assert json.loads(json.dumps(s, allow_nan=False)) == s
    assert s["n"] == 400
    assert s["accuracy"] == metrics.accuracy(P, y)
    assert s["interval"][0] < s["accuracy"] < s["interval"][1]
    assert s["per_class"][3] is None
    assert sum(map(sum, s["confusion"])) == sum(s["reliability"]["count"]) == 400
    assert s["ece"] == pytest.approx(metrics.ece(P, y), abs=1e-6)
    assert s["nll"] == metrics.nll(logits, y)


def test_summary_refuses_what_it_cannot_score():
    logits, _, y = sample(K=4)
    with pytest.raises(ValueError, match="4 classes for data with 5"):
        metrics.summary(logits, y, 5)
    with pytest.raises(ValueError, match="no images"):
        metrics.summary(logits[:0], y[:0], 4)
