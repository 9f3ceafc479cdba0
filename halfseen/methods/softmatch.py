"""SoftMatch: Chen et al. 2023, arXiv:2301.10921.

    mu_t = d mu_{t-1} + (1 - d) mean_b c_b,   var_t = d var_{t-1} + (1 - d) U/(U - 1) mean_b (c_b - mean c)^2
           c_b = max UA(p_b),   mu_0 = 1/C,   var_0 = 1
    lambda_b = lambda_max exp(-n^2 (c_b - mu_t)^2 / (2 var_t)) if c_b < mu_t, else lambda_max
    UA(p) = Normalize(p (1/C) / m)          m: running mean of p                        (uniform alignment)
    L_u = 1/U sum_b lambda_b H(argmax p_b, p(A(u_b))),   p_b = p(a(u_b)) without gradient
    L   = 1/B sum_b H(y_b, p(a(x_b))) + lambda_u L_u

A truncated Gaussian instead of a threshold: every image teaches, the less the more its confidence lies below the mean. The
alignment touches the weights alone; what is taught is argmax p. a weak, A strong view, C classes.
Evaluated: the average of the weights (decay 0.999), and the network itself.

Departures:
- The running means mu and var start warm, d = min((1 + t)/(10 + t), 0.999): from a variance of 1 at 0.999 all weights
  would be nearly lambda_max for thousands of steps (warm = false: the paper's).
- n = 1 is the paper's formula; the public code (USB) has n = 2.
- m is corrected for its start; the public code begins with the first batch's mean.
- weak_pass = separate: the weak views go through a forward of their own, see fixmatch. The average starts warm, too.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.method import Batch, Clock, Losses, Method, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.align import Align, Aligned
from halfseen.parts.cta import learn_strengths
from halfseen.parts.ema import Ema, early
from halfseen.parts.losses import cross_entropy, probabilities
from halfseen.parts.norms import Norm
from halfseen.parts.running import Running, moments
from halfseen.parts.weak import WeakPass, with_weak


@dataclass(frozen=True)
class Config(Aligned):
    align: bool = True  # uniform alignment; false: c_b = max p_b
    align_to: Literal["uniform", "labels", "estimate", "predictions"] = "uniform"
    align_decay: float = 0.999  # of m
    align_labels: bool = False  # true: what is taught is argmax UA(p), too
    lambda_u: float = 1.0  # weight of L_u
    lambda_max: float = 1.0  # greatest weight of an image
    n: float = 1.0  # how many deviations of c the Gaussian's is divided by; the public code: 2
    momentum: float = 0.999  # d, of mu and var
    warm: bool = True  # false: d from the first step on
    decay: float = 0.999  # of the average that is evaluated
    norm: Norm = (
        "measured"  # batch-norm statistics of what is scored: on clean training images, or as the releases have
    )
    weak_pass: WeakPass = "separate"  # rows that the weak views are normalised with: halfseen/parts/weak.py
    optim: Optim = Optim()  # FixMatch's


class SoftMatch(Method[Config]):
    labelled_in_unlabelled = True

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        if cfg.n <= 0:
            raise UserError(f"n={cfg.n:g}: the Gaussian's deviation is divided by a number above 0; take 1, or 2")
        self.net = task.make_net()
        self.average = Ema(self.net)
        self.align = Align(cfg, task)
        self.gauss = Running(torch.tensor([1 / task.classes, 1.0]), cfg.momentum, cfg.warm)  # mu, var

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        cfg = self.cfg
        weak, strong = self.weak(batch.u), self.strong(batch.u)
        logits_x, logits_w, logits_s = with_weak(self.net, self.labelled_view(batch.x), weak, strong, cfg.weak_pass)
        p = probabilities(logits_w)  # [U, C]
        aligned = self.align(p, batch.y)
        weights = self.weights(aligned.amax(1), clock.step)
        target = aligned if cfg.align_labels else p

        L_s = cross_entropy(logits_x, batch.y).mean()
        L_u = (weights * cross_entropy(logits_s, target.argmax(1))).mean()
        learn_strengths(self.strong, self.average, batch.x, batch.y)
        mu, var = self.gauss.value.clone()
        stats = {"weight": weights.mean(), "mu": mu, "sigma": var.sqrt()} | self.align.stats()
        taught = Unlabelled(logits_s, target, torch.ones_like(weights, dtype=torch.bool), view=weak)
        return Losses({"L_s": L_s, "L_u": cfg.lambda_u * L_u}, stats, taught)

    def weights(self, c: Tensor, step: int) -> Tensor:
        """lambda_b [U], after mu and var have followed the confidences c [U]."""
        mu, var = self.gauss(moments(c), step)
        below = (c - mu).clamp_max(0)
        tiny = torch.finfo(var.dtype).tiny  # all confidences were alike, all the time
        return self.cfg.lambda_max * torch.exp(-((self.cfg.n * below).square()) / (2 * var).clamp_min(tiny))

    def after_step(self, clock: Clock) -> None:
        self.average.follow(self.net, early(self.cfg.decay, clock.step), buffers=self.cfg.norm)

    def predictors(self) -> dict[str, nn.Module]:
        return {"average": self.average, "net": self.net}
