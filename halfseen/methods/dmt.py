"""DMT, Dynamic Mutual Training: Feng et al. 2022, Pattern Recognition, arXiv:2004.08514; as its release trains classifiers.

    round 0       a network learns the labelled images
    round r       of the pool the share r/R of which it is most sure gets yhat_u = argmax q(u), c_u = max q(u);
                  then a fresh network learns with                                                   r = 1, ..., R
    w_u = p_yhat^g1   if argmax p(u) = yhat_u
          0           if they differ and max p(u) > c_u
          p_yhat^g2   otherwise                     labelled images: 1           g = gamma exp(-5 (1 - t)^2), t in the round
    L = mean_b w'_b CE(y'_b, p(x'_b))      x', y', w' = lambda (.)_i + (1 - lambda) (.)_j,   lambda ~ Beta(a, a), >= 1/2

q is the averaged network of the round before, p the network that learns, on the same rows unmixed and without gradient.
Labelled and chosen images come in streams of their own and are mixed with each other.

Evaluated: the average of the weights (decay .999), and the network itself.

Departures:
- All rows are seen weakly by default: under strong views a short round does not fit its labels (seen = strong: the paper's).
- The released average moves by .999 of the gap at every step, so it is the network: ema_bug = true. The default is a true
  average, which starts warm.
- Rounds are equally long. Confidences that equal the percentile are chosen.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.augment.mix import mix_partners, mixing_weights, mixup
from halfseen.errors import UserError
from halfseen.method import Batch, Clock, Data, Losses, Method, Plan, Stage, Task, Unlabelled, in_rounds
from halfseen.optim import Optim
from halfseen.parts.align import Align, Aligned
from halfseen.parts.ema import Ema, early
from halfseen.parts.losses import cross_entropy, probabilities
from halfseen.parts.memory import Memory
from halfseen.parts.norms import Norm
from halfseen.parts.ramps import exp_rampup
from halfseen.parts.rounds import ask, begin_anew
from halfseen.parts.select import most_sure
from halfseen.parts.weak import predict_only


@dataclass(frozen=True)
class Config(Aligned):
    seen: Literal["weak", "strong"] = "weak"  # view of all rows; strong: the paper's, which needs rounds of many epochs
    rounds: int = 5  # R, after the supervised one
    gamma1: float = 4.0  # power of the weight where both networks agree
    gamma2: float = 4.0  # where they do not, and the other one is surer
    mixup: float = 0.75  # a of mixup; 0: nothing is mixed
    decay: float = 0.999  # of the average that labels the next round and is evaluated
    ema_bug: bool = False  # True: the release's average, which is the network
    norm: Norm = (
        "measured"  # batch-norm statistics of what labels and is scored: on clean training images, or running ones
    )
    optim: Optim = Optim(lr=0.1, schedule="cos", nesterov=False)


class DMT(Method[Config]):
    epoch = "unlabeled_pass"
    batch = (64, 448)
    views = ("fm", "fm+ra")

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        if cfg.rounds < 1 or cfg.mixup < 0 or min(cfg.gamma1, cfg.gamma2) < 0:
            raise UserError(
                "dmt needs rounds >= 1, and mixup, gamma1 and gamma2 of at least 0; see halfseen explain dmt"
            )
        self.net = task.make_net()
        self.average = Ema(self.net)
        self.clean = task.view("none")
        self.view = self.weak if cfg.seen == "weak" else self.strong
        self.align = Align(cfg, task)  # of the pool's probabilities
        self.label = Memory(task.samples, dtype=torch.int64)  # yhat
        self.confidence = Memory(task.samples)  # c
        self.chosen = torch.empty(0, dtype=torch.int64)

    # ---- losses -----------------------------------------------------------------------------------------------------

    def supervised(self, batch: Batch, clock: Clock) -> Losses:
        x = self.view(batch.x)
        ones = torch.ones(len(x), device=x.device, dtype=x.dtype)
        return Losses({"L": self.mixed_loss(x, batch.y, ones)[0]})

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        x, u = self.view(batch.x), self.view(batch.u)
        yhat, c = self.label[batch.u_ids], self.confidence[batch.u_ids]
        p = probabilities(predict_only(self.net, torch.cat([x, u])))[len(x) :]  # [U, K]
        rise = exp_rampup(clock.progress, 1.0)
        w = dynamic_weight(p, yhat, c, rise * self.cfg.gamma1, rise * self.cfg.gamma2)
        weights = torch.cat([w.new_ones(len(x)), w])
        L, logits = self.mixed_loss(torch.cat([x, u]), torch.cat([batch.y, yhat]), weights)
        stats = {"weight": w.mean(), "agreement": (p.argmax(1) == yhat).float().mean()} | self.align.stats()
        told = F.one_hot(yhat, self.task.classes).float()
        return Losses({"L": L}, stats, Unlabelled(logits[len(x) :], told, w > 0))

    def mixed_loss(self, x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        """L, and the logits of the mixed rows."""
        told = torch.cat([F.one_hot(y, self.task.classes).to(x.dtype), w.to(x.dtype).unsqueeze(1)], 1)  # [n, K + 1]
        if self.cfg.mixup > 0:
            lam = mixing_weights(self.task.draws, self.cfg.mixup, len(x), per_image=False, near_first=True)
            x, told = mixup(x, told, lam, mix_partners(self.task.draws, len(x)))
        logits: Tensor = self.net(x)
        return (told[:, -1] * cross_entropy(logits, told[:, :-1])).mean(), logits

    # ---- rounds -----------------------------------------------------------------------------------------------------

    def begin_round(self, data: Data, r: int) -> None:
        ids = data.unlabelled.to(self.label.values.device)
        y = data.y[data.labelled].to(ids.device)
        q = self.align.pool(ask(self.average, data, ids, self.clean, self.cfg.norm), y)
        c, yhat = q.max(1)
        self.label.values[ids], self.confidence.values[ids] = yhat, c.to(self.confidence.values.dtype)
        self.chosen = ids[most_sure(c, r / self.cfg.rounds)]
        begin_anew(self.net, self.task.make_net, self.task.draws)

    def stages(self, plan: Plan) -> list[Stage]:
        optim = {"net": self.cfg.optim}
        chosen = lambda: self.chosen  # noqa: E731
        return in_rounds(
            plan.steps, self.cfg.rounds, self.supervised, self.loss, self.begin_round, chosen, optim, self.epoch
        )

    def after_step(self, clock: Clock) -> None:
        decay = 1 - self.cfg.decay if self.cfg.ema_bug else early(self.cfg.decay, clock.step)
        self.average.follow(self.net, 0.0 if clock.step == 0 else decay, buffers=self.cfg.norm)

    def predictors(self) -> dict[str, nn.Module]:
        return {"average": self.average, "net": self.net}


def dynamic_weight(p: Tensor, yhat: Tensor, c: Tensor, g1: float, g2: float) -> Tensor:
    """w [U] of predictions p [U, K] beside labels yhat [U] that another network gave with confidence c [U]."""
    own, said = p.max(1)
    p_yhat = p.gather(1, yhat.unsqueeze(1)).squeeze(1)
    return torch.where(said == yhat, p_yhat**g1, torch.where(own > c, torch.zeros_like(own), p_yhat**g2))
