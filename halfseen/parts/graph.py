"""Labels spread over a graph of nearest neighbours (Zhou et al. 2003, as Iscen et al. 2019 use it).

A_ij = max(cos(f_i, f_j), 0)^gamma  for the k nearest neighbours j of i, else 0
W = A + A^T,   W_n = D^{-1/2} W D^{-1/2},   D = diag(W 1)
(I - alpha W_n) Z = Y          Y_ic = 1/n_c for the n_c images labelled c, else 0; some steps of conjugate gradients
Z <- max(Z, 0), rows divided by their sums;   w_i = 1 - H(Z_i)/log K, divided by the largest
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import cg
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

Array = NDArray[np.float64]


def neighbours(features: NDArray[np.floating[Any]], k: int, gamma: float) -> sparse.csr_matrix:
    """W_n [n, n]: without loops, symmetric; an image far from all has a row of zeros."""
    n = len(features)
    k = min(k, n - 1)
    distance, index = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(features).kneighbors()
    weight = np.maximum(1.0 - distance.astype(np.float64), 0.0) ** gamma
    A = sparse.csr_matrix((weight.ravel(), index.ravel(), np.arange(0, n * k + 1, k)), (n, n))
    W = A + A.T
    degree = np.asarray(W.sum(1)).ravel()
    scale = sparse.diags(1 / np.sqrt(np.where(degree > 0, degree, 1.0)))
    return (scale @ W @ scale).tocsr()


def spread(W_n: sparse.csr_matrix, y: NDArray[np.int64], K: int, alpha: float, steps: int) -> Array:
    """Z [n, K], of which no entry is negative; y [n], -1 where it is unknown."""
    system = sparse.identity(len(y), format="csr") - alpha * W_n
    Z = np.zeros((len(y), K))
    for c in range(K):
        given = y == c
        if given.any():
            Z[:, c] = cg(system, given / given.sum(), maxiter=steps)[0]
    return np.maximum(Z, 0.0)


def propagate(features: Tensor, y: Tensor, K: int, k: int, gamma: float, alpha: float, steps: int) -> Tensor:
    """Z [n, K] with rows that sum to 1, on the device of the features [n, d]; a row that nothing reached is uniform."""
    exact = torch.promote_types(features.dtype, torch.float32)  # of half precision none, of double all of it
    f = features.detach().to(exact).cpu().numpy()
    Z = torch.from_numpy(spread(neighbours(f, k, gamma), y.cpu().numpy(), K, alpha, steps))
    total = Z.sum(1, keepdim=True)
    Z = torch.where(total > 0, Z / torch.where(total > 0, total, 1), 1 / K)
    return Z.to(features.device, exact)


def certainty(Z: Tensor) -> Tensor:
    """w [n]: 1 - H/log K, divided by the largest of them; 0 if every row is uniform."""
    w: Tensor = (1 + torch.special.xlogy(Z, Z).sum(1) / math.log(Z.shape[1])).clamp_min(0)
    largest: Tensor = w.max().clamp_min(torch.finfo(w.dtype).tiny)
    return w / largest
