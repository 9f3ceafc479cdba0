"""Dual Student: Ke et al. 2019, "Dual Student: breaking the limits of the teacher", ICCV, arXiv:1909.01804.

Students s = l, r of two heads, class c and consistency q, see a weak view v_s of their own; the other's view without
gradient. With p the softmax, B all rows of the batch, U the unlabelled ones:

    CE_s   = 1/B sum_b H(y_b, p c_s(v_s))                          tie_s = logit_distance mean (c_s - q_s)^2
    con_s  = w_con(t) mean_B ||p q_s(v_s) - p c_s(v_r)||^2
    s is stable on u:  argmax c_s(v_l) = argmax c_s(v_r)  and  max p c_s > xi on one of the views at least
    stab_s = w_stab(t) |U|/B mean_U [r teaches s] ||p q_s(v_s) - p c_r(v_r)||^2
    L_s    = CE_s + tie_s + con_s + stab_s

r teaches s on u if r is stable there and s is not, or if both are and r's ||p q_r(v_r) - p c_r(v_l)||^2 is not the larger;
||.||^2 is the mean over classes. w(t) = weight exp(-5 (1 - min(t, T)/T)^2) with T the share `ramp` of training.

For an add-on (Unlabelled.kept): the rows on which s receives no target count as discarded, and their target is what the
other student says of the same view; addon_where = unstable: only those among them on which the other is unstable.

Evaluated: both students, `left` and `right`; the better one on validation images is the headline, where there are any.

Departures:
- The extra forwards on the other's view have their own batch statistics and leave the running ones alone.
- The rate falls as (1 + cos(pi t/T))/2; the release is one epoch behind, (1 + cos((e-1) pi/E))/2. Its ramp of 5 epochs
  of 300 is given as a share of training, so that it means the same at any length.
- A network with one head gets a second one like it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from halfseen.method import Batch, Clock, Losses, Method, Plan, Stage, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.align import Align, Aligned
from halfseen.parts.forward import frozen_batchnorm
from halfseen.parts.heads import TwoHeads
from halfseen.parts.losses import cross_entropy, probabilities, squared, wide
from halfseen.parts.norms import RunningNorm
from halfseen.parts.ramps import exp_rampup


@dataclass(frozen=True)
class Config(Aligned):
    xi: float = 0.8  # confidence of a stable prediction: 0.4 on CIFAR-100, 0.6 for USPS -> MNIST
    consistency: float = 10.0  # weight of con
    stabilisation: float = 100.0  # weight of stab
    ramp: float = 5 / 300  # share of training over which both rise
    ce_norm: Literal["batch", "labelled"] = "batch"  # the labelled sum over all rows, as the weights assume
    heads: Literal[1, 2] = 2
    logit_distance: float = 0.01  # weight of the tie between two heads
    addon_where: Literal["no_target", "unstable"] = "no_target"  # the rows that an add-on takes for discarded
    norm: RunningNorm = "measured"  # batch-norm statistics of what is scored; copied: the running ones
    optim: Optim = Optim(lr=0.1, schedule="cos", weight_decay=1e-4, decay_all=True)  # of each student


class DualStudent(Method[Config]):
    epoch = "unlabeled_pass"
    batch = (50, 50)
    views = ("ds", "ds")

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        self.students = nn.ModuleList(TwoHeads(task.make_net, cfg.heads) for _ in range(2))
        self.align = Align(cfg, task, teachers=2)

    @property
    def pair(self) -> list[TwoHeads]:
        return [cast(TwoHeads, student) for student in self.students]

    def loss(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        cfg, rows = self.cfg, len(batch.x) + len(batch.u)
        views = [(self.labelled_view(batch.x), self.weak(batch.u)) for _ in self.pair]  # one view for each student
        trained = [student.both(*view) for student, view in zip(self.pair, views, strict=True)]
        across = [self.predict(student, views[1 - s]) for s, student in enumerate(self.pair)]  # [B, K] each

        p_own = [self.align(probabilities(c_u.detach()), batch.y, s) for s, (_, (c_u, _)) in enumerate(trained)]
        p_across = [self.align.by(p[len(batch.x) :], s) for s, p in enumerate(across)]  # [U, K] each
        across = [torch.cat([across[s][: len(batch.x)], p_across[s]]) for s in (0, 1)]  # labelled rows as they are
        certain = [torch.maximum(p_own[s].amax(1), p_across[s].amax(1)) > cfg.xi for s in (0, 1)]  # [U] each
        stable = [(p_own[s].argmax(1) == p_across[s].argmax(1)) & certain[s] for s in (0, 1)]
        d = [squared(probabilities(q_u.detach()), p_across[s]) for s, (_, (_, q_u)) in enumerate(trained)]
        teaches = [stable[s] & (~stable[1 - s] | (d[s] <= d[1 - s])) for s in (0, 1)]
        ramp = exp_rampup(clock.progress, cfg.ramp)
        shared = {"agreement": (p_own[0].argmax(1) == p_own[1].argmax(1)).float().mean()} | self.align.stats()

        for s, ((c_x, q_x), (c_u, q_u)) in enumerate(trained):
            r = 1 - s
            c, q = wide(torch.cat([c_x, c_u])), wide(torch.cat([q_x, q_u]))  # [B, K]
            ce = cross_entropy(c_x, batch.y)
            stab = teaches[r] * squared(probabilities(q_u), p_own[r])
            terms = {
                "CE": ce.sum() / rows if cfg.ce_norm == "batch" else ce.mean(),
                "con": cfg.consistency * ramp * squared(q.softmax(1), across[s]).mean(),
                "stab": cfg.stabilisation * ramp * len(batch.u) / rows * stab.mean(),
            }
            if cfg.heads == 2:
                terms["tie"] = cfg.logit_distance * squared(c, q).mean()
            stats = {f"{s + 1}/stable": stable[s].float().mean()} | (shared if s == 0 else {})
            target = torch.where(teaches[r].unsqueeze(1), p_own[r], p_across[r])
            kept = teaches[r] if cfg.addon_where == "no_target" else stable[r]
            yield Losses(
                {f"{s + 1}/{name}": term for name, term in terms.items()},
                stats,
                Unlabelled(q_u, target, kept, view=views[s][1]),
                trains=(f"students.{s}",),
            )

    @torch.no_grad()
    def predict(self, student: TwoHeads, view: tuple[Tensor, Tensor]) -> Tensor:
        """[B, K] class probabilities."""
        with frozen_batchnorm(student):
            return probabilities(torch.cat([c for c, _ in student.both(*view)]))

    def stages(self, plan: Plan) -> list[Stage]:
        optim = {f"students.{s}": self.cfg.optim for s in (0, 1)}
        return [Stage("train", self.loss, plan.steps, optim, self.epoch)]

    def predictors(self) -> dict[str, nn.Module]:
        return {"left": self.pair[0].net, "right": self.pair[1].net}
