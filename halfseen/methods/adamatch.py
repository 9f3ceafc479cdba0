"""AdaMatch: Berthelot et al. 2022, arXiv:2106.04732, for semi-supervised learning and domain adaptation.

    {Z'_x, Z_u} = f({X, U}),   Z''_x = f(X),   X = {a(x), A(x)},  U = {a(u), A(u)}
    Z_x = lambda Z'_x + (1 - lambda) Z''_x,   lambda ~ U(0, 1) for every logit              (random logit interpolation)
    q_b = Normalize(p(a(u_b)) E[p(a(x))] / E[p(a(u))])                                      (distribution alignment)
    c_tau = tau 1/B sum_b max p(a(x_b)),   m_b = 1[max q_b >= c_tau]                        (relative threshold)
    L = 1/B sum_b (H(y_b, Z_x,a) + H(y_b, Z_x,A)) + mu(t) lambda_u 1/U sum_b m_b H(argmax q_b, Z_u,A)
    mu(t) = 1/2 - cos(min(pi, 2 pi t/T))/2

a weak, A strong view; p(a(x)) is the softmax of the interpolated weak logits; targets, masks and E are without gradient.
Labelled: the source, unlabelled: the target; E are running means. Evaluated: the average of the weights, and the network.

Departures:
- What is taught is argmax q, as in the release; the paper's equation has q itself (hard = false).
- Both running means have decay 0.999 and are corrected for their start; the release takes the last 128 batches of u.
- labelled_weight = 1 is the paper's sum over the two views; the release has their mean, 0.5.
- f(X) leaves the running statistics alone, as the paper says. Weak and strong views of u share the one forward (weak_pass =
  joint), which interpolation is made for; other values take the weak views of u out of it.
- The average starts warm, with decay min((1+t)/(10+t), 0.999). With CTAugment (--strong cta) the bins follow it.
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
from halfseen.parts.forward import frozen_batchnorm, together
from halfseen.parts.losses import cross_entropy, probabilities
from halfseen.parts.norms import Norm
from halfseen.parts.running import whole_mean
from halfseen.parts.weak import WeakPass, with_weak


@dataclass(frozen=True)
class Config(Aligned):
    align: bool = True  # false: the ablation without distribution alignment
    # predictions: E of labelled images, the paper's
    align_to: Literal["uniform", "labels", "estimate", "predictions"] = "predictions"
    align_decay: float = 0.999  # of both E
    tau: float = 0.9  # the threshold as a share of the mean confidence on labelled images
    relative: bool = True  # false: the ablation c_tau = tau
    interpolate: bool = True  # false: the ablation Z_x = Z'_x, one forward less
    hard: bool = True  # false: q itself is taught
    lambda_u: float = 1.0  # weight of the unlabelled term, at the end of its warm-up
    warm_up: bool = True  # false: mu = 1 throughout
    labelled_weight: float = 1.0  # of each of the two labelled terms; the release: 0.5
    decay: float = 0.999  # of the average that is evaluated
    norm: Norm = (
        "measured"  # batch-norm statistics of what is scored: on clean training images, or as the releases have
    )
    weak_pass: WeakPass = "joint"  # rows that the weak views are normalised with: halfseen/parts/weak.py
    optim: Optim = Optim()  # FixMatch's; the release: weight decay 0.001


class AdaMatch(Method[Config]):
    batch = (64, 192)
    labelled_in_unlabelled = True

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        self.net = task.make_net()
        self.average = Ema(self.net)
        self.align = Align(cfg, task, predictions=True)

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        cfg, n = self.cfg, len(batch.x)
        x = torch.cat([self.labelled_view(batch.x), self.strong(batch.x)])
        weak, strong = self.weak(batch.u), self.strong(batch.u)
        Z_x, Z_w, Z_s = with_weak(self.net, x, weak, strong, cfg.weak_pass)
        if cfg.interpolate:
            with frozen_batchnorm(self.net):
                alone = together(self.net, x)[0]
            Z_x = self.interpolated(Z_x, alone)

        p_x = probabilities(Z_x[:n].detach())  # [B, C]
        q = self.align(probabilities(Z_w), batch.y, labelled=p_x)  # [U, C]
        c_tau = self.threshold(p_x)
        kept = q.amax(1) >= c_tau

        weak_x, strong_x = cross_entropy(Z_x[:n], batch.y), cross_entropy(Z_x[n:], batch.y)
        L_u = (kept * cross_entropy(Z_s, q.argmax(1) if cfg.hard else q)).mean()
        terms = {"L_x": cfg.labelled_weight * (weak_x + strong_x).mean(), "L_u": self.mu(clock) * cfg.lambda_u * L_u}
        learn_strengths(self.strong, self.average, batch.x, batch.y)
        return Losses(terms, {"c_tau": c_tau} | self.align.stats(), Unlabelled(Z_s, q, kept, view=weak))

    def interpolated(self, joint: Tensor, alone: Tensor) -> Tensor:
        """Z_x [2B, C]: lambda Z' + (1 - lambda) Z'', with gradient into both."""
        views = [self.task.draws.uniform(len(joint) // 2, joint.shape[1]) for _ in range(2)]
        return torch.lerp(alone, joint, torch.cat(views).to(joint.device, joint.dtype))

    def threshold(self, p_x: Tensor) -> Tensor:
        """c_tau, from the probabilities of the labelled rows [B, C]."""
        return self.cfg.tau * (whole_mean(p_x.amax(1).mean()) if self.cfg.relative else p_x.new_ones(()))

    def mu(self, clock: Clock) -> float:
        return 0.5 - math.cos(min(math.pi, 2 * math.pi * clock.progress)) / 2 if self.cfg.warm_up else 1.0

    def after_step(self, clock: Clock) -> None:
        self.average.follow(self.net, early(self.cfg.decay, clock.step), buffers=self.cfg.norm)

    def predictors(self) -> dict[str, nn.Module]:
        return {"average": self.average, "net": self.net}
