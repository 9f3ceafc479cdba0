"""Label spreading over a graph of nearest neighbours (Zhou et al. 2003; the graph of Iscen et al. 2019, arXiv:1904.04717).

    A_ij = max(cos(x_i, x_j), 0)^gamma  where j is among the k nearest of i;   W = A + A^T;   S = D^-1/2 W D^-1/2
    (I - alpha S) F = Y;   p_ic proportional to F_ic q_c / sum_j F_jc,   q_c the share of class c among the labels

for all images at once, by conjugate gradients in every class side by side: no matrix of N x N numbers is made. An image
that was not in the pool is given the mean of its k nearest in it, weighed as above; one that was, its own row. The masses
of the classes (Zhu et al. 2003) are set to the labels' own shares, so that none floods the others; on trial sets, balanced
or 1:10, that was worth 0.2 to 2 points, and k = 20, alpha = 0.95 was best or nearly so. Folds of 40 labels cannot tell.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.probes.heads import LEAST, SAME, Near, of_scale
from halfseen.probes.neighbours import nearest
from halfseen.probes.rows import Array, Scale, rows_of

TINY = 1e-12  # what no label reaches has the labels' shares


@dataclass(frozen=True)
class Config:
    k: int = 20  # neighbours of an image
    alpha: float = 0.95  # how much an image believes its neighbours
    gamma: float = 3.0  # power of the cosines; 0: every edge weighs the same
    masses: bool = True  # the classes' masses are set to the labels' shares
    balanced: bool = False  # ... or to equal ones

    def __post_init__(self) -> None:
        if self.k < 1 or not 0 <= self.alpha < 1 or self.gamma < 0:
            raise UserError(
                f"k={self.k}, alpha={self.alpha:g}, gamma={self.gamma:g}: k is at least 1, alpha between 0 and 1, 1 "
                "excluded, and gamma not negative"
            )


@dataclass(frozen=True)
class Graph:
    scale: Scale
    nodes: Array  # [M, d] scaled: the pool, then labelled rows that are not in it
    p: Array  # [M, K]
    k: int
    gamma: float

    def predict_proba(self, features: Array) -> Array:
        """[n, K] float32"""
        x = self.scale(features)
        own = self.places(x)
        found: Array = self.p[own]
        new = np.flatnonzero(own < 0)
        if len(new):
            ids, cosines = nearest(x[new], self.nodes, self.k)
            weights = np.maximum(cosines, LEAST) ** self.gamma
            weights[cosines[:, 0] > SAME, 1:] = 0
            found[new] = np.einsum("nk,nkc->nc", weights, self.p[ids]) / weights.sum(1, keepdims=True)
        return found

    def places(self, x: Array) -> Array:
        """[n] which node a row is, or -1: whoever asks about the pool itself need not wait for its neighbours."""
        at = {hash(row.tobytes()): i for i, row in enumerate(self.nodes)}
        found = np.array([at.get(hash(row.tobytes()), -1) for row in x], np.int64)
        for i in np.flatnonzero(found >= 0):
            if not np.array_equal(x[i], self.nodes[found[i]]):
                found[i] = -1
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Of `head`."""
        nodes, p = torch.from_numpy(self.nodes).half(), torch.from_numpy(self.p)
        return {**of_scale(self.scale), "nodes": nodes, "p": p}


def head(cfg: Config, tensors: Mapping[str, Tensor]) -> nn.Module:
    return Near(tensors, cfg.k, cfg.gamma)


@dataclass(frozen=True)
class Ground:
    """The graph before any label: made once, and spread over whenever labels come."""

    scale: Scale
    nodes: Array  # [M, d] scaled
    W: Any  # [M, M], sparse
    cfg: Config

    @classmethod
    def of(cls, scale: Scale, nodes: Array, cfg: Config = Config()) -> "Ground":
        return cls(scale, nodes, affinity(nodes, cfg.k, cfg.gamma), cfg)

    def fitted(self, place: Array, y: Array, classes: int) -> Graph:
        """With labels y of the nodes in these places. Without `masses` p is F, normalised."""
        Y = np.zeros((len(self.nodes), classes), np.float32)
        Y[place, y] = 1
        share = Y.sum(0) / Y.sum()
        F = np.maximum(spread(self.W, Y, self.cfg.alpha), 0)
        if self.cfg.balanced:
            share = (share > 0) / np.count_nonzero(share)
        if self.cfg.masses:
            F *= len(F) * share / np.maximum(F.sum(0), TINY)
        reached = F.sum(1, keepdims=True)
        p = np.where(reached > TINY, F / np.maximum(reached, TINY), share)
        return Graph(self.scale, self.nodes, p.astype(np.float32), self.cfg.k, self.cfg.gamma)


def fit(labelled: Array, y: Array, pool: Array, cfg: Config = Config(), classes: int | None = None) -> Graph:
    """Of views the clean one is a node."""
    rows = rows_of(labelled, y, pool, classes, "unit")
    place, nodes = placed(rows.clean, rows.pool)
    return Ground.of(rows.scale, nodes, cfg).fitted(place, rows.y, rows.classes)


def placed(labelled: Array, pool: Array) -> tuple[Array, Array]:
    """Where each labelled row stands among the nodes, and the nodes: a labelled image that is in the pool is one node."""
    where = {row.tobytes(): i for i, row in enumerate(pool)}
    place: list[int] = []
    more: list[Array] = []
    for row in labelled:
        i = where.setdefault(row.tobytes(), len(pool) + len(more))
        if i == len(pool) + len(more):
            more.append(row)
        place.append(i)
    return np.array(place), np.concatenate([pool, np.stack(more)]) if more else pool


def affinity(nodes: Array, k: int, gamma: float) -> Any:
    """W [M, M], sparse and symmetric."""
    from scipy.sparse import csr_array

    ids, cosines = nearest(nodes, nodes, k, themselves=True)
    n, k = ids.shape
    weights = np.maximum(cosines, 0) ** gamma if gamma else np.ones_like(cosines)
    A = csr_array((weights.ravel(), ids.ravel().astype(np.int32), np.arange(0, n * k + 1, k, dtype=np.int32)), (n, n))
    return (A + A.T).tocsr()


def spread(W: Any, Y: Array, alpha: float, tolerance: float = 1e-5, most: int = 1000) -> Array:
    """F of (I - alpha S) F = Y to `tolerance` of each column of Y."""
    from scipy.sparse import diags_array

    degree = np.asarray(W.sum(1)).ravel()
    root = diags_array(1 / np.sqrt(np.where(degree > 0, degree, 1)).astype(np.float32))
    S = (root @ W @ root).tocsr()
    F, rest = np.zeros_like(Y), Y.copy()
    direction, square = rest.copy(), (rest**2).sum(0)
    goal = square * tolerance**2
    for _ in range(most):
        if (square <= goal).all():
            break
        moved = direction - alpha * (S @ direction)
        step = square / np.maximum((direction * moved).sum(0), np.finfo(Y.dtype).tiny)
        F += step * direction
        rest -= step * moved
        before, square = square, (rest**2).sum(0)
        direction = rest + square / np.maximum(before, np.finfo(Y.dtype).tiny) * direction
    return F
