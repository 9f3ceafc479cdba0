"""Labels on a graph: the dense solve, a path by hand, rows that nothing reaches, certainty."""

import math

import numpy as np
import torch

from halfseen.parts.graph import certainty, neighbours, propagate, spread


def dense(f: np.ndarray, k: int, gamma: float) -> np.ndarray:
    """W_n, entry by entry."""
    n = len(f)
    unit = f / np.linalg.norm(f, axis=1, keepdims=True)
    cos = unit @ unit.T
    A = np.zeros((n, n))
    for i in range(n):
        others = sorted((j for j in range(n) if j != i), key=lambda j: -cos[i, j])[:k]
        for j in others:
            A[i, j] = max(cos[i, j], 0) ** gamma
    W = A + A.T
    D = W.sum(1)
    return np.array([[W[i, j] / math.sqrt(D[i] * D[j]) if W[i, j] else 0 for j in range(n)] for i in range(n)])


def features(n: int = 30, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, 5)) * 2
    return (centres[np.arange(n) % 3] + rng.normal(size=(n, 5))).astype(np.float32)


def test_the_graph_is_that_of_a_loop() -> None:
    f = features()
    W = neighbours(f, 4, 3.0).toarray()
    np.testing.assert_allclose(W, dense(f.astype(np.float64), 4, 3.0), atol=1e-5)
    np.testing.assert_allclose(W, W.T)
    assert not W.diagonal().any()


def test_the_result_is_that_of_the_dense_solve() -> None:
    f, K = features(), 3
    y = np.full(30, -1)
    y[[0, 1, 2, 3]] = [0, 1, 2, 0]
    W = dense(f.astype(np.float64), 5, 3.0)
    Y = np.zeros((30, K))
    Y[0, 0] = Y[3, 0] = 1 / 2
    Y[1, 1] = Y[2, 2] = 1
    Z = np.linalg.solve(np.eye(30) - 0.9 * W, Y)
    np.testing.assert_allclose(spread(neighbours(f, 5, 3.0), y, K, 0.9, 200), np.maximum(Z, 0), atol=2e-4)
    found = propagate(torch.from_numpy(f), torch.from_numpy(y), K, 5, 3.0, 0.9, 200)
    torch.testing.assert_close(found.double(), torch.from_numpy(Z / Z.sum(1, keepdims=True)), rtol=1e-3, atol=1e-3)
    few = spread(neighbours(f, 5, 3.0), y, K, 0.9, 2)
    assert np.abs(few - np.maximum(Z, 0)).max() > 1e-2  # two steps are not enough, so the number of them counts


def test_labels_follow_clusters() -> None:
    f = features(60)
    y = np.full(60, -1)
    y[:3] = [0, 1, 2]
    Z = propagate(torch.from_numpy(f), torch.from_numpy(y), 3, 8, 3.0, 0.99, 20)
    assert (Z.argmax(1).numpy() == np.arange(60) % 3).mean() > 0.7


def test_what_nothing_reaches_is_uniform_and_uncertain() -> None:
    f = torch.tensor([[1.0, 0], [1, 0.1], [1, -0.1], [-1, 0.01], [-1, 0.02]])
    y = torch.tensor([0, 1, -1, -1, -1])
    Z = propagate(f, y, 2, 1, 3.0, 0.99, 20)
    torch.testing.assert_close(Z[3:], torch.full((2, 2), 0.5))
    torch.testing.assert_close(Z.sum(1), torch.ones(5))
    w = certainty(Z)
    assert w.max() == 1
    assert (w[3:] < 1e-6).all()


def test_certainty_against_a_loop() -> None:
    Z = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]])
    H = [-sum(p * math.log(p) for p in row if p > 0) for row in Z.tolist()]
    torch.testing.assert_close(certainty(Z), torch.tensor([1 - h / math.log(3) for h in H]))
    torch.testing.assert_close(certainty(Z[1:]), certainty(Z)[1:] / certainty(Z)[1:].max())
    assert not certainty(torch.full((4, 3), 1 / 3)).isnan().any()
