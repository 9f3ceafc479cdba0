"""VAdD, virtual adversarial dropout: Park et al. 2018, AAAI, arXiv:1707.03631.

    J = grad_e KL(p(u'; e) || sg p(u))  at e = 1                     e: a mask on the pooled features, u, u' two weak views
    e* = the floor(delta d) entries with the largest |J| among those with J < 0 set to 0, times d / sum e
    L  = CE_L + lambda(t) D(p(u), p(u'; e*)) + beta mean_U H(p(u))          D = KL, or the squared error (QE)
    with vat = true also  alpha KL(sg p(u) || p(u + r)),  r as in VAT

sg: without gradient. The gradient of D runs through both predictions, only the mask is constant; lambda(t) = weight
exp(-5 (1 - min(t, T)/T)^2), T the share `ramp` of training.

Evaluated: the network.

Departures:
- u' is seen with batch-norm statistics of its own rows, which are not remembered; the release remembers them.
- The squared error is the mean over classes. The mask lies behind the network's own dropout, where it has one.
- A tie of two |J| is broken, so that the number of flips is the one asked for; the release flips neither.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from halfseen.errors import UserError
from halfseen.method import Batch, Clock, Losses, Method, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.adversarial import lengths, noise_state, virtual_adversarial
from halfseen.parts.adversarial_dropout import adversarial_mask
from halfseen.parts.forward import frozen_batchnorm, frozen_parameters
from halfseen.parts.losses import cross_entropy, entropy, kl, probabilities, squared
from halfseen.parts.norms import RunningNorm
from halfseen.parts.ramps import exp_rampup


@dataclass(frozen=True)
class Config:
    divergence: Literal["kl", "qe"] = "kl"
    weight: float | None = None  # of D, at the end of its ramp; none: 1 for kl, 25 for qe
    delta: float = 0.05  # share of the features that may be dropped
    entmin: float = 1.0  # beta, of the entropy
    ramp: float = 80 / 300  # share of training over which the weight of D rises
    vat: bool = False  # True: VAT's term besides
    alpha: float = 1.0  # its weight
    eps: float | None = None  # length of r in the scale that the network sees; None: by the images' shape
    xi: float | None = None  # step of VAT's finite difference; None: eps/10
    norm: RunningNorm = "measured"  # batch-norm statistics of what is scored; copied: the running ones
    optim: Optim = Optim("adam", lr=0.003, schedule="te", beta1_end=0.5, weight_decay=0.0)


class VAdD(Method[Config]):
    epoch = 400
    batch = (32, 128)
    views = ("te", "te")
    labelled_in_unlabelled = True

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        if not 0 < cfg.delta < 1:
            raise UserError(f"delta={cfg.delta}: the share of the features that may be dropped lies between 0 and 1")
        self.net = task.make_net()
        if cfg.delta * self.net.num_features < 1:
            raise UserError(
                f"delta={cfg.delta} of {self.net.num_features} features is less than one, so nothing would be dropped; take "
                f"--set method.delta={2 / self.net.num_features:.2g}"
            )
        self.eps, self.xi = lengths(cfg.eps, cfg.xi, task.shape)

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        cfg, net, head = self.cfg, self.net, self.net.head
        u, again = self.weak(batch.u), self.weak(batch.u)
        logits_x = net(self.labelled_view(batch.x))
        noise = noise_state(u.device)
        with frozen_batchnorm(net):
            logits_u = net(u)
            features = net.features(again)  # [U, d]
            with frozen_parameters(net):
                mask = adversarial_mask(features, lambda f: kl(head(f), logits_u.detach()), cfg.delta)
            logits_e = head(features * mask)

        if cfg.divergence == "kl":
            D = kl(logits_u, logits_e)
        else:
            D = squared(probabilities(logits_u), probabilities(logits_e))
        usual = 1.0 if cfg.divergence == "kl" else 25.0
        w = exp_rampup(clock.progress, cfg.ramp) * (usual if cfg.weight is None else cfg.weight)
        terms = {"L_s": cross_entropy(logits_x, batch.y).mean(), "L_add": w * D.mean()}
        if cfg.entmin > 0:
            terms["L_ent"] = cfg.entmin * entropy(logits_u).mean()
        if cfg.vat:
            LDS = virtual_adversarial(net, u, logits_u, self.task.draws, self.eps, self.xi, noise)
            terms["L_lds"] = cfg.alpha * LDS.mean()
        p = probabilities(logits_u.detach())
        dropped = (mask == 0).to(p.dtype).mean()
        return Losses(terms, {"dropped": dropped}, Unlabelled(logits_u, p, torch.ones_like(p[:, 0], dtype=torch.bool)))

    def predictors(self) -> dict[str, nn.Module]:
        return {"net": self.net}
