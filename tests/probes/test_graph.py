"""Label spreading: closed forms, scikit-learn's numbers on the same graph, new rows, and neighbours that are approximate."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.neighbors import NearestNeighbors
from sklearn.semi_supervised import LabelSpreading

from halfseen.probes import graph, neighbours
from halfseen.probes.graph import Config
from halfseen.probes.rows import scale_of
from tests.probes.blobs import accuracy, blobs


def unit_rows(n: int, d: int) -> npt.NDArray[Any]:
    x = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("alpha", [0.5, 0.99])
def test_the_closed_form(alpha: float) -> None:
    W = graph.affinity(unit_rows(60, 8), k=5, gamma=3)
    dense = W.toarray()
    assert (dense == dense.T).all()
    assert (np.diag(dense) == 0).all()
    root = np.diag(dense.sum(1) ** -0.5)
    Y = np.eye(60, 3, dtype=np.float32)
    exact = np.linalg.solve(np.eye(60) - alpha * root @ dense @ root, Y)
    assert np.allclose(graph.spread(W, Y, alpha), exact, atol=1e-4)


def test_equal_to_scikit_learn_on_the_same_graph() -> None:
    """Theirs iterates; given our weights as its kernel, and time, it arrives at our solution."""
    b = blobs(n=150)
    x = scale_of(b.pool, "unit")(b.pool)
    W = graph.affinity(x, k=10, gamma=3).toarray().astype(float)
    y = np.full(len(x), -1)
    y[b.ids] = b.y
    theirs = LabelSpreading(kernel=lambda *_: W, alpha=0.9, max_iter=2000, tol=1e-12).fit(x, y)
    ours = graph.fit(b.labelled, b.y, b.pool, Config(k=10, alpha=0.9, masses=False))
    assert np.allclose(ours.p, theirs.label_distributions_, atol=1e-4)


def test_equal_to_scikit_learns_knn_kernel_where_neighbours_are_mutual() -> None:
    """On a circle each of 40 points has the same 4 neighbours as they have it; theirs counts a point as its own."""
    angle = np.arange(40) * 2 * np.pi / 40
    x = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    y = np.full(40, -1)
    y[[3, 17, 30]] = 0, 1, 2
    theirs = LabelSpreading(kernel="knn", n_neighbors=5, alpha=0.8, max_iter=2000, tol=1e-12).fit(x, y)
    ours = graph.fit(x[[3, 17, 30]], np.arange(3), x, Config(k=4, alpha=0.8, gamma=0, masses=False))
    assert np.allclose(ours.p, theirs.label_distributions_, atol=1e-4)


def test_never_weaker_than_scikit_learns_knn() -> None:
    ours, theirs = [], []
    for seed in range(5):
        b = blobs(each=3, seed=seed)
        y = np.full(len(b.pool), -1)
        y[b.ids] = b.y
        ours.append(accuracy(graph.fit(b.labelled, b.y, b.pool).predict_proba(b.pool), b))
        theirs.append(accuracy(LabelSpreading(kernel="knn").fit(b.pool, y).label_distributions_, b))
    assert np.mean(theirs) > 0.4
    assert np.mean(ours) >= np.mean(theirs)


def test_the_pool_answers_for_itself_and_its_neighbours_for_others() -> None:
    b = blobs()
    fitted = graph.fit(b.labelled, b.y, b.pool)
    assert np.allclose(fitted.predict_proba(b.pool), fitted.p, atol=1e-6)
    near = fitted.predict_proba(b.pool + 0.05 * np.random.default_rng(1).normal(size=b.pool.shape).astype(np.float32))
    assert (near.argmax(1) == fitted.p.argmax(1)).mean() > 0.95
    assert np.allclose(near.sum(1), 1, atol=1e-5)
    outside = graph.fit(b.labelled, b.y, np.delete(b.pool, b.ids, 0))  # labelled images need not be in the pool
    assert len(outside.nodes) == len(b.pool)
    assert accuracy(outside.predict_proba(b.pool), b) == pytest.approx(accuracy(fitted.p, b), abs=0.03)


def test_masses_go_with_the_labels() -> None:
    b = blobs(each=5)
    fitted = graph.fit(b.labelled[:16], b.y[:16], b.pool)  # 5, 5, 5 and 1 labels
    Y = np.zeros((600, 4), np.float32)
    Y[b.ids[:16], b.y[:16]] = 1
    F = graph.spread(graph.affinity(fitted.nodes, 20, 3), Y, 0.95)
    F = F / F.sum(0) * np.array([5, 5, 5, 1])
    assert np.allclose(fitted.p, F / F.sum(1, keepdims=True), atol=1e-4)


def test_an_island_has_the_labels_shares() -> None:
    x = np.concatenate([unit_rows(30, 4) * 0.01 + [1, 0, 0, 0], unit_rows(30, 4) * 0.01 - [1, 0, 0, 0]]).astype(
        np.float32
    )
    p = graph.fit(x[:3], np.array([0, 0, 1]), x, Config(k=5)).p
    assert np.allclose(p[30:], [2 / 3, 1 / 3])


def test_neighbours_are_exact() -> None:
    x = unit_rows(700, 20)  # in more than one block
    _, theirs = NearestNeighbors(n_neighbors=8, metric="cosine").fit(x).kneighbors()  # without the rows themselves
    ids, cosines = neighbours.nearest(x, x, 8, themselves=True)
    assert (ids == theirs).mean() > 0.999  # ties
    assert np.allclose(cosines, np.einsum("nd,nkd->nk", x, x[ids]), atol=1e-5)
    fewer, _ = neighbours.nearest(x[:3], x[:3], 8, themselves=True)
    assert fewer.shape == (3, 2)


def test_neighbours_of_many_rows_are_nearly_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    b = blobs(n=2000, d=200)
    x = scale_of(b.pool, "unit")(b.pool)
    exact, _ = neighbours.nearest(x, x, 10, themselves=True)
    for name, value in (("EXACT", 1000), ("SAMPLE", 500), ("FEW", 40), ("MANY", 150), ("CELLS", 20), ("SHARE", 0.3)):
        monkeypatch.setattr(neighbours, name, value)
    found, cosines = neighbours.nearest(x, x, 10, themselves=True)
    assert not (found == np.arange(2000)[:, None]).any()
    assert np.abs(cosines - np.einsum("nd,nkd->nk", x, x[found])).mean() < 0.1  # of the strongest directions
    shared = np.mean([len(set(a) & set(c)) / 10 for a, c in zip(exact, found, strict=True)])
    assert shared > 0.9
    new, _ = neighbours.nearest(x[:7], x, 3)  # other queries than the rows
    assert (new[:, 0] == np.arange(7)).all()
