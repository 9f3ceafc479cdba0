"""Deep Co-Training: Qiao et al. 2018, "Deep co-training for semi-supervised image recognition", ECCV, arXiv:1803.05984.

    L_sup = CE(p_1(x), y) + CE(p_2(x), y)                                                                (1)
    L_cot = mean_U [H((p_1 + p_2)/2) - H(p_1)/2 - H(p_2)/2]                                              (3)
    L_dif = mean_{L,U} H(p_1(x), p_2(g_1(x))) + H(p_2(x), p_1(g_2(x)))                                   (5)
    L     = L_sup + w(t) (lambda_cot L_cot + lambda_dif L_dif)

g_i(x) = x + eps sign grad_x CE(p_i(x), y), y the label, or of an unlabelled image argmax p_i: an adversarial example of
network i, which the other one must withstand, so that the two do not become one. The attack's passes are in evaluation
mode and leave no gradient. H(p, q) is the cross-entropy, with gradient to both unless detach_target; w(t) is
exp(-5 (1 - min(t, T)/T)^2), T the share `ramp` of training.

Evaluated: Net 1, and Net 2.

Departures:
- Both networks learn the same labelled rows, each in a view of its own; the paper draws two labelled batches. Unlabelled
  rows come in one view for both, since their predictions are compared.
- eps is in the scale that the network sees: unset it is .02 of pixels in [0, 1] divided by a deviation of .31 for grey
  pictures and of .25 for colour ones; .08 for vectors. Nothing is clipped.
- The rate falls as (1 + cos(pi t/T))/2 from .1, which is the release's .05 (1 + cos).
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from halfseen.errors import UserError
from halfseen.method import Batch, Clock, Losses, Method, Plan, Stage, Task, Unlabelled
from halfseen.nets.net import Net
from halfseen.optim import Optim
from halfseen.parts.adversarial import fgsm, usual_fgsm
from halfseen.parts.forward import together
from halfseen.parts.losses import cross_entropy, jensen_shannon, probabilities
from halfseen.parts.norms import RunningNorm
from halfseen.parts.ramps import exp_rampup


@dataclass(frozen=True)
class Config:
    lambda_cot: float = 10.0  # weight of L_cot, at the end of its ramp
    lambda_dif: float = 0.5  # weight of L_dif
    ramp: float = 80 / 600  # share of training over which both rise
    eps: float | None = None  # change of each number of an adversarial example; none: by the images' shape
    detach_target: bool = False  # True: p_i(x) in L_dif is constant
    norm: RunningNorm = "measured"  # batch-norm statistics of what is scored; copied: the running ones
    optim: Optim = Optim(lr=0.1, schedule="cos", nesterov=False, weight_decay=1e-4, decay_all=True)  # of both networks


class DeepCoTraining(Method[Config]):
    epoch = "unlabeled_pass"
    batch = (50, 50)
    views = ("ds", "ds")

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        if cfg.eps is not None and cfg.eps <= 0:
            raise UserError(f"eps={cfg.eps}: the change of an adversarial example must be more than 0")
        self.eps = usual_fgsm(task.shape) if cfg.eps is None else cfg.eps
        self.nets = nn.ModuleList(task.make_net() for _ in range(2))

    @property
    def pair(self) -> tuple[Net, Net]:
        return cast(Net, self.nets[0]), cast(Net, self.nets[1])

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        cfg, pair, n = self.cfg, self.pair, len(batch.x)
        u = self.weak(batch.u)
        rows = [torch.cat([self.labelled_view(batch.x), u]) for _ in pair]  # [B + U, ...] of each network
        logits = [together(net, x)[0] for net, x in zip(pair, rows, strict=True)]
        terms = {f"{i + 1}/CE": cross_entropy(a[:n], batch.y).mean() for i, a in enumerate(logits)}
        w = exp_rampup(clock.progress, cfg.ramp)
        L_cot = jensen_shannon(logits[0][n:], logits[1][n:])
        terms["L_cot"] = w * cfg.lambda_cot * L_cot.mean()
        for i, (net, x, a) in enumerate(zip(pair, rows, logits, strict=True)):
            y = torch.cat([batch.y, a[n:].argmax(1)])
            withstands = together(pair[1 - i], fgsm(net, x, y, self.eps))[0]
            p = probabilities(a.detach() if cfg.detach_target else a)
            terms[f"{2 - i}/L_dif"] = w * cfg.lambda_dif * cross_entropy(withstands, p).mean()
        said = [a[n:].argmax(1) for a in logits]
        stats = {"agreement": (said[0] == said[1]).float().mean()}
        p = probabilities(logits[1][n:].detach())
        return Losses(terms, stats, Unlabelled(logits[0][n:], p, torch.ones_like(batch.u_ids, dtype=torch.bool)))

    def stages(self, plan: Plan) -> list[Stage]:
        return [Stage("train", self.loss, plan.steps, {"nets": self.cfg.optim}, self.epoch)]

    def predictors(self) -> dict[str, nn.Module]:
        return {"net1": self.pair[0], "net2": self.pair[1]}
