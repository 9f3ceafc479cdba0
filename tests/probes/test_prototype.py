"""Nearest centroids: scikit-learn's answers on the same features, and a temperature that fits."""

import numpy as np
from sklearn.neighbors import NearestCentroid

from halfseen.probes import PROBES, prototype
from halfseen.probes.rows import scale_of
from tests.probes.blobs import accuracy, blobs


def test_equal_to_scikit_learn() -> None:
    b = blobs(each=5)
    scale = scale_of(b.pool, "unit")
    theirs = NearestCentroid().fit(scale(b.labelled).reshape(-1, b.pool.shape[1]), np.repeat(b.y, 3))
    ours = prototype.fit(b.labelled, b.y, b.pool)
    assert (ours.predict_proba(b.pool).argmax(1) == theirs.predict(scale(b.pool))).all()
    distance = np.linalg.norm(scale(b.pool)[:, None] - theirs.centroids_, axis=2)
    p = np.exp(-(distance**2) / 2 / ours.temperature)
    assert np.allclose(ours.predict_proba(b.pool), p / p.sum(1, keepdims=True), atol=1e-4)


def test_never_weaker_than_scikit_learn_on_the_features_as_they_are() -> None:
    ours, theirs = [], []
    for seed in range(5):
        b = blobs(each=3, seed=seed)
        ours.append(accuracy(prototype.fit(b.labelled, b.y, b.pool).predict_proba(b.pool), b))
        theirs.append(np.mean(NearestCentroid().fit(b.labelled[:, 0], b.y).predict(b.pool) == b.truth))
    assert np.mean(ours) >= np.mean(theirs) > 0.4


def test_the_temperature_is_that_of_images_left_out() -> None:
    b = blobs(each=8, views=1)
    scale = scale_of(b.pool, "unit")
    x = scale(b.labelled[:, 0])

    def likelihood(t: float) -> float:
        total = 0.0
        for i in range(len(x)):
            others = np.arange(len(x)) != i
            c = np.stack([x[others & (b.y == k)].mean(0) for k in range(4)])
            near = -((x[i] - c) ** 2).sum(1) / 2 / t
            total += near[b.y[i]] - np.log(np.exp(near).sum())
        return total

    found = prototype.fit(b.labelled, b.y, b.pool).temperature
    assert found == max(prototype.TEMPERATURES, key=likelihood)
    one = blobs(each=1)
    assert prototype.fit(one.labelled, one.y, one.pool).temperature == prototype.DEFAULT


def test_every_probe_gives_probabilities_of_all_classes() -> None:
    """A class without a label has a column of zeros; float16 rows and one view will do."""
    b = blobs(each=4)
    known = b.y != 1
    for name, kind in PROBES.items():
        p = kind.fit(b.labelled[known, 0].astype(np.float16), b.y[known], b.pool.astype(np.float16), classes=6)
        shares = p.predict_proba(b.pool[:50])
        assert shares.shape == (50, 6), name
        assert np.allclose(shares.sum(1), 1, atol=1e-5), name
        assert (shares[:, [1, 4, 5]] == 0).all(), name
        assert (shares >= 0).all(), name
        again = kind.fit(b.labelled[known, 0].astype(np.float16), b.y[known], b.pool.astype(np.float16), classes=6)
        assert (again.predict_proba(b.pool[:50]) == shares).all(), name
