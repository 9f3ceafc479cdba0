"""Logistic regression: scikit-learn's numbers, what folds choose, and what a class without labels is given."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from halfseen.probes import probe
from halfseen.probes.probe import Config
from halfseen.probes.rows import folds, scale_of
from tests.probes.blobs import accuracy, blobs


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("each", [2, 30])  # fewer rows than features, and more
def test_equal_to_scikit_learn(each: int, classes: int) -> None:
    b = blobs(each=each, classes=classes)
    scale = scale_of(b.pool, "unit")
    theirs = LogisticRegression(C=3, tol=1e-8, max_iter=5000).fit(scale(b.labelled[:, 0]), b.y)
    ours = probe.fit(b.labelled, b.y, b.pool, Config(C=3, views=False))
    assert np.allclose(ours.predict_proba(b.pool), theirs.predict_proba(scale(b.pool)), atol=1e-3)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_solution_is_scikit_learns(classes: int, balanced: bool) -> None:
    """Between classes that overlap, of different sizes."""
    random = np.random.default_rng(0)
    y = np.array([c for c in range(classes) for _ in range(12 + 9 * c)])
    x = (random.normal(size=(classes, 6))[y] + 2 * random.normal(size=(len(y), 6))).astype(np.float32)
    weight = "balanced" if balanced else None
    theirs = LogisticRegression(C=10, tol=1e-8, max_iter=5000, class_weight=weight).fit(x.astype(float), y)
    W, b = probe.solved(x[:, None], y, 10, 1e-8, balanced)
    assert np.allclose(probe.softmax(x @ W + b), theirs.predict_proba(x), atol=1e-6)


@pytest.mark.parametrize("scores", [1, 3])
def test_the_gradient_is_that_of_the_objective(scores: int) -> None:
    random = np.random.default_rng(0)
    x, share = random.normal(size=(9, 4)), random.uniform(size=9)
    y = np.arange(9) % max(2, scores)
    at = random.normal(size=5 * scores)
    _, gradient = probe.objective(at, x, y, share, 0.3)
    for i, step in enumerate(1e-6 * np.eye(len(at))):
        up, down = (probe.objective(at + sign * step, x, y, share, 0.3)[0] for sign in (1, -1))
        assert gradient[i] == pytest.approx((up - down) / 2e-6, rel=1e-6, abs=1e-8)


def test_views_share_the_weight_of_their_image() -> None:
    b = blobs(each=5)
    scale = scale_of(b.pool, "standardised")
    rows = scale(b.labelled).reshape(-1, b.pool.shape[1])
    theirs = LogisticRegression(C=0.3, tol=1e-8, max_iter=5000).fit(rows, np.repeat(b.y, 3), np.full(len(rows), 1 / 3))
    ours = probe.fit(b.labelled, b.y, b.pool, Config(C=0.3, views=True, scale="standardised"))
    assert np.allclose(ours.predict_proba(b.pool), theirs.predict_proba(scale(b.pool)), atol=1e-3)
    repeated = probe.fit(np.repeat(b.labelled[:, :1], 5, 1), b.y, b.pool, Config(C=3, views=True))
    once = probe.fit(b.labelled[:, 0], b.y, b.pool, Config(C=3))
    assert np.allclose(repeated.predict_proba(b.pool), once.predict_proba(b.pool), atol=1e-3)


def test_never_weaker_than_scikit_learns_defaults() -> None:
    ours, theirs = [], []
    for seed in range(5):
        b = blobs(each=3, seed=seed)
        ours.append(accuracy(probe.fit(b.labelled, b.y, b.pool).predict_proba(b.pool), b))
        default = LogisticRegression(max_iter=5000).fit(b.labelled[:, 0], b.y)
        theirs.append(accuracy(default.predict_proba(b.pool), b))
    assert np.mean(theirs) > 0.4
    assert np.mean(ours) >= np.mean(theirs)


def test_folds_find_out_that_views_mislead() -> None:
    """Views that look like another class are left out."""
    b = blobs(each=25)
    wrong = b.labelled.copy()
    wrong[:, 1:] = wrong[np.roll(np.arange(len(b.y)), 25)][:, 1:]
    assert not probe.fit(wrong, b.y, b.pool).views


def test_folds_find_out_that_the_default_C_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """With labels that are often wrong a strong penalty is right."""
    b = blobs(each=100, apart=0.4, views=1)
    random = np.random.default_rng(0)
    y = np.where(random.random(len(b.y)) < 0.6, random.integers(0, 4, len(b.y)), b.y)
    monkeypatch.setattr(probe, "DEFAULT", (100.0, True))
    assert probe.fit(b.labelled, y, b.pool).C < 100


def test_one_label_a_class_takes_the_default() -> None:
    b = blobs(each=1)
    fitted = probe.fit(b.labelled, b.y, b.pool)
    assert (fitted.C, fitted.views) == probe.DEFAULT
    assert probe.fit(b.labelled[:, 0], b.y, b.pool).views is False  # there are none
    assert accuracy(fitted.predict_proba(b.pool), b) > 0.5


def test_folds_are_stratified() -> None:
    y = np.array([0] * 7 + [1] * 2 + [2])
    found = list(folds(y, 3, 2))
    assert len(found) == 6
    for train, held in found:
        assert not set(train) & set(held)
        assert set(y[train]) == {0, 1, 2}
        assert 2 <= (y[held] == 0).sum() <= 3
        assert 9 not in held  # the only one of its class
    asked = np.bincount(np.concatenate([held for _, held in found]), minlength=10)
    assert (asked == [2] * 9 + [0]).all()
