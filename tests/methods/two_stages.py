"""Two Stages: a method for tests, 2026, that uses every corner of the contract.

    L_1 = H(y, p(x))                          over the labelled images, then
    L_2 = H(y, p(x)) + KL(q_u || p(u))        with q = softmax(free logits), one row per image, learned with their own rate

The free logits start as predictions, are predicted anew every epoch, and a memory counts visits.
Evaluated: the network.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from halfseen.method import Batch, Clock, Data, Losses, Method, Plan, Stage, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.losses import cross_entropy, kl
from halfseen.parts.memory import Memory


@dataclass(frozen=True)
class Config:
    rate: float = 1.0  # of the free logits
    clip: float = 5.0
    poison: int = -1  # a step whose loss is infinite


class TwoStages(Method[Config]):
    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        self.net = task.make_net()
        self.free = nn.Parameter(torch.zeros(task.samples, task.classes))
        self.visits = Memory(task.samples)
        self.predictions = 0

    def supervised(self, batch: Batch, clock: Clock) -> Losses:
        return Losses({"L_1": cross_entropy(self.net(self.weak(batch.x)), batch.y).mean()})

    def loss(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        yield Losses({"L_1": cross_entropy(self.net(self.weak(batch.x)), batch.y).mean()}, trains=("net",))
        logits = self.net(self.weak(batch.u))
        free = self.free[batch.u_ids]
        self.visits.write(batch.u_ids, self.visits[batch.u_ids] + 1)
        term = kl(free, logits).mean()
        if clock.step == self.cfg.poison:
            term = term / 0
        everything = torch.ones(len(logits), dtype=torch.bool)
        yield Losses({"L_2": term}, unlabelled=Unlabelled(logits, free.detach().softmax(1), everything))

    def predict(self, data: Data) -> None:
        self.predictions += 1
        self.net.eval()
        for ids, x in data.sweep(data.unlabelled):
            self.free[ids] = self.net(self.weak(x))
        self.net.train()

    def end_epoch(self, clock: Clock, data: Data) -> None:
        if clock.epoch + 1 < clock.epochs:
            self.predict(data)

    def stages(self, plan: Plan) -> list[Stage]:
        net = Optim(lr=0.05, schedule="constant", clip=self.cfg.clip)
        free = Optim(lr=self.cfg.rate, momentum=0, weight_decay=0, schedule="constant")
        half = plan.steps // 2
        return [
            Stage("labels", self.supervised, half, {"net": net}, "labeled_pass"),
            Stage(
                "both",
                self.loss,
                plan.steps - half,
                {"net": net, "free": free},
                "unlabeled_pass",
                self.predict,
                self.end_epoch,
            ),
        ]

    def predictors(self) -> dict[str, nn.Module]:
        return {"net": self.net}
