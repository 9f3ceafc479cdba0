"""UPS, uncertainty-aware pseudo-label selection: Rizve et al. 2021, ICLR, arXiv:2101.06329.

    round 0       the network learns the labelled images
    after it      T passes of the pool with dropout; with mean p and standard deviation u over them, kbar = argmax p:
                  g+ = 1[p_kbar >= t_p] 1[u_kbar <= s_p]                                      positive label kbar
                  g-_k = 1[p'_k <= t_n] 1[u'_k <= s_n], k != kbar, where g+ = 0                not of class k        (3)
    round r       a fresh network learns L, the positive and the negative images                r = 1, ..., rounds
    L = mean_{g+ or labelled} CE(p, y) + mean_{some g-} 1/s sum_k -g-_k log(1 - p_k),   s = sum_k g-_k              (4)

p', u' are those of softmax(logits/2). In the first `balanced_rounds` every class keeps as many positive images as the
smallest one (`least` at least), those that deviate least.

Evaluated: the network of the last round.

Departures:
- All rows are seen weakly by default: under strong views a short round does not fit its labels (seen = strong: the paper's).
- Rounds are equally long shares of a run, and 5 by default where the paper has 20 of 1,024 epochs each.
- -log(1 - p_k) is exact where the release clamps 1 - p_k at 1e-7.
- Labelled images have a stream of their own. In the release all rows come in proportion to their numbers (proportional), and
  with few labels among thousands of negative images a short round hardly sees them.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.method import Batch, Clock, Data, Epoch, Losses, Method, Plan, Stage, Task, Unlabelled, in_rounds
from halfseen.nets.net import Net
from halfseen.optim import Optim
from halfseen.parts.align import Align, Aligned
from halfseen.parts.forward import has_active_dropout, together
from halfseen.parts.losses import cross_entropy, mean_of, negative
from halfseen.parts.mcdropout import mc_logits, mean_and_deviation
from halfseen.parts.memory import Memory
from halfseen.parts.norms import RunningNorm
from halfseen.parts.rounds import begin_anew, evaluated, shared_random
from halfseen.parts.select import balanced, negatives, positives


@dataclass(frozen=True)
class Config(Aligned):
    seen: Literal["weak", "strong"] = "weak"  # view of all rows; strong: the paper's, which needs rounds of many epochs
    rounds: int = 5  # after the supervised one; 20 in the paper
    batches: Literal["streams", "proportional"] = "streams"  # labelled images apart; or among the others, as they come
    t_p: float = 0.7  # confidence of a positive label
    t_n: float = 0.05  # probability below which a class is taken for excluded
    s_p: float = 0.05  # deviation allowed to a positive label
    s_n: float = 0.005  # and to a negative one
    passes: int = 10  # T
    temperature: float = 2.0  # of p' and u'
    use_uncertainty: bool = True  # False: thresholds alone, one pass without dropout
    use_negative: bool = True  # False: positive labels alone
    balanced_rounds: int = 6  # that keep as many positive images of each class; 0 on CIFAR-100
    least: int = 25  # images that a class may keep in any case
    dropout: float | None = 0.3  # of the network where it has the option and net.dropout is not given; none: its own
    norm: RunningNorm = "measured"  # batch-norm statistics of what labels and is scored; copied: the running ones
    optim: Optim = Optim()


class UPS(Method[Config]):
    epoch = "unlabeled_pass"
    batch = (64, 64)
    views = ("fm", "fm+ra")

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        if cfg.rounds < 1 or cfg.passes < 2 or cfg.temperature <= 0 or cfg.least < 0:
            raise UserError(
                "ups needs rounds >= 1, passes >= 2, a temperature above 0 and least >= 0; see halfseen explain ups"
            )
        self.net = self.fresh()
        if cfg.use_uncertainty and not has_active_dropout(self.net):
            raise UserError(
                "ups tells sure labels by how much they vary under dropout, and this network drops nothing: take one that "
                "can (small, mlp, cnn13, wrn-28-2) with net.dropout above 0, or --set method.use_uncertainty=false"
            )
        self.clean = task.view("none")
        self.view = self.weak if cfg.seen == "weak" else self.strong
        self.align = Align(cfg, task)  # of the pool's mean probabilities
        self.label = Memory(task.samples, dtype=torch.int64)
        self.positive = Memory(task.samples, dtype=torch.bool)  # labelled images are
        self.N = Memory(task.samples, task.classes, dtype=torch.bool)
        self.given = Memory(task.samples, dtype=torch.bool)
        self.chosen = torch.empty(0, dtype=torch.int64)

    def fresh(self) -> Net:
        return self.task.make_net(prefer={} if self.cfg.dropout is None else {"dropout": self.cfg.dropout})

    # ---- losses -----------------------------------------------------------------------------------------------------

    def supervised(self, batch: Batch, clock: Clock) -> Losses:
        return Losses({"L_p": cross_entropy(self.net(self.view(batch.x)), batch.y).mean()})

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        """In proportional batches all images come as u, the labelled ones too."""
        ids, n = batch.u_ids, len(batch.x)
        logits = together(self.net, self.view(batch.x), self.view(batch.u))
        kept, N, y = self.positive[ids], self.N[ids], self.label[ids]
        right = torch.cat([torch.ones(n, dtype=torch.bool, device=kept.device), kept])
        terms = {"L_p": mean_of(right, cross_entropy(torch.cat(logits), torch.cat([batch.y, y])))}
        if self.cfg.use_negative:
            terms["L_n"] = mean_of(N.any(1), negative(N, logits[1], per_label="mean"))
        told = F.one_hot(y, self.task.classes).float()
        return Losses(terms, self.align.stats(), Unlabelled(logits[1], told, kept & ~self.given[ids], N))

    # ---- rounds -----------------------------------------------------------------------------------------------------

    def begin_round(self, data: Data, r: int) -> None:
        cfg, K = self.cfg, self.task.classes
        ids = data.unlabelled.to(self.label.values.device)
        y = data.y[data.labelled].to(ids.device)
        (P, u), (P_n, u_n) = self.measure(data, ids)
        P = self.align.pool(P, y)
        P_n = self.align.by(P_n)
        kept, kbar = positives(P, u, cfg.t_p, cfg.s_p)
        if r <= cfg.balanced_rounds:
            deviation = u.gather(1, kbar.unsqueeze(1)).squeeze(1) if u is not None else 1 - P.amax(1)
            kept = balanced(kept, kbar, K, deviation, cfg.least)
        N = negatives(P_n, u_n, kbar, cfg.t_n, cfg.s_n) & ~kept.unsqueeze(1)
        self.label.values[ids], self.positive.values[ids], self.N.values[ids] = kbar, kept, N
        self.label.values[data.labelled], self.positive.values[data.labelled] = y, True
        self.N.values[data.labelled], self.given.values[data.labelled] = False, True
        used = self.positive[ids] | (self.N[ids].any(1) if cfg.use_negative else False)
        self.chosen = ids[used & ~self.given[ids]]
        if not len(self.chosen) and cfg.batches == "streams":
            self.chosen = ids  # their stream must hold something, and these teach nothing
        begin_anew(self.net, self.fresh, self.task.draws)

    def measure(self, data: Data, ids: Tensor) -> tuple[tuple[Tensor, Tensor | None], ...]:
        """p [U, K] and u [U, K] at temperature 1, and at the negatives' one; u is None if not asked for."""
        passes = self.cfg.passes if self.cfg.use_uncertainty else 1
        found: list[list[Tensor]] = []
        with evaluated(self.net, data, self.clean, self.cfg.norm), shared_random(self.task.draws):
            for _, x in data.sweep(ids):
                view = self.clean(x)
                a = mc_logits(self.net, view, passes, "eval") if passes > 1 else self.net(view).float().unsqueeze(0)
                both = (mean_and_deviation(a.div(T).softmax(2), 1) for T in (1.0, self.cfg.temperature))
                found.append([t for pair in both for t in pair])
        P, u, P_n, u_n = (torch.cat(parts) for parts in zip(*found, strict=True))
        return ((P, u), (P_n, u_n)) if self.cfg.use_uncertainty else ((P, None), (P_n, None))

    def stages(self, plan: Plan) -> list[Stage]:
        epoch: Epoch = "selected_pass" if self.cfg.batches == "proportional" else self.epoch
        optim = {"net": self.cfg.optim}
        chosen = lambda: self.chosen  # noqa: E731
        return in_rounds(
            plan.steps, self.cfg.rounds, self.supervised, self.loss, self.begin_round, chosen, optim, epoch
        )

    def predictors(self) -> dict[str, nn.Module]:
        return {"net": self.net}
