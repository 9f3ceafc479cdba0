"""Self-adaptive fairness: the classes predicted on strong views, against those of the pool (FreeMatch, arXiv:2205.07246).

    P = 1/U sum_b m_b Q_b,    H = 1/U sum_b m_b onehot(argmax Q_b),    Q_b = p(A(u_b)), with gradient through P
    L_f = sum_c a_c log b_c,  a = SumNorm(p / h),  b = SumNorm(P / H)                       (11)

p and h are running means of the predictions and of the predicted classes of weak views. SumNorm divides by the sum. A
class that no kept row is taken for has b_c = 0 and no gradient; no row kept: L_f = 0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from halfseen.parts.running import whole_mean

LEAST = 1e-12  # added to b


def fairness(p: Tensor, h: Tensor, logits: Tensor, kept: Tensor) -> Tensor:
    """L_f; p, h [K], logits of strong views [U, K], kept bool [U]."""
    Q = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)
    mask = kept.unsqueeze(1).to(Q.dtype)
    P = whole_mean((mask * Q).mean(0))
    H = whole_mean((mask * F.one_hot(Q.argmax(1), Q.shape[1])).mean(0))
    a = ratio(p.to(Q.dtype), h.to(Q.dtype))
    b = ratio(P, H)
    return torch.where(H.sum() > 0, (a * (b + LEAST).log()).sum(), 0.0)


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """SumNorm(above / below), 0 where below is 0."""
    r = torch.where(below > 0, above / torch.where(below > 0, below, 1), 0)
    total = r.sum()
    return r / torch.where(total > 0, total, 1)
