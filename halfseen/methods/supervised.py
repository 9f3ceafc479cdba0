"""Supervised: the labelled images alone, the baseline that every other method must beat.

    L = 1/B sum_b H(y_b, p(a(x_b)))

a is the weak view. The unlabelled images of a batch are not used, so a step costs a fraction of another method's.
Evaluated: the average of the weights, and the network itself.
"""

from dataclasses import dataclass

from torch import nn

from halfseen.method import Batch, Clock, Losses, Method, Task
from halfseen.optim import Optim
from halfseen.parts.ema import Ema, early
from halfseen.parts.losses import cross_entropy
from halfseen.parts.norms import Norm


@dataclass(frozen=True)
class Config:
    decay: float = 0.999  # of the average that is evaluated
    norm: Norm = (
        "measured"  # batch-norm statistics of what is scored: on clean training images, or as the releases have
    )
    optim: Optim = Optim()  # as FixMatch's, so that the two differ in the unlabelled images only


class Supervised(Method[Config]):
    needs_unlabelled = False
    norm_rows = "labelled"

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        self.net = task.make_net()
        self.average = Ema(self.net)

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        logits = self.net(self.labelled_view(batch.x))  # [B, K]
        return Losses({"L_s": cross_entropy(logits, batch.y).mean()})

    def after_step(self, clock: Clock) -> None:
        self.average.follow(self.net, early(self.cfg.decay, clock.step), buffers=self.cfg.norm)

    def predictors(self) -> dict[str, nn.Module]:
        return {"average": self.average, "net": self.net}
