"""DNLL: Xu et al. 2023, "Dual negative label learning", Knowledge-Based Systems.

Two networks f_s, s = 1, 2, r the other one, teach each other what an image is not:

    l_sup(s)   = 1/B sum_b H(y_b, f_s(a_s(x_b)))                                    (1-5)  a_s a weak view of its own
    c_s(u)     = argmax f_s(a(u)),   Y^s(u) in {0,1}^K with m ones, Y^s[c_s] = 0    (6-8)  without gradient
    NL(f, Y)   = - sum_k Y_k log(1 - p_k),   p = softmax f                          (9)
    l_cross(s) = 1/U sum_b NL(f_s(A(u_b)), Y^r(u_b))                                (14-15)
    l_self(s)  = 1/U sum_b NL(f_s(A(u_b)), Y^s(u_b))                                (16-17)
    l(s)       = l_sup(s) + lambda_u (l_cross(s) + l_self(s))                       (18-21)

Which m classes: by error perception, Pr^r[k,i] = sum of p_i over the labelled images of class k that f_r takes for i != k,
and Y^s(u) for the learner r is drawn with pi_i = exp Pr^r[k,i] / sum_{j != k} exp Pr^r[k,j], k = c_s(u)   (22-23).
epm = false: all i != k alike. networks = 1: one network with l_self alone (Table 6's SL).

Evaluated: both networks, `one` and `two`; the better one on validation images is the headline, where there are any.

Departures:
- Both terms are on, as in Eqs 16-19; Algorithm 1 has the cross term alone (use_self = false). Both networks learn at
  every step, as in Algorithm 1; the abstract lets them take turns (alternate = true).
- lambda_u is not given: 1, no ramp. m = 3: the best cell of Table 5; the text says 1. All parameters decay (the add-on).
- Draws are sequential, without replacement; the text asks for inclusion in proportion to R, which sequential draws keep
  for m = 1 only and which cannot be had once m max R > 1 (epm_draw = systematic comes nearest).
- Pr is measured in the supervised forward (an eval-mode pass over labels learnt by heart finds no error) every epm_every
  passes over L, since Eqs 22-23 know no epochs; its average has decay 0.9 and is corrected for its start at 0.
- weak_pass = separate: the weak views have a forward and batch statistics of their own, and leave the running ones alone.
- Views: Dual Student's, and noise; the paper's MNIST has none (--weak none --strong none), its CIFAR-10 perhaps no weak one.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.method import Batch, Clock, Data, Losses, Method, Moment, Plan, Stage, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.align import Align, Aligned
from halfseen.parts.forward import eval_mode
from halfseen.parts.losses import cross_entropy, negative, probabilities
from halfseen.parts.negatives import ErrorPerception, after_passes, how_many, pick_negatives
from halfseen.parts.norms import RunningNorm, measured
from halfseen.parts.ramps import exp_rampup
from halfseen.parts.weak import WeakPass, with_weak


@dataclass(frozen=True)
class Config(Aligned):
    m: int | None = None  # negatives per image, 1 to K - 1; none: 3, or K - 1 where there are fewer classes
    lambda_u: float = 1.0  # weight of the unlabelled terms
    lambda_ramp: float = 0.0  # share T of training over which lambda_u rises as exp(-5 (1 - t/T)^2)
    nl_per_label: Literal["sum", "mean"] = "sum"  # Eq 9; mean: over the m negatives, the released code's
    nl_form: Literal["exact", "add_eps"] = "exact"  # add_eps: -log(1 - p + 1e-6), no gradient where p = 1 in float32
    networks: Literal[1, 2] = 2  # 1: self-learning, without the cross term
    use_cross: bool = True  # learn from the other's negatives
    use_self: bool = True  # learn from one's own; Algorithm 1 does not
    alternate: bool = False  # only network (t mod 2) + 1 learns from unlabelled images at step t
    epm: bool = True  # error perception; false: equal probability
    epm_rows: Literal["learner", "teacher"] = "learner"  # whose row of Pr, for the teacher's label
    epm_source: Literal["online", "eval_pass"] = "online"  # where Pr is measured
    epm_self: Literal["reuse", "own"] = "reuse"  # own: l_self draws a second set, from the network's own row
    epm_every: float = 10.0  # passes over the labelled images from one measurement of Pr to the next
    epm_ema: float = 0.9  # decay of the average of the measurements; 0: the last one alone
    epm_draw: Literal["sequential", "systematic"] = "sequential"
    weak_pass: WeakPass = "separate"  # rows that the weak views are normalised with: halfseen/parts/weak.py
    norm: RunningNorm = "measured"  # batch-norm statistics of what is scored; copied: the running ones
    optim: Optim = Optim(schedule="cos", decay_all=True)  # of each: SGD, Nesterov, 0.03, cosine to 0; 5e-4 on all

    def __post_init__(self) -> None:
        if not (self.use_self or (self.use_cross and self.networks == 2)):
            raise UserError(
                "no term is left for the unlabelled images; set method.use_self=true, or use_cross with 2 networks"
            )
        if self.networks == 1 and self.alternate:
            raise UserError("one network cannot take turns; leave method.alternate off, or take method.networks=2")
        if not 0 <= self.epm_ema < 1 or self.epm_every <= 0:
            raise UserError(
                f"epm_ema={self.epm_ema:g} must lie between 0 and 1, 1 excluded, or Pr stays 0, and "
                f"epm_every={self.epm_every:g} above 0"
            )


class DNLL(Method[Config]):
    epoch = "unlabeled_pass"
    batch = (128, 128)
    views = ("ds", "ds+noise")

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        self.m = how_many(cfg.m, task.classes, usual=3)
        self.nets = nn.ModuleList(task.make_net() for _ in range(cfg.networks))
        self.align = Align(cfg, task, cfg.networks)
        self.perception = ErrorPerception(cfg.networks, task.classes, cfg.epm_ema)

    def loss(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        cfg, n = self.cfg, len(self.nets)
        weak, strong = self.weak(batch.u), self.strong(batch.u)  # the same for both networks
        passes = [with_weak(net, self.labelled_view(batch.x), weak, strong, cfg.weak_pass) for net in self.nets]
        if cfg.epm and cfg.epm_source == "online":
            for s, (a, _, _) in enumerate(passes):
                self.perception.watch(s, a, batch.y)

        q = [self.align(probabilities(w), batch.y, s) for s, (_, w, _) in enumerate(passes)]  # [U, K] each
        c = [p.argmax(1) for p in q]
        Y = [self.negatives(c[s], teacher=s, learner=n - 1 - s) for s in range(n)]  # [U, K] bool each
        own = Y if cfg.epm_self == "reuse" else [self.negatives(c[s], teacher=s, learner=s) for s in range(n)]
        lam = cfg.lambda_u * exp_rampup(clock.progress, cfg.lambda_ramp)
        stats = self.stats(c, Y) | self.align.stats()

        for s, (a, _, b) in enumerate(passes):
            r = n - 1 - s  # the other network
            terms = {f"{s + 1}/l_sup": cross_entropy(a, batch.y).mean()}
            taught = None
            if not cfg.alternate or clock.step % 2 == s:
                if self.crossing:
                    terms[f"{s + 1}/l_cross"] = lam * self.NL(b, Y[r]).mean()
                if cfg.use_self:
                    terms[f"{s + 1}/l_self"] = lam * self.NL(b, own[s]).mean()
                target, N = (q[r], Y[r]) if self.crossing else (q[s], own[s])
                taught = Unlabelled(b, target, torch.ones_like(c[s], dtype=torch.bool), N, view=weak)
            yield Losses(terms, stats, taught, trains=(f"nets.{s}",))
            stats = {}

    @property
    def crossing(self) -> bool:
        return self.cfg.use_cross and self.cfg.networks == 2

    def negatives(self, c: Tensor, teacher: int, learner: int) -> Tensor:
        cfg, K = self.cfg, self.task.classes
        if not cfg.epm:
            return pick_negatives(c, self.m, K, self.task.draws)
        Pr = self.perception.Pr[learner if cfg.epm_rows == "learner" else teacher]
        return pick_negatives(c, self.m, K, self.task.draws, Pr[c], cfg.epm_draw)

    def NL(self, logits: Tensor, Y: Tensor) -> Tensor:
        return negative(Y, logits, self.cfg.nl_form, per_label=self.cfg.nl_per_label)

    def stats(self, c: list[Tensor], Y: list[Tensor]) -> dict[str, Tensor]:
        found = self.perception.stats() if self.cfg.epm else {}
        if len(c) == 2:
            found["agreement"] = (c[0] == c[1]).float().mean()
            found["collisions"] = (Y[0] == Y[1]).all(1).float().mean()  # Theorem 3.2's
        return found

    def measure(self, clock: Clock, data: Data) -> None:
        """Pr, from what was watched since the last time or from a pass over the labelled images."""
        if self.cfg.epm_source == "eval_pass":
            clean = self.task.view("none")
            fresh = measured(data, clean, *self.nets) if self.cfg.norm == "measured" else nullcontext()
            with fresh, eval_mode(*self.nets):
                for ids, images in data.sweep(data.labelled):
                    for s, net in enumerate(self.nets):
                        self.perception.watch(s, net(clean(images)), data.y.to(ids.device)[ids], shared=False)
        self.perception.finish(self.task.labelled)

    def stages(self, plan: Plan) -> list[Stage]:
        optim = {f"nets.{s}": self.cfg.optim for s in range(len(self.nets))}
        due = after_passes(self.cfg.epm_every, plan.labelled, plan.batch[0])
        moments = (Moment(due, self.measure),) if self.cfg.epm else ()
        return [Stage("train", self.loss, plan.steps, optim, self.epoch, moments=moments)]

    def predictors(self) -> dict[str, nn.Module]:
        return dict(zip(("one", "two"), self.nets, strict=False))
