"""Pseudo-Label: Lee 2013, "Pseudo-Label: the simple and efficient semi-supervised learning method", ICML workshop.

    L   = 1/B sum_b H(y_b, p(x_b)) + alpha(t) 1/U sum_b m_b H(argmax p(u_b), p(u_b))       (15)
    alpha(t) = 0 for t < T1;  alpha_f (t - T1)/(T2 - T1) for T1 <= t < T2;  alpha_f after       (16)

rule = "threshold" (default): m_b = 1[max p(u_b) >= tau], alpha_f = 1, T1 = 0 and T2 = 40% of training, the protocol in
which WRN tables quote the method; rule = "original": m_b = 1, alpha_f = 3, T1 and T2 = 1/6 and all of training when it
lasts as the paper's 600 epochs (100 and 600). The labels come from the pass that is trained, without gradient.

Evaluated: the average of the weights, and the network itself.

Departures:
- The paper's epochs 100 and 600 are given as shares of training, so that they mean the same at any length.
- The average of the weights is not in the paper; the network itself is the paper's predictor.
- batch_norm_on_u = false (the WRN protocol) leaves the running statistics to the labelled pass alone.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from halfseen.method import Batch, Clock, Losses, Method, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.align import Align, Aligned
from halfseen.parts.ema import Ema, early
from halfseen.parts.forward import frozen_batchnorm, together
from halfseen.parts.losses import cross_entropy, probabilities
from halfseen.parts.norms import Norm
from halfseen.parts.ramps import linear_rampup
from halfseen.parts.weak import WeakPass, with_weak


@dataclass(frozen=True)
class Config(Aligned):
    rule: Literal["threshold", "original"] = "threshold"
    tau: float = 0.95  # threshold: confidence below which an image is discarded
    alpha: float | None = None  # final weight; None: 1 for threshold, 3 for original
    ramp_start: float | None = None  # share of training; None: 0 for threshold, 1/6 for original
    ramp_end: float | None = None  # None: 0.4 for threshold, 1 for original
    weak_pass: WeakPass = "separate"  # separate, joint: the trained pass teaches; eval, with_labelled: one before it
    batch_norm_on_u: bool = False  # do unlabelled rows move the running statistics of batch norm?
    decay: float = 0.999
    norm: Norm = (
        "measured"  # batch-norm statistics of what is scored: on clean training images, or as the releases have
    )
    optim: Optim = Optim()


class PseudoLabel(Method[Config]):
    batch = (64, 64)

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        self.net = task.make_net()
        self.average = Ema(self.net)
        self.align = Align(cfg, task)

    def alpha(self, progress: float) -> float:
        original = self.cfg.rule == "original"
        final = self.cfg.alpha if self.cfg.alpha is not None else (3.0 if original else 1.0)
        T1 = self.cfg.ramp_start if self.cfg.ramp_start is not None else (1 / 6 if original else 0.0)
        T2 = self.cfg.ramp_end if self.cfg.ramp_end is not None else (1.0 if original else 0.4)
        return final * linear_rampup(progress - T1, T2 - T1) if progress >= T1 else 0.0

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        logits_x, logits_w, logits_u = self.passes(self.labelled_view(batch.x), self.weak(batch.u))
        q = self.align(probabilities(logits_w), batch.y)  # [U, K]
        confidence, pseudo = q.max(1)
        kept = confidence >= (self.cfg.tau if self.cfg.rule == "threshold" else 0.0)

        L_s = cross_entropy(logits_x, batch.y).mean()
        L_u = (kept * cross_entropy(logits_u, pseudo)).mean()
        terms = {"L_s": L_s, "L_u": self.alpha(clock.progress) * L_u}
        return Losses(terms, self.align.stats(), unlabelled=Unlabelled(logits_u, q, kept))

    def passes(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of labelled rows, of unlabelled ones for teaching, without gradient, and of these for training."""
        if self.cfg.weak_pass in ("eval", "with_labelled"):
            return with_weak(self.net, x, u, u, self.cfg.weak_pass)
        if self.cfg.weak_pass == "joint":
            logits_x, logits_u = together(self.net, x, u)
        else:
            logits_x = self.net(x)
            with nullcontext() if self.cfg.batch_norm_on_u else frozen_batchnorm(self.net):
                logits_u = self.net(u)
        return logits_x, logits_u.detach(), logits_u

    def after_step(self, clock: Clock) -> None:
        self.average.follow(self.net, early(self.cfg.decay, clock.step), buffers=self.cfg.norm)

    def predictors(self) -> dict[str, nn.Module]:
        return {"average": self.average, "net": self.net}
