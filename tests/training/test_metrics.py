"""Metrics against torchmetrics, scikit-learn and examples worked out by hand."""

import json
import math

import numpy as np
import pytest
import scipy.stats
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


@pytest.mark.parametrize(("right", "n"), [(0, 12), (1, 12), (7, 12), (40, 40), (39, 40), (450, 500), (9712, 10000)])
def test_the_interval_is_clopper_and_pearson_s(right: int, n: int):
    theirs = scipy.stats.binomtest(right, n).proportion_ci(0.95, method="exact")
    assert metrics.exact_interval(right, n) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_all_right_is_no_certainty():
    low, high = metrics.exact_interval(40, 40)
    assert (round(low, 3), high) == (0.912, 1.0)  # 0.025 ** (1 / 40)
    assert all(math.isnan(end) for end in metrics.exact_interval(0, 0))


def test_a_temperature_gives_the_likelihood_its_best():
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(400, 5, generator=g, dtype=torch.float64)
    y = torch.multinomial(logits.softmax(1), 1, generator=g)[:, 0]
    T = metrics.temperature(3 * logits, y)  # three times as sure as it should be
    assert pytest.approx(3, rel=0.15) == T
    assert metrics.nll(3 * logits / T, y) <= min(metrics.nll(3 * logits / t, y) for t in (0.99 * T, 1.01 * T))


def test_paired_differences():
    d, low, high = metrics.paired_interval(30, 10, 1000)
    assert d == pytest.approx(0.02)
    differences = np.concatenate([np.ones(30), -np.ones(10), np.zeros(960)])
    assert (high - low) / 2 == pytest.approx(1.96 * differences.std() / 1000**0.5, rel=0.03)
    assert metrics.paired_interval(0, 0, 20)[1] < 0 < metrics.paired_interval(0, 0, 20)[2]


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
