"""Curriculum Labeling: Cascante-Bonilla et al. 2021, "Curriculum labeling: revisiting pseudo-labeling", arXiv:2001.06001.

    round 0       the network learns the labelled images
    round t       tau = percentile(100 - 100 t/T) of max p(u) over the pool;  of u with max p(u) >= tau:  yhat = argmax p(u)
                  then a fresh network learns the labelled and the chosen images                            t = 1, ..., T
    L = sum_b w_b CE(y'_b, p(x'_b)) / sum_b w_b,   w_c = (n - n_c)/n_c            from round 1 on; 1 before it

p(u) are the probabilities of the averaged network of the round before; n_c of the n images of a round are labelled c, or
taken for it. x', y' are mixed, x' = lambda x_i + (1 - lambda) x_j, lambda ~ Beta(a, a), y' alike (mixup).

Evaluated: the average of the weights over the end of a round (SWA: their mean at equal distances), and the network itself.

Departures:
- All rows are seen weakly by default: under strong views a short round does not fit its labels (seen = strong: the paper's).
- The paper takes the best model on validation images, of a round and of all; here a round's last average labels the pool,
  and the last round's is the result (a run with validation images keeps its best network besides).
- Rounds are equally long, and lengths are shares of a round: the average begins at 200/750 of it and takes 110 networks,
  5 epochs of 750 apart, while the paper's rate falls over 700 epochs as a cosine of 750.
- Of equal confidences all are chosen or none, as the percentile has it.
"""

import math
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
from halfseen.parts.ema import Ema
from halfseen.parts.losses import weighted_mean
from halfseen.parts.memory import Memory
from halfseen.parts.norms import Norm
from halfseen.parts.rounds import ask, begin_anew
from halfseen.parts.select import most_sure


@dataclass(frozen=True)
class Config(Aligned):
    seen: Literal["weak", "strong"] = "weak"  # view of all rows; strong: the paper's, which needs rounds of many epochs
    rounds: int = 5  # T, after the supervised one
    mixup: float = 1.0  # a of mixup; 0: nothing is mixed
    class_weights: bool = True  # w_c; False: 1
    swa_from: float = 200 / 750  # share of a round after which the average begins
    swa_every: float = 5 / 750  # share of a round between two networks of the average
    norm: Norm = (
        "measured"  # batch-norm statistics of what labels and is scored: on clean training images, or running ones
    )
    optim: Optim = Optim(lr=0.1, schedule="cos(1.0714)")  # T 750 of 700


class CurriculumLabeling(Method[Config]):
    epoch = "selected_pass"
    batch = (64, 64)
    views = ("fm", "fm+ra")

    class_weight: Tensor

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        if cfg.rounds < 1 or cfg.mixup < 0 or not 0 <= cfg.swa_from < 1 or cfg.swa_every <= 0:
            raise UserError(
                "curriculum_labeling needs rounds >= 1, mixup >= 0, swa_from from 0 to below 1 and swa_every above 0; see "
                "halfseen explain curriculum_labeling"
            )
        self.net = task.make_net()
        self.average = Ema(self.net)
        self.clean = task.view("none")
        self.view = self.weak if cfg.seen == "weak" else self.strong
        self.align = Align(cfg, task)  # of the pool's probabilities
        self.label = Memory(task.samples, dtype=torch.int64)
        self.given = Memory(task.samples, dtype=torch.bool)
        self.register_buffer("class_weight", torch.ones(task.classes))  # w_c
        self.chosen = torch.empty(0, dtype=torch.int64)

    # ---- losses -----------------------------------------------------------------------------------------------------

    def supervised(self, batch: Batch, clock: Clock) -> Losses:
        return Losses({"CE": self.mixed_loss(self.view(batch.x), batch.y)[0]})

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        """All images come as u, the labelled ones too."""
        y = self.label[batch.u_ids]
        loss, logits = self.mixed_loss(self.view(batch.u), y)
        told = F.one_hot(y, self.task.classes).float()
        return Losses({"CE": loss}, self.align.stats(), Unlabelled(logits, told, ~self.given[batch.u_ids]))

    def mixed_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """L, and the logits of the mixed rows."""
        targets = F.one_hot(y, self.task.classes).to(x.dtype)
        if self.cfg.mixup > 0:
            lam = mixing_weights(self.task.draws, self.cfg.mixup, len(x), per_image=False)
            x, targets = mixup(x, targets, lam, mix_partners(self.task.draws, len(x)))
        logits: Tensor = self.net(x)
        weights = targets * self.class_weight.to(targets.dtype)  # [n, K] of each class in a mixed row
        wide = logits if logits.dtype == torch.float64 else logits.float()
        return weighted_mean(weights, -F.log_softmax(wide, 1)), logits

    # ---- rounds -----------------------------------------------------------------------------------------------------

    def begin_round(self, data: Data, t: int) -> None:
        ids = data.unlabelled.to(self.label.values.device)
        y = data.y[data.labelled].to(ids.device)
        p = self.align.pool(ask(self.average, data, ids, self.clean, self.cfg.norm), y)
        confidence, yhat = p.max(1)
        kept = most_sure(confidence, t / self.cfg.rounds)
        self.label.values[ids] = yhat
        self.label.values[data.labelled] = y
        self.given.values[data.labelled] = True
        self.chosen = ids[kept & ~self.given[ids]]
        if self.cfg.class_weights:
            n = torch.bincount(torch.cat([y, self.label[self.chosen]]), minlength=self.task.classes)
            self.class_weight.copy_((n.sum() - n) / n.clamp_min(1))
        begin_anew(self.net, self.task.make_net, self.task.draws)

    def stages(self, plan: Plan) -> list[Stage]:
        optim = {"net": self.cfg.optim}
        chosen = lambda: self.chosen  # noqa: E731
        return in_rounds(
            plan.steps, self.cfg.rounds, self.supervised, self.loss, self.begin_round, chosen, optim, self.epoch
        )

    def after_step(self, clock: Clock) -> None:
        """The k-th network enters a mean of k; before the first of them the average is the network."""
        start = math.ceil(self.cfg.swa_from * clock.steps - 1e-9)
        every = max(1, round(self.cfg.swa_every * clock.steps))
        k, between = divmod(clock.step - start, every)
        if k < 0 or between == 0:
            self.average.follow(self.net, k / (k + 1) if k > 0 else 0.0, buffers=self.cfg.norm)

    def predictors(self) -> dict[str, nn.Module]:
        return {"average": self.average, "net": self.net}
