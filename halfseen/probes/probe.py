"""Logistic regression on frozen features.

    min_W,b   1/2 |W|^2 + C sum_i 1/V_i sum_v H(y_i, softmax(W x_iv + b))

over the clean rows (one v), or over all V views of the labelled images. C and which of the two are chosen by stratified
folds of the labelled images: all views of an image are on one side, and held-out images are asked by their clean rows. With
few labels folds are noise, so the default, C = 3 and all views, stays unless another pair is right more often by at least
twice the standard error of their difference over the images. (The likelihood chose C = 300, and lost a point of accuracy.)
Where no class has two labelled images there is nothing to hold out, and the default it is.

The solution lies in the span of the rows that it is fitted to, so with fewer rows than features it is looked for there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.probes.heads import Flat, of_scale
from halfseen.probes.rows import Array, Kind, Rows, Scale, folds, rows_of

CS = (1.0, 3.0, 10.0, 30.0, 100.0)
DEFAULT = (3.0, True)  # C and all views
ERRORS = 2  # standard errors by which another pair must be better
FOLDS = 5
FEW = 200  # labelled images up to which the folds are drawn three times
WIDE = 256  # directions of the rows that the folds look at; the final fit looks at all


@dataclass(frozen=True)
class Config:
    C: float | None = None  # inverse strength of the penalty; none: by folds
    views: bool | None = None  # fitted to all views of the labelled images, or to their clean rows; none: by folds
    scale: Kind = "unit"  # features of length 1, or each of deviation 1
    balanced: bool = False  # every class weighs the same, however few labels it has
    seed: int = 0  # of the folds

    def __post_init__(self) -> None:
        if self.C is not None and self.C <= 0:
            raise UserError(f"C={self.C:g}: the inverse strength of the penalty is more than 0")


@dataclass(frozen=True)
class Probe:
    scale: Scale
    W: Array  # [d, K]
    b: Array  # [K]; -inf for a class without a label
    C: float
    views: bool  # fitted to all views

    def predict_proba(self, features: Array) -> Array:
        """[n, K] float32"""
        return softmax(self.scale(features) @ self.W + self.b)

    def tensors(self) -> dict[str, Tensor]:
        """Of `head`."""
        return {**of_scale(self.scale), "W": torch.from_numpy(self.W), "b": torch.from_numpy(self.b)}


def head(cfg: Config, tensors: Mapping[str, Tensor]) -> nn.Module:
    return Flat(tensors, cfg.scale == "unit")


def fit(
    labelled: Array,
    y: Array,
    pool: Array,
    cfg: Config = Config(),
    classes: int | None = None,
) -> Probe:
    """C and views that are given are not chosen.

    With one thread of BLAS: several wait for each other by spinning, and with matrices as small as these it took 46 s where
    one thread needs 2 (26 classes of 4 labels, both cores busy with other work).
    """
    import scipy.optimize  # noqa: F401  (its BLAS is to be limited too)

    with threadpool_limits(limits=1, user_api="blas"):
        return fitted(labelled, y, pool, cfg, classes)


def fitted(labelled: Array, y: Array, pool: Array, cfg: Config, classes: int | None) -> Probe:
    rows = rows_of(labelled, y, pool, classes, cfg.scale)
    grid_views = [cfg.views] if cfg.views is not None else [False, True][: rows.labelled.shape[1]]
    grid = [(c, v) for v in grid_views for c in ((cfg.C,) if cfg.C is not None else CS)]
    best = grid[0] if len(grid) == 1 else chosen(rows, grid, cfg.seed, cfg.balanced)
    W, b = solved(rows.labelled if best[1] else rows.labelled[:, :1], rows.y, best[0], 1e-6, cfg.balanced)
    whole = np.zeros((rows.pool.shape[1], rows.classes), np.float32)
    bias = np.full(rows.classes, -np.inf, np.float32)
    whole[:, np.unique(rows.y)], bias[np.unique(rows.y)] = W, b
    return Probe(rows.scale, whole, bias, *best)


def chosen(rows: Rows, grid: list[tuple[float, bool]], seed: int, balanced: bool) -> tuple[float, bool]:
    """The pair that is right most often, if it surpasses the default's hits by more than chance."""
    L = len(rows.y)
    x = rows.labelled @ span(rows.labelled.reshape(-1, rows.labelled.shape[2]), WIDE)
    right, asked = np.zeros((len(grid), L)), np.zeros(L)
    for train, held in folds(rows.y, FOLDS, 3 if L <= FEW else 1, seed):
        asked[held] += 1
        classes = np.unique(rows.y[train])
        for i, (C, views) in enumerate(grid):
            W, b = solved(x[train] if views else x[train, :1], rows.y[train], C, 1e-3, balanced)
            right[i, held] += classes[(x[held, 0] @ W + b).argmax(1)] == rows.y[held]
    default = min(grid, key=lambda pair: (pair[1] != DEFAULT[1], abs(np.log(pair[0] / DEFAULT[0]))))
    some = asked > 0
    if not some.any():
        return default
    hits = right[:, some] / asked[some]
    best = int(hits.mean(1).argmax())
    gain = hits[best] - hits[grid.index(default)]
    return grid[best] if gain.mean() > ERRORS * gain.std() / np.sqrt(len(gain)) else default


def span(rows: Array, most: int) -> Array:
    """[d, r] orthonormal: the rows' own span, or its `most` strongest directions."""
    gram = rows.astype(np.float64)
    gram = gram @ gram.T if len(rows) <= rows.shape[1] else gram.T @ gram
    values, vectors = np.linalg.eigh(gram)
    kept = np.flatnonzero(values > values[-1] * 1e-10)[-most:]
    if len(rows) <= rows.shape[1]:
        vectors, kept = rows.T @ vectors[:, kept] / np.sqrt(values[kept]), np.arange(len(kept))
    found: Array = vectors[:, kept]
    return found


def solved(x: Array, y: Array, C: float, tolerance: float, balanced: bool = False) -> tuple[Array, Array]:
    """W [d, k] and b [k] of the k classes in y, from rows [L, V, d]; balanced: a row of class k weighs L/(K n_k)."""
    from scipy.optimize import minimize

    L, V, d = x.shape
    counts = np.bincount(y)
    k = np.count_nonzero(counts)
    weight = L / (k * counts[y]) if balanced else np.ones(L)
    flat = x.reshape(L * V, d).astype(np.float64)
    basis = span(flat, d) if d > L * V else None
    rows = flat if basis is None else flat @ basis
    given = np.repeat(np.unique(y, return_inverse=True)[1], V)
    start = np.zeros((rows.shape[1] + 1, 1 if k == 2 else k))  # of two classes one score, of the second
    asked = (rows, given, np.repeat(weight, V) / (L * V), 1 / (C * L))
    within = {"maxiter": 1000, "maxls": 50, "gtol": tolerance, "ftol": 64 * np.finfo(float).eps}  # scikit-learn's
    found = minimize(objective, start.ravel(), asked, method="L-BFGS-B", jac=True, options=within).x
    W, b = found.reshape(start.shape)[:-1], found.reshape(start.shape)[-1]
    if k == 2:
        W, b = np.hstack([-W / 2, W / 2]), np.hstack([-b / 2, b / 2])
    return (W if basis is None else basis @ W), b


def objective(at: Array, x: Array, y: Array, share: Array, penalty: float) -> tuple[float, Array]:
    """sum_i share_i H(y_i, softmax(W x_i + b)) + penalty/2 |W|^2 and its gradient, at the rows of W and then b.

    One score a row is that of the second of two classes; the first has 0.
    """
    Wb = at.reshape(x.shape[1] + 1, -1)
    W = Wb[:-1]
    scores = x @ W + Wb[-1]
    if scores.shape[1] == 1:
        scores = np.hstack([np.zeros_like(scores), scores])
    scores -= scores.max(1, keepdims=True)
    p = np.exp(scores)
    total = p.sum(1, keepdims=True)
    rows = np.arange(len(y))
    loss = share @ (np.log(total[:, 0]) - scores[rows, y]) + penalty / 2 * np.vdot(W, W)
    p /= total
    p[rows, y] -= 1
    p *= share[:, None]
    p = p[:, -Wb.shape[1] :]
    return float(loss), np.vstack([x.T @ p + penalty * W, p.sum(0)]).ravel()


def softmax(scores: Array) -> Array:
    p = np.exp(scores - scores.max(1, keepdims=True))
    shares: Array = p / p.sum(1, keepdims=True)
    return shares
