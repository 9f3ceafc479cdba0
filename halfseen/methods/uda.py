"""UDA, unsupervised data augmentation: Xie et al. 2020, arXiv:1904.12848.

    L_s = 1/|B_t| sum_{b in B_t} H(y_b, p(a(x_b))),   B_t = {b: p_{y_b}(a(x_b)) <= eta_t}                   (TSA)
    eta_t = alpha_t (1 - 1/C) + 1/C,   alpha_t = t/T (linear), exp(5 (t/T - 1)) (exp), 1 - exp(-5 t/T) (log)
    L_u = 1/U sum_b 1[max p_b >= beta] H(softmax(z_b / tau), p(A(u_b))),   p_b = softmax z_b,  z_b = z(a(u_b))
    L   = L_s + lambda_u L_u        z_b without gradient; a weak, A strong view, C classes

TSA, training signal annealing, leaves out labelled images that the network is sure of already, and more of them the
earlier it is. Evaluated: the average of the weights (decay 0.999), and the network itself.

Departures:
- H is written for the paper's KL divergence: the gradient is the same, since the target has none.
- tsa is off by default, as in the paper's runs on pictures; confidence and temperature are those of its CIFAR-10 runs.
- An image with p = beta or p_y = eta is kept; the release compares strictly.
- weak_pass = separate: the weak views go through a forward of their own, see fixmatch. The average starts warm, with decay
  min((1+t)/(10+t), 0.999); the release evaluates the network itself.
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
from halfseen.parts.losses import cross_entropy, mean_of, probabilities
from halfseen.parts.norms import Norm
from halfseen.parts.sharpen import sharpen, temperature_is
from halfseen.parts.weak import WeakPass, with_weak


@dataclass(frozen=True)
class Config(Aligned):
    beta: float = 0.8  # confidence below which an image is discarded
    tau: float = 0.4  # temperature of the target
    lambda_u: float = 1.0  # weight of the unlabelled term
    tsa: Literal["off", "linear", "log", "exp"] = (
        "off"  # how the labels are released; exp: latest, for the fewest labels
    )
    decay: float = 0.999  # of the average that is evaluated
    norm: Norm = (
        "measured"  # batch-norm statistics of what is scored: on clean training images, or as the releases have
    )
    weak_pass: WeakPass = "separate"  # rows that the weak views are normalised with: halfseen/parts/weak.py
    optim: Optim = Optim()  # FixMatch's


class UDA(Method[Config]):
    labelled_in_unlabelled = True

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        temperature_is(cfg.tau)
        self.net = task.make_net()
        self.average = Ema(self.net)
        self.align = Align(cfg, task)

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        weak, strong = self.weak(batch.u), self.strong(batch.u)
        logits_x, logits_w, logits_s = with_weak(
            self.net, self.labelled_view(batch.x), weak, strong, self.cfg.weak_pass
        )
        p = self.align(probabilities(logits_w), batch.y)  # [U, C]
        target = sharpen(p, self.cfg.tau)
        kept = p.amax(1) >= self.cfg.beta

        released = self.released(logits_x, batch.y, clock.progress)
        L_s = mean_of(released, cross_entropy(logits_x, batch.y))
        L_u = (kept * cross_entropy(logits_s, target)).mean()
        learn_strengths(self.strong, self.average, batch.x, batch.y)
        stats = self.align.stats()
        if self.cfg.tsa != "off":
            stats["released"] = released.float().mean()
        taught = Unlabelled(logits_s, target, kept, view=weak)
        return Losses({"L_s": L_s, "L_u": self.cfg.lambda_u * L_u}, stats, taught)

    def released(self, logits_x: Tensor, y: Tensor, progress: float) -> Tensor:
        """Bool [B]: B_t."""
        if self.cfg.tsa == "off":
            return torch.ones_like(y, dtype=torch.bool)
        p_y = probabilities(logits_x.detach()).gather(1, y.unsqueeze(1)).squeeze(1)
        return p_y <= self.eta(progress)

    def eta(self, progress: float) -> float:
        """The greatest p_y of a labelled image that is trained on, when this share of training is over."""
        grown = {
            "linear": progress,
            "exp": math.exp(5 * (progress - 1)),
            "log": 1 - math.exp(-5 * progress),
        }[self.cfg.tsa]
        C = self.task.classes
        return grown * (1 - 1 / C) + 1 / C

    def after_step(self, clock: Clock) -> None:
        self.average.follow(self.net, early(self.cfg.decay, clock.step), buffers=self.cfg.norm)

    def predictors(self) -> dict[str, nn.Module]:
        return {"average": self.average, "net": self.net}
