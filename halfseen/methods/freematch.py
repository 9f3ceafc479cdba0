"""FreeMatch, self-adaptive thresholding: Wang et al. 2023, arXiv:2205.07246.

    tau_t  = d tau_{t-1} + (1 - d) 1/U sum_b max q_b,     tau_0 = 1/C                                       (5)
    p_t(c) = d p_{t-1}(c) + (1 - d) 1/U sum_b q_b(c),     p_0(c) = 1/C                                      (6)
    tau_t(c) = p_t(c) / max_c p_t(c) tau_t                                                                  (7)
    L_u = 1/U sum_b m_b H(argmax q_b, Q_b),   m_b = 1[max q_b >= tau_t(argmax q_b)],  Q_b = p(A(u_b))       (8)
    h_t = d h_{t-1} + (1 - d) Hist(argmax q_b),   P = 1/U sum_b m_b Q_b,   H = Hist(argmax Q_b where m_b)  (9, 10)
    L_f = sum_c SumNorm(p_t / h_t)_c log SumNorm(P / H)_c                                                  (11)
    L   = L_s + w_u L_u + w_f L_f,   L_s = 1/B sum_b H(y_b, p(a(x_b)))                                     (12)

q_b = p(a(u_b)) without gradient; a weak, A strong view, C classes. SumNorm divides by the sum.
Evaluated: the average of the weights (decay 0.999), and the network itself.

Departures:
- The running means start warm, d = min((1 + t)/(10 + t), 0.999): from 1/C at 0.999 the threshold would need thousands of
  steps to say anything of the network (warm = false: the paper's).
- A class that no kept row is taken for has SumNorm(P/H) = 0 in (11), as in the release; the paper divides by 0 there.
- weak_pass = separate: the weak views go through a forward of their own, see fixmatch. The average starts warm, too.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.method import Batch, Clock, Losses, Method, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.align import Align, Aligned
from halfseen.parts.cta import learn_strengths
from halfseen.parts.ema import Ema, early
from halfseen.parts.fairness import fairness
from halfseen.parts.losses import cross_entropy, probabilities
from halfseen.parts.norms import Norm
from halfseen.parts.running import Running
from halfseen.parts.weak import WeakPass, with_weak


@dataclass(frozen=True)
class Config(Aligned):
    w_u: float = 1.0  # weight of L_u
    w_f: float = 0.01  # of L_f: the paper's for the fewest labels and SVHN; else .05
    momentum: float = 0.999  # d, of tau, p and h
    warm: bool = True  # false: d from the first step on
    low: float = 0.0  # tau_t is kept between low and high in (7): 0.9 and 0.95 for SVHN
    high: float = 1.0
    labelled_first: float = 0.0  # share of training on labelled images alone: 2 of 1,024 epochs for SVHN
    decay: float = 0.999  # of the average that is evaluated
    norm: Norm = (
        "measured"  # batch-norm statistics of what is scored: on clean training images, or as the releases have
    )
    weak_pass: WeakPass = "separate"  # rows that the weak views are normalised with: halfseen/parts/weak.py
    optim: Optim = Optim()  # FixMatch's


class FreeMatch(Method[Config]):
    labelled_in_unlabelled = True

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        if not 0 <= cfg.low <= cfg.high:
            raise UserError(f"low={cfg.low:g}, high={cfg.high:g}: the threshold needs 0 <= low <= high")
        self.net = task.make_net()
        self.average = Ema(self.net)
        self.align = Align(cfg, task)
        even = torch.full((task.classes,), 1 / task.classes)
        self.tau = Running(even[0].clone(), cfg.momentum, cfg.warm)
        self.p, self.h = Running(even, cfg.momentum, cfg.warm), Running(even.clone(), cfg.momentum, cfg.warm)

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        cfg = self.cfg
        weak, strong = self.weak(batch.u), self.strong(batch.u)
        logits_x, logits_w, logits_s = with_weak(self.net, self.labelled_view(batch.x), weak, strong, cfg.weak_pass)
        q = self.align(probabilities(logits_w), batch.y)  # [U, C]
        confidence, pseudo = q.max(1)
        T = self.thresholds(q, clock.step)
        kept = confidence >= T[pseudo]

        L_s = cross_entropy(logits_x, batch.y).mean()
        L_u = (kept * cross_entropy(logits_s, pseudo)).mean()
        L_f = fairness(self.p.value, self.h.value, logits_s, kept)
        on = float(clock.progress >= cfg.labelled_first)
        learn_strengths(self.strong, self.average, batch.x, batch.y)
        stats = {"tau": self.tau.value.clone(), "threshold/least": T.min()} | self.align.stats()
        terms = {"L_s": L_s, "L_u": on * cfg.w_u * L_u, "L_f": on * cfg.w_f * L_f}
        return Losses(terms, stats, Unlabelled(logits_s, q, kept, view=weak))

    def thresholds(self, q: Tensor, step: int) -> Tensor:
        """tau_t(c) [C], after tau, p and h have followed the batch's q [U, C]."""
        confidence, pseudo = q.max(1)
        tau: Tensor = self.tau(confidence.mean(), step).clamp(self.cfg.low, self.cfg.high)
        p: Tensor = self.p(q.mean(0), step)
        self.h(F.one_hot(pseudo, q.shape[1]).to(q.dtype).mean(0), step)
        return tau * p / p.max()

    def after_step(self, clock: Clock) -> None:
        self.average.follow(self.net, early(self.cfg.decay, clock.step), buffers=self.cfg.norm)

    def predictors(self) -> dict[str, nn.Module]:
        return {"average": self.average, "net": self.net}
