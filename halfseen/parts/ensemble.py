"""A temporal ensemble: what a network said of each image, averaged over its visits (Laine & Aila 2017).

    Z_j <- alpha Z_j + (1 - alpha) p_j     at each visit of image j
    target  Z_j / (1 - alpha^{n_j})        after n_j visits; there is none before the first

In a pass over all images each is visited once and its target is read before p_j is added, so that this is the paper's update
at the end of an epoch, with n_j its number of epochs; an image that comes more often is simply averaged over its visits.
"""

import torch
from torch import Tensor

from halfseen.parts.memory import Memory


def ensembled(Z: Memory, n: Memory, ids: Tensor, alpha: float, corrected: bool = True) -> tuple[Tensor, Tensor]:
    """Targets [U, K] of these images, and which have one [U]; `corrected`: divided by 1 - alpha^n."""
    z, visits = Z[ids], n[ids]
    valid = visits > 0
    if not corrected:
        return z, valid
    return z / torch.where(valid, 1 - alpha**visits, 1).unsqueeze(1), valid


def remember(Z: Memory, n: Memory, ids: Tensor, p: Tensor, alpha: float) -> None:
    """One visit of each of these images, of which the network says p [U, K]."""
    Z.write(ids, alpha * Z[ids] + (1 - alpha) * p)
    n.write(ids, n[ids] + 1)
