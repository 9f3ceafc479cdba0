"""Mean Teacher: Tarvainen & Valpola 2017, arXiv:1703.01780.

    theta'_t = d theta'_{t-1} + (1 - d) theta_t,   d = min(1 - 1/(t+1), decay)               (2)
    J = w(t) E ||p(a'(x), theta') - p(a(x), theta)||^2        a, a' two weak views             (1)
    L = CE(p(a(x_b), theta), y_b) + J        w(t) = weight min(t, T)/T, or weight exp(-5 (1 - min(t, T)/T)^2)

The teacher theta' sees its own view, in train mode (its dropout and noise at work), without gradient; ||.||^2 is the mean
over classes. Evaluated: the teacher, and the student (headline = net: the student first).

`consistency_on`: the rows of J, all (L and U, CIFAR in the paper) or unlabelled (SVHN; the WRN protocol).
`ce_norm = batch` divides the labelled sum by all rows, as the first release does and as its weights assume; `labelled`
is the mean over the labelled rows. Two heads (`heads = 2`, the PyTorch release): the class head is trained on labels,
the second on consistency, and logit_distance * MSE ties their logits, through both. `by_share`: weight N_L/N for weight.

Departures:
- The default is the WRN protocol, under which this method stands in the tables beside FixMatch: weight 50 with a linear
  ramp over 40% of training, J on unlabelled rows, mean CE, decay 0.999, and unlabelled rows that are normalised by their
  own batch and leave the student's running statistics alone (batch_norm_on_u = true: one pass of all rows, as in the paper).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from halfseen.method import Batch, Clock, Epoch, Losses, Method, Plan, Stage, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.align import Align, Aligned
from halfseen.parts.consistency import CeNorm, RampForm, of_labelled, rising, w_max
from halfseen.parts.ema import Ema
from halfseen.parts.forward import frozen_batchnorm, together
from halfseen.parts.heads import TwoHeads
from halfseen.parts.losses import cross_entropy, mean, probabilities, squared
from halfseen.parts.norms import Norm


@dataclass(frozen=True)
class Config(Aligned):
    weight: float = 50.0  # of the consistency term, at the end of its ramp
    ramp: float = 0.4  # share of training over which the weight rises
    ramp_form: RampForm = "linear"  # exp: the paper's
    consistency_on: Literal["unlabelled", "all"] = "unlabelled"
    ce_norm: CeNorm = "labelled"
    by_share: bool = False  # weight times N_L/N: the paper's on CIFAR
    mixed: bool = False  # batches are drawn from all images together, as the paper's on CIFAR
    decay: float = 0.999
    decay_in_ramp: float | None = None  # another decay while the weight rises (.99 in the paper)
    norm: Norm | Literal["own"] = (
        "measured"  # batch-norm statistics of what is scored; own: of the teacher's own passes
    )
    batch_norm_on_u: bool = False  # do unlabelled rows move the student's running statistics? (true in the paper)
    heads: Literal[1, 2] = 1
    logit_distance: float = 0.01  # weight of the tie between two heads
    headline: Literal["teacher", "net"] = "teacher"  # predictor that comes first; net: the student
    optim: Optim = Optim()


class MeanTeacher(Method[Config]):
    batch = (64, 64)
    views = ("fm", "fm")

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        self.net = TwoHeads(task.make_net, cfg.heads)
        self.teacher = Ema(self.net)
        self.align = Align(cfg, task)  # of the unlabelled rows' targets

    def both(self, view_x: Tensor, view_u: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Class and consistency logits of the student, of labelled and of unlabelled rows."""
        if self.cfg.batch_norm_on_u or self.cfg.mixed:  # a mixed batch may have few labelled rows, or none
            return self.net.both(view_x, view_u)
        first = self.net.both(view_x)
        with frozen_batchnorm(self.net):
            return first + self.net.both(view_u)

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        (class_x, con_x), (class_u, con_u) = self.both(self.labelled_view(batch.x), self.weak(batch.u))
        view_x, view_u = self.labelled_view(batch.x), self.weak(batch.u)  # the teacher's
        with torch.no_grad():
            target_x, target_u = together(self.teacher, view_x, view_u)  # of its class head
        p_teacher = self.align(probabilities(target_u), batch.y)  # [U, K]
        rows = squared(probabilities(con_u), p_teacher)
        if self.cfg.consistency_on == "all":
            rows = torch.cat([squared(probabilities(con_x), probabilities(target_x)), rows])

        ce = cross_entropy(class_x, batch.y)
        CE = of_labelled(ce, len(batch.x) + len(batch.u), self.cfg.ce_norm)
        terms = {"CE": CE, "J": self.weight(clock.progress) * mean(rows)}
        if self.cfg.heads == 2:
            tie = squared(torch.cat([class_x, class_u]), torch.cat([con_x, con_u]))
            terms["tie"] = self.cfg.logit_distance * tie.mean()
        everything = torch.ones_like(p_teacher[:, 0], dtype=torch.bool)
        return Losses(terms, self.align.stats(), unlabelled=Unlabelled(con_u, p_teacher, everything, view=view_u))

    def weight(self, progress: float) -> float:
        top = w_max(self.cfg.weight, "batch" if self.cfg.by_share else "labelled", self.task)
        return rising(top, progress, self.cfg.ramp, self.cfg.ramp_form)

    def stages(self, plan: Plan) -> list[Stage]:
        epoch: Epoch = "mixed_pass" if self.cfg.mixed else self.epoch
        return [Stage("train", self.loss, plan.steps, {"net": self.cfg.optim}, epoch)]

    def after_step(self, clock: Clock) -> None:
        early = self.cfg.decay_in_ramp if clock.progress < self.cfg.ramp else None
        decay = self.cfg.decay if early is None else early
        buffers = "own" if self.cfg.norm == "measured" else self.cfg.norm  # it teaches in train mode
        self.teacher.follow(self.net, decay, warm_step=clock.step + 1, buffers=buffers)

    def predictors(self) -> dict[str, nn.Module]:
        found: dict[str, nn.Module] = {"teacher": self.teacher, "net": self.net}
        return {self.cfg.headline: found[self.cfg.headline], **found}
