"""FlexMatch, curriculum pseudo labelling: Zhang et al. 2021, arXiv:2110.08263.

    n_c  = number of unlabelled images whose last confident prediction (max q >= tau) was class c
    b_c  = n_c / max(max_c n_c, N_U - sum_c n_c)       the second: images that were never confident
    T_c  = tau M(b_c),   M(b) = b/(2 - b)
    L_u  = 1/U sum_b 1[max q_b >= T_{argmax q_b}] H(argmax q_b, p(A(u_b)))
    L    = 1/B sum_b H(y_b, p(a(x_b))) + lambda_u L_u          q_b = p(a(u_b)) without gradient

a weak, A strong view. tau, which decides what is counted, stays as it is; a class that is learned late has a low T_c. In
the warm-up the never-confident outnumber every class, and all T_c are low together.
Evaluated: the average of the weights (decay 0.999), and the network itself.

Departures:
- The counts are of each image's last confident prediction, in the batch in which it was seen, as in the release; the
  paper's are of all images with the network of the step.
- weak_pass = separate: the weak views go through a forward of their own, see fixmatch. The average starts warm, with decay
  min((1+t)/(10+t), 0.999). With CTAugment (--strong cta) the bins follow the averaged network.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from halfseen.method import Batch, Clock, Losses, Method, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.align import Align, Aligned
from halfseen.parts.cta import learn_strengths
from halfseen.parts.ema import Ema, early
from halfseen.parts.losses import cross_entropy, probabilities
from halfseen.parts.memory import Memory
from halfseen.parts.norms import Norm
from halfseen.parts.select import confident
from halfseen.parts.weak import WeakPass, with_weak

NEVER = -1  # of an image that was not confident yet


@dataclass(frozen=True)
class Config(Aligned):
    tau: float = 0.95  # confidence from which a prediction is counted, and the highest threshold of a class
    mapping: Literal["convex", "linear", "concave"] = "convex"  # M: b/(2 - b), b, or log(1 + b)/log 2
    warm_up: bool = True  # false: the never-confident are left out of the maximum
    lambda_u: float = 1.0  # weight of the unlabelled term
    decay: float = 0.999  # of the average that is evaluated
    norm: Norm = (
        "measured"  # batch-norm statistics of what is scored: on clean training images, or as the releases have
    )
    weak_pass: WeakPass = "separate"  # rows that the weak views are normalised with: halfseen/parts/weak.py
    optim: Optim = Optim()  # FixMatch's


class FlexMatch(Method[Config]):
    labelled_in_unlabelled = True

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        self.net = task.make_net()
        self.average = Ema(self.net)
        self.align = Align(cfg, task)
        self.last = Memory(task.samples, fill=NEVER, dtype=torch.int64)  # last confident class of each image

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        weak, strong = self.weak(batch.u), self.strong(batch.u)
        logits_x, logits_w, logits_s = with_weak(
            self.net, self.labelled_view(batch.x), weak, strong, self.cfg.weak_pass
        )
        q = self.align(probabilities(logits_w), batch.y)  # [U, C]
        counted, pseudo = confident(q, self.cfg.tau)
        T = self.thresholds()
        kept = q.amax(1) >= T[pseudo]
        self.last.write(batch.u_ids, torch.where(counted, pseudo, self.last[batch.u_ids]))

        L_s = cross_entropy(logits_x, batch.y).mean()
        L_u = (kept * cross_entropy(logits_s, pseudo)).mean()
        learn_strengths(self.strong, self.average, batch.x, batch.y)
        stats = {"threshold/least": T.min(), "threshold/most": T.max()} | self.align.stats()
        return Losses({"L_s": L_s, "L_u": self.cfg.lambda_u * L_u}, stats, Unlabelled(logits_s, q, kept, view=weak))

    def thresholds(self) -> Tensor:
        """T_c [C], by what was remembered before this batch."""
        counts = torch.zeros(self.task.classes + 1, device=self.last.values.device)
        counts.scatter_add_(0, self.last.values + 1, torch.ones_like(self.last.values, dtype=counts.dtype))
        n = counts[1:]
        most = n.max()
        if self.cfg.warm_up:
            most = torch.maximum(most, self.task.unlabelled - n.sum())
        b = n / most.clamp_min(1)
        if self.cfg.mapping == "convex":
            return self.cfg.tau * b / (2 - b)
        return self.cfg.tau * (b if self.cfg.mapping == "linear" else (1 + b).log() / math.log(2))

    def after_step(self, clock: Clock) -> None:
        self.average.follow(self.net, early(self.cfg.decay, clock.step), buffers=self.cfg.norm)

    def predictors(self) -> dict[str, nn.Module]:
        return {"average": self.average, "net": self.net}
