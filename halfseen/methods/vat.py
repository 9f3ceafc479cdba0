"""VAT, virtual adversarial training, with entropy: Miyato et al. 2018, arXiv:1704.03976.

    LDS(x) = KL(sg p(x) || p(x + r)),   r = argmax_{||r|| <= eps} KL(p(x) || p(x + r))
    r = eps g/||g||,   g = grad_r KL(p(x) || p(x + r)) at r = xi d,   d a random direction         (one power iteration)
    L = CE_L + w(t) (alpha mean_U LDS + beta mean_U H(p(x)))          H: entropy, beta > 0 is VAT+EntMin

sg: without gradient. Evaluated: the network.

Departures:
- xi is a tenth of eps; the reference takes 1e-6, which rounding swallows in float32 where the passes share their masks, and
  bf16 needs yet longer steps (cosines measured: parts/adversarial.py). method.xi=1e-6 is the reference's.
- eps has no single value in the paper (chosen per data set): unset, it follows the shape of the images; the table of the
  values by data set and input scale is in docs/methods/vat.md.
- The reference's CIFAR runs see images after ZCA (--zca), its SVHN runs have batch norm on the logits (cnn13's option
  net.logits_norm=true); neither is the default here.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from halfseen.method import Batch, Clock, Losses, Method, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.adversarial import lengths, noise_state, virtual_adversarial
from halfseen.parts.forward import frozen_batchnorm
from halfseen.parts.losses import cross_entropy, entropy, probabilities
from halfseen.parts.norms import RunningNorm
from halfseen.parts.ramps import linear_rampup


@dataclass(frozen=True)
class Config:
    weight: float = 1.0  # alpha, of LDS; .3 in the WRN protocol
    entmin: float = 1.0  # beta, of the entropy; .06 in the WRN protocol, 0: without
    ramp: float = 0.0  # share of training over which both weights rise; .4 in the WRN protocol
    eps: float | None = None  # length of r in the scale that the network sees; None: by the images' shape, see RADII
    xi: float | None = None  # step of the finite difference; None: eps/10
    running_stats: Literal["labelled", "all"] = "labelled"  # rows that move batch norm's; the reference: labelled
    norm: RunningNorm = "measured"  # batch-norm statistics of what is scored; copied: the running ones
    optim: Optim = Optim(
        "adam", lr=0.001, schedule="linear(0.92)", beta1_end=0.5, weight_decay=0.0
    )  # falls from 460/500


class VAT(Method[Config]):
    epoch = 400
    batch = (32, 128)
    views = ("te", "te")
    labelled_in_unlabelled = True

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        self.net = task.make_net()
        self.eps, self.xi = lengths(cfg.eps, cfg.xi, task.shape)

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        x, u = self.labelled_view(batch.x), self.weak(batch.u)
        logits_x = self.net(x)
        noise = noise_state(u.device)
        with frozen_batchnorm(self.net) if self.cfg.running_stats == "labelled" else nullcontext():
            logits_u = self.net(u)
        w = linear_rampup(clock.progress, self.cfg.ramp)
        terms = {"L_s": cross_entropy(logits_x, batch.y).mean()}
        LDS = virtual_adversarial(self.net, u, logits_u, self.task.draws, self.eps, self.xi, noise)
        terms["L_lds"] = w * self.cfg.weight * LDS.mean()
        if self.cfg.entmin > 0:
            terms["L_ent"] = w * self.cfg.entmin * entropy(logits_u).mean()
        p = probabilities(logits_u.detach())  # [U, K]
        return Losses(terms, unlabelled=Unlabelled(logits_u, p, torch.ones_like(p[:, 0], dtype=torch.bool)))

    def predictors(self) -> dict[str, nn.Module]:
        return {"net": self.net}
