"""Pi model: Laine & Aila 2017, "Temporal ensembling for semi-supervised learning", arXiv:1610.02242, Algorithm 1.

    L = CE(z_b, y_b) + w(t) mean ||z_i - z'_i||^2          z, z' = softmax f(a(x)), softmax f(a'(x))

a, a' are two weak views, with dropout and noise of their own; ||.||^2 is the mean over classes. The gradient runs through
both branches. w(t) = w_max min(t, T)/T, or w_max exp(-5 (1 - min(t, T)/T)^2), T the share `ramp` of training; with
ce_norm = batch, which divides the labelled sum by all rows as the release does, w_max is weight N_L/N.

Evaluated: the average of the weights, and the network itself.

Departures:
- The default is the WRN protocol, under which this method stands in the tables beside FixMatch: weight 10 with a linear
  ramp over 40% of training, the second term on unlabelled rows, mean CE, and unlabelled rows that are normalised by their
  own batch and leave the running statistics alone. The paper's recipe is in docs/methods/pi_model.md.
- The running statistics follow the first branch alone; the two branches are flipped apart (the release flips both alike).
- The average of the weights is not in the paper; the network itself is the paper's predictor.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from halfseen.method import Batch, Clock, Epoch, Losses, Method, Plan, Stage, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.consistency import CeNorm, RampForm, both_kinds, of_labelled, rising, w_max
from halfseen.parts.ema import Ema, early
from halfseen.parts.forward import frozen_batchnorm, together
from halfseen.parts.losses import cross_entropy, mean, probabilities, squared
from halfseen.parts.norms import Norm


@dataclass(frozen=True)
class Config:
    weight: float = 10.0  # of the consistency term, at the end of its ramp; 100 in the paper
    ramp: float = 0.4  # share of training over which the weight rises; 80 of 300 epochs in the paper
    ramp_form: RampForm = "linear"  # exp: the paper's
    consistency_on: Literal["unlabelled", "all"] = "unlabelled"  # all: the paper's
    ce_norm: CeNorm = "labelled"  # batch: the labelled sum over all rows, and the weight times N_L/N: the paper's
    branches: Literal["both", "first"] = "both"  # that get a gradient; first: z' is constant, as in TorchSSL
    skip_first_epoch: bool = False  # w = 0 in it, as Temporal Ensembling's is
    batch_norm_on_u: bool = False  # do unlabelled rows move the running statistics of batch norm? (true in the paper)
    mixed: bool = False  # batches are drawn from all images together, as the paper's
    decay: float = 0.999  # of the average that is evaluated
    norm: Norm = "measured"  # batch-norm statistics of what is scored: on clean training images, or running ones
    optim: Optim = Optim()


class PiModel(Method[Config]):
    epoch = "unlabeled_pass"
    batch = (64, 64)
    views = ("fm", "fm")

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        self.net = task.make_net()
        self.average = Ema(self.net)

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        one_forward = self.cfg.batch_norm_on_u or self.cfg.mixed  # a mixed batch may have few labelled rows, or none
        logits_x, logits_u = both_kinds(self.net, self.labelled_view(batch.x), self.weak(batch.u), one_forward)
        view = self.weak(batch.u)
        again_x, again_u = self.second(self.labelled_view(batch.x), view)
        rows = squared(probabilities(logits_u), probabilities(again_u))
        if self.cfg.consistency_on == "all":
            rows = torch.cat([squared(probabilities(logits_x), probabilities(again_x)), rows])

        CE = of_labelled(cross_entropy(logits_x, batch.y), len(batch.x) + len(batch.u), self.cfg.ce_norm)
        terms = {"CE": CE, "J": self.weight(clock) * mean(rows)}
        p = probabilities(again_u.detach())  # [U, K]
        return Losses(
            terms, unlabelled=Unlabelled(logits_u, p, torch.ones_like(batch.u_ids, dtype=torch.bool), view=view)
        )

    def second(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the second branch, of labelled rows (none where they have no part in it) and of unlabelled ones."""
        if self.cfg.consistency_on == "unlabelled":
            x = x[:0]
        with frozen_batchnorm(self.net), nullcontext() if self.cfg.branches == "both" else torch.no_grad():
            logits_x, logits_u = together(self.net, x, u)
        return logits_x, logits_u

    def weight(self, clock: Clock) -> float:
        if self.cfg.skip_first_epoch and clock.epoch == 0:
            return 0.0
        top = w_max(self.cfg.weight, self.cfg.ce_norm, self.task)
        return rising(top, clock.progress, self.cfg.ramp, self.cfg.ramp_form)

    def stages(self, plan: Plan) -> list[Stage]:
        epoch: Epoch = "mixed_pass" if self.cfg.mixed else self.epoch
        return [Stage("train", self.loss, plan.steps, {"net": self.cfg.optim}, epoch)]

    def after_step(self, clock: Clock) -> None:
        self.average.follow(self.net, early(self.cfg.decay, clock.step), buffers=self.cfg.norm)

    def predictors(self) -> dict[str, nn.Module]:
        return {"average": self.average, "net": self.net}
