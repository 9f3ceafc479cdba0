"""Temporal Ensembling: Laine & Aila 2017, "Temporal ensembling for semi-supervised learning", arXiv:1610.02242, Algorithm 2.

    L = CE(z_b, y_b) + w(t) mean ||z_i - z~_i||^2             z = softmax f(a(x)), a a weak view
    Z_i <- alpha Z_i + (1 - alpha) z_i,   z~_i = Z_i/(1 - alpha^{n_i})          n_i visits of image i

z~ is without gradient; ||.||^2 is the mean over classes. w(t) = w_max exp(-5 (1 - min(t, T)/T)^2), T the share `ramp` of
training, or linear; with ce_norm = batch, which divides the labelled sum by all rows as the release does, w_max is
weight N_L/N. Before its first visit an image has no target, so that in the first epoch the second term is 0.

Evaluated: the network.

Departures:
- Batches hold as many labelled as unlabelled rows, whose CE is a mean and whose w_max is the weight; mixed = true draws them
  from all images, as the paper does (docs/methods/temporal_ensembling.md has its recipe).
- Z_i moves at every visit of image i and not at the end of an epoch, which is the same where an epoch visits it once: its
  target is read first. Labelled images come more often; n_i counts the visits of each image.
- With `align` the targets of unlabelled images are aligned, Z is not.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from halfseen.errors import UserError
from halfseen.method import Batch, Clock, Epoch, Losses, Method, Plan, Stage, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.align import Align, Aligned
from halfseen.parts.consistency import CeNorm, RampForm, both_kinds, of_labelled, rising, w_max
from halfseen.parts.ensemble import ensembled, remember
from halfseen.parts.losses import cross_entropy, mean, probabilities, squared
from halfseen.parts.memory import Memory
from halfseen.parts.norms import RunningNorm


@dataclass(frozen=True)
class Config(Aligned):
    weight: float = 30.0  # of the consistency term, at the end of its ramp; 100 on CIFAR-100
    alpha: float = 0.6  # decay of Z
    ramp: float = 80 / 300  # share of training over which the weight rises
    ramp_form: RampForm = "exp"
    consistency_on: Literal["unlabelled", "all"] = "all"
    ce_norm: CeNorm = "labelled"  # batch: the labelled sum over all rows, and the weight times N_L/N: the paper's
    batch_norm_on_u: bool = True  # do unlabelled rows share the labelled ones' forward and move the running statistics?
    mixed: bool = False  # batches are drawn from all images together, as the paper's
    norm: RunningNorm = "measured"  # batch-norm statistics of what is scored; copied: the running ones
    optim: Optim = Optim("adam", lr=0.003, schedule="te", beta1_end=0.5, weight_decay=0.0)  # lr .001 on SVHN


class TemporalEnsembling(Method[Config]):
    epoch = "unlabeled_pass"
    batch = (50, 50)
    views = ("te", "te")

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        if not 0 <= cfg.alpha < 1:
            raise UserError(f"alpha={cfg.alpha}: the decay of the temporal ensemble lies between 0 and 1, 1 excluded")
        self.net = task.make_net()
        self.align = Align(cfg, task)  # of the unlabelled rows' targets
        self.Z = Memory(task.samples, task.classes)
        self.n = Memory(task.samples)

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        x, u = self.labelled_view(batch.x), self.weak(batch.u)
        logits = torch.cat(both_kinds(self.net, x, u, self.cfg.batch_norm_on_u or self.cfg.mixed))
        logits_x, logits_u = logits.tensor_split([len(x)])
        z_x, z_u = probabilities(logits).tensor_split([len(x)])
        target_x, valid_x = ensembled(self.Z, self.n, batch.x_ids, self.cfg.alpha)
        target_u, valid_u = ensembled(self.Z, self.n, batch.u_ids, self.cfg.alpha)
        target_u = self.align(torch.where(valid_u.unsqueeze(1), target_u, z_u.detach()), batch.y)
        rows = valid_u * squared(z_u, target_u)
        if self.cfg.consistency_on == "all":
            rows = torch.cat([valid_x * squared(z_x, target_x), rows])

        CE = of_labelled(cross_entropy(logits_x, batch.y), len(x) + len(u), self.cfg.ce_norm)
        terms = {"CE": CE, "J": self.weight(clock.progress) * mean(rows)}
        # both kinds at once: of a mixed batch each process has as many rows in all
        z = torch.cat([z_x, z_u]).detach()
        remember(self.Z, self.n, torch.cat([batch.x_ids, batch.u_ids]), z, self.cfg.alpha)
        return Losses(terms, self.align.stats(), Unlabelled(logits_u, target_u, valid_u))

    def weight(self, progress: float) -> float:
        top = w_max(self.cfg.weight, self.cfg.ce_norm, self.task)
        return rising(top, progress, self.cfg.ramp, self.cfg.ramp_form)

    def stages(self, plan: Plan) -> list[Stage]:
        epoch: Epoch = "mixed_pass" if self.cfg.mixed else self.epoch
        return [Stage("train", self.loss, plan.steps, {"net": self.cfg.optim}, epoch)]

    def predictors(self) -> dict[str, nn.Module]:
        return {"net": self.net}
