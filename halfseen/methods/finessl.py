"""FineSSL: Gan & Wei 2024, "Erasing the bias: fine-tuning foundation models for semi-supervised learning", arXiv:2405.11756.

    c_k   = n_k / max_j n_j          n_k: unlabelled images whose last confident (max q >= tau_c) prediction was class k
    D_k   = alpha (max_j c_j - min_j c_j) (1 - c_k)/(1 + c_k)                              margin of class k
    M(z, y)   = CE(z + D_y (1 - onehot(y)), y)                                             balanced margin softmax
    L_x   = 1/B sum_b M(z(a(x_b)), y_b),   L_x2 = 1/B sum_b CE(z'(a(x_b)), y_b)
    L_u   = lambda_u mean_b,i  w_b M(z(A_i(u_b)), yhat_b),       w_b = max softmax z'(a(u_b)),  yhat_b = argmax q_b
    L_u2  = mean over b, i with max q_b >= tau of CE(z'(A_i(u_b)), (1 - s) onehot(yhat_b) + s/(K - 1) (1 - onehot(yhat_b)))
    L     = L_x + L_x2 + L_u + L_u2

q_b = softmax z(a(u_b)) without gradient; a weak, A_1 and A_2 strong views. A class that few images are confidently taken for
has to be told from the others by a wider margin, so its images become sure sooner. Two heads on the same features: z is
trained with the margin and is the result; z', on features without gradient, is trained with smoothed labels (decoupled
label smoothing) so that its confidence says how hard an image is, and weighs it. There is no threshold in L_u.

Evaluated: the network with head z.

Departures:
- The paper tunes CLIP's image encoder by prompts; here a network of --net is trained, such as a head on frozen features.
- The release forgets who was confident every 500 steps; here each image's last confident prediction is kept.
- The margin's size hangs on the logits' scale: 8 is the release's, for CLIP's scaled cosines.
- weak_pass = separate: the weak views go through a forward of their own, see fixmatch.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.method import Batch, Clock, Losses, Method, Plan, Stage, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.align import Align, Aligned
from halfseen.parts.heads import Beside
from halfseen.parts.losses import cross_entropy, mean_of, probabilities
from halfseen.parts.memory import Memory
from halfseen.parts.norms import Norm
from halfseen.parts.weak import WeakPass, with_weak

NEVER = -1  # of an image that was not confident yet


@dataclass(frozen=True)
class Config(Aligned):
    alpha: float = 8.0  # of the margins; 0: none
    count_from: float = 0.7  # tau_c
    tau: float = 0.7  # confidence from which the second head learns
    smoothing: float = 0.5  # s: what the second head's targets give to the other classes
    lambda_u: float = 3.0  # weight of L_u
    weighted: bool = True  # w_b; False: 1
    norm: Norm = (
        "measured"  # batch-norm statistics of what is scored: on clean training images, or as the releases have
    )
    weak_pass: WeakPass = "separate"  # rows that the weak views are normalised with: halfseen/parts/weak.py
    optim: Optim = Optim(schedule="cos", nesterov=False)


class FineSSL(Method[Config]):
    labelled_in_unlabelled = True
    batch = (64, 128)

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        if not 0 <= cfg.smoothing < 1 or cfg.alpha < 0 or cfg.lambda_u < 0:
            raise UserError("finessl needs smoothing from 0 to below 1, and alpha and lambda_u of at least 0")
        self.both = Beside(task.make_net)
        self.align = Align(cfg, task)
        self.last = Memory(task.samples, fill=NEVER, dtype=torch.int64)

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        cfg, U = self.cfg, len(batch.u)
        weak = self.weak(batch.u)
        strong = torch.cat([self.strong(batch.u), self.strong(batch.u)])  # [2U]
        x, w, s = with_weak(self.both, self.labelled_view(batch.x), weak, strong, cfg.weak_pass)
        (z_x, own_x), (z_w, own_w), (z_s, own_s) = (out.chunk(2, 1) for out in (x, w, s))
        q = self.align(probabilities(z_w), batch.y)  # [U, K]
        confidence, yhat = q.max(1)
        weights = probabilities(own_w).amax(1) if cfg.weighted else torch.ones_like(confidence)
        D, sure = self.margins(), (confidence >= cfg.tau).repeat(2)
        self.last.write(batch.u_ids, torch.where(confidence >= cfg.count_from, yhat, self.last[batch.u_ids]))

        twice = yhat.repeat(2)
        terms: dict[str, Any] = {
            "L_x": with_margin(z_x, batch.y, D).mean(),
            "L_x2": cross_entropy(own_x, batch.y).mean(),
            "L_u": cfg.lambda_u * (weights.repeat(2) * with_margin(z_s, twice, D)).mean(),
            "L_u2": mean_of(sure, cross_entropy(own_s, smoothed(twice, self.task.classes, cfg.smoothing))),
        }
        stats = {"weight": weights.mean(), "margin/least": D.min(), "margin/most": D.max()} | self.align.stats()
        return Losses(terms, stats, Unlabelled(z_s[:U], q, torch.ones_like(confidence, dtype=torch.bool), view=weak))

    def margins(self) -> Tensor:
        """D_k [K], by what was remembered before this batch; 0 while nothing was confident."""
        n = torch.zeros(self.task.classes + 1, device=self.last.values.device)
        n.scatter_add_(0, self.last.values + 1, torch.ones_like(self.last.values, dtype=n.dtype))
        c = n[1:] / n[1:].max().clamp_min(1)
        return self.cfg.alpha * (c.max() - c.min()) * (1 - c) / (1 + c)

    def stages(self, plan: Plan) -> list[Stage]:
        return [Stage("train", self.loss, plan.steps, {"both": self.cfg.optim}, self.epoch)]

    def predictors(self) -> dict[str, nn.Module]:
        return {"net": self.both.net}


def with_margin(z: Tensor, y: Tensor, D: Tensor) -> Tensor:
    """M(z, y) [n]: every other class has D_y more."""
    others = 1 - F.one_hot(y, z.shape[1])
    return cross_entropy(z + D[y].unsqueeze(1).to(z.dtype) * others.to(z.dtype), y)


def smoothed(y: Tensor, K: int, s: float) -> Tensor:
    """[n, K]: 1 - s for y, and s shared by the others."""
    told = F.one_hot(y, K).float()
    return told * (1 - s) + (1 - told) * s / (K - 1)
