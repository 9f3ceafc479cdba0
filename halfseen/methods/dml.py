"""Deep Mutual Learning: Zhang et al. 2018, arXiv:1706.00384; with unlabelled images, the baseline of CCN (CVPR 2019).

    L_1 = CE(p_1, y) + lambda KL(sg p_2 || p_1)
    L_2 = CE(p_2, y) + lambda KL(sg p_1 || p_2)                      lambda = 1 in the paper

Two networks of the same kind, each with its own start, dropout and optimiser; sg: without gradient. CE runs over the
labelled rows, KL over the unlabelled ones (dml_on = all: over both).
Evaluated: Net 1, and Net 2.

Departures:
- The paper's images are all labelled; KL over the unlabelled ones is how CCN's baseline uses it, whose settings these are.
- update = snapshot: both networks learn from the same forwards. The paper updates Net 1, predicts with it anew and then
  updates Net 2: original.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from halfseen.method import Batch, Clock, Losses, Method, Plan, Stage, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.align import Align, Aligned
from halfseen.parts.losses import cross_entropy, probabilities
from halfseen.parts.mutual import Pass, Rows, mutual, read
from halfseen.parts.norms import RunningNorm


@dataclass(frozen=True)
class Config(Aligned):
    lambda_ml: float = 1.0  # weight of the KL terms
    dml_on: Rows = "unlabelled"  # rows of the KL terms
    update: Literal["snapshot", "original"] = "snapshot"  # original: Net 1 steps before Net 2 learns from it
    norm: RunningNorm = "measured"  # batch-norm statistics of what is scored; copied: the running ones
    optim: Optim = Optim("adam", lr=0.003, schedule="te", beta1_end=0.5, weight_decay=0.0)  # CCN's, of each network


class DML(Method[Config]):
    batch = (50, 50)
    views = ("te", "te")
    epoch = "unlabeled_pass"

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        self.net1, self.net2 = task.make_net(), task.make_net()
        self.align = Align(cfg, task, teachers=2)  # 0: Net 2 as Net 1's teacher; 1: Net 1

    def loss(self, batch: Batch, clock: Clock) -> Losses | Iterator[Losses]:
        x, u = self.labelled_view(batch.x), self.weak(batch.u)
        return self.in_turn(batch, x, u) if self.cfg.update == "original" else self.at_once(batch, x, u)

    def at_once(self, batch: Batch, x: Tensor, u: Tensor) -> Losses:
        one, two = read(self.net1, x, u), read(self.net2, x, u)
        terms = self.terms("1", one, two, batch.y) | self.terms("2", two, one, batch.y)
        return Losses(terms, self.stats(one, two), self.taught(one, two, 0))

    def in_turn(self, batch: Batch, x: Tensor, u: Tensor) -> Iterator[Losses]:
        one, two = read(self.net1, x, u), read(self.net2, x, u, learns=False)
        yield Losses(self.terms("1", one, two, batch.y), trains=("net1",))
        one, two = read(self.net1, x, u, learns=False), read(self.net2, x, u)
        yield Losses(
            self.terms("2", two, one, batch.y), self.stats(one, two), self.taught(two, one, 1), trains=("net2",)
        )

    def terms(self, i: str, own: Pass, peer: Pass, y: Tensor) -> dict[str, Tensor]:
        s = int(i) - 1
        self.align(probabilities(peer.g_u), y, s)
        peer = replace(peer, g_u=peer.g_u + self.align.shift(s))
        L_KL = self.cfg.lambda_ml * mutual(own, peer, self.cfg.dml_on)
        return {f"{i}/L_CE": cross_entropy(own.g_x, y).mean(), f"{i}/L_KL": L_KL}

    def stats(self, one: Pass, two: Pass) -> dict[str, Tensor]:
        return {"agreement": (one.g_u.argmax(1) == two.g_u.argmax(1)).double().mean()} | self.align.stats()

    def taught(self, learner: Pass, teacher: Pass, s: int) -> Unlabelled:
        everything = torch.ones_like(learner.g_u[:, 0], dtype=torch.bool)
        return Unlabelled(learner.g_u, self.align.by(teacher.g_u.detach().softmax(1), s), everything)

    def stages(self, plan: Plan) -> list[Stage]:
        optim = dict.fromkeys(("net1", "net2"), self.cfg.optim)
        return [Stage("train", self.loss, plan.steps, optim, self.epoch)]

    def predictors(self) -> dict[str, nn.Module]:
        return {"net1": self.net1, "net2": self.net2}
