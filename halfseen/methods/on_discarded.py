"""DNLL on what another method discards: Xu et al. 2023, "Dual negative label learning", Knowledge-Based Systems, Figure 6.

    L_s = L_host(s) + w(t) 1/|D_s| sum_{b in D_s} 1/|N_b| sum_{k in N_b} -log(1 - p_k + 1e-6),   p = softmax f_s(u_b)

D_s are the unlabelled images that the host discards for its network s, N_b are classes other than the argmax of the `source`
and f_s(u_b) are the logits that the host trains, without harm to what it does. w = 75 exp(-5 (1 - e/100)^2) in the
hundredths e = 0, ..., 15 of training and 2 after (the released code's epochs, of which it has 100).

The host is any method that reports what it does with each image:
    Dual Student (default): its students see what the other one says of the same view
        method.host=dual_student method.settings="ramp=0.05"
    Mean Teacher: every image, and the student's own word on the teacher's view; the student is evaluated
        method.host=mean_teacher method.rows=all method.source=own method.headline=net
        method.settings="weight=10 ramp=0.05 ramp_form=exp ce_norm=batch heads=2 optim.lr=0.1 optim.schedule=cos"
    Others: two of them side by side, each taught by the other where it discards
        method.host=fixmatch method.copies=2          with --weak fm --strong fm+ra --batch 64 --unlabelled-batch 448

source: `target`, what the host would have taught (with Dual Student the other student's prediction); `other`, the other
copy's target; `own`, the network's own prediction, without gradient, on the view of the target. auto: other with two
copies, target with one. sampler: `released` draws m times with replacement; `ep` and `epm` are DNLL's.

Evaluated: what the host evaluates; of two copies, those of both.

Departures:
- The host runs with the batches, views and split of this method unless the command line says otherwise, not with its own.
- A host that updates several times in a step has all its losses computed before the first update.
- No image discarded is a loss of 0; the release divides by 0. Mean Teacher's average is a correct one: the published curve
  has a teacher that is moved by 0.999 of the gap at every step, which is method.settings="decay=0.001".
- epm: Pr is measured in an extra forward of the labelled weak views, because a host does not report its own.
"""

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from halfseen import methods
from halfseen.errors import UserError, nearest
from halfseen.method import Batch, Clock, Data, Losses, Method, Moment, Plan, Stage, Task, Unlabelled
from halfseen.overrides import pairs, with_settings
from halfseen.parts.losses import mean_of, negative
from halfseen.parts.negatives import Draw, ErrorPerception, after_passes, how_many, pick_negatives
from halfseen.parts.ramps import exp_rampup
from halfseen.parts.weak import predict_only


@dataclass(frozen=True)
class Config:
    host: str = "dual_student"  # a method by name, or a file
    settings: str = ""  # the host's, as in "xi=0.4 optim.lr=0.05"
    copies: Literal[1, 2] = 1  # 2: two hosts side by side
    rows: Literal["discarded", "all"] = "discarded"  # all: where a host discards nothing
    source: Literal["auto", "target", "other", "own"] = "auto"  # whose class is left out of the negatives
    m: int | None = None  # draws per image; none: 2, or K - 1 where there are fewer classes
    addon_sampler: Literal["released", "ep", "epm"] = "released"  # with replacement; or DNLL's, without
    addon_norm: Literal["selected", "batch"] = "selected"  # batch: the mean over all unlabelled rows
    nl_per_label: Literal["mean", "sum"] = "mean"
    nl_form: Literal["add_eps", "exact"] = "add_eps"
    weight: float = 2.0  # of the term, after its start
    start_weight: float = 75.0  # of the rise at the start
    start: float = 0.15  # share of training over which it lasts, its last hundredth included
    epm_every: float = 10.0  # epm: passes over the labelled images from one measurement of Pr to the next
    epm_ema: float = 0.9  # decay of the average of the measurements
    headline: str = ""  # predictor that comes first; empty: the host's first


class OnDiscarded(Method[Config]):
    epoch = "unlabeled_pass"
    batch = (50, 50)
    views = ("ds", "ds")

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        entry = methods.load(cfg.host)
        if entry.source.resolve() == Path(__file__).resolve():
            raise UserError("a host must be another method than on_discarded; take --set method.host=dual_student")
        host = with_settings(entry.config(), pairs(cfg.settings.split()), entry.name)
        if cfg.epm_every <= 0:
            raise UserError(f"epm_every={cfg.epm_every:g}: the passes between two measurements of Pr must be above 0")
        self.m = how_many(cfg.m, task.classes, usual=2)
        self.hosts = nn.ModuleList(entry.method(host, task) for _ in range(cfg.copies))
        self.perception = ErrorPerception(2, task.classes, cfg.epm_ema)
        if cfg.headline and cfg.headline not in self.predictors():
            raise UserError(f"the host has no predictor {cfg.headline!r}; {nearest(cfg.headline, self.predictors())}")

    @property
    def norm(self) -> str:
        return self.each[0].norm  # the host's

    @property
    def each(self) -> list[Method[Any]]:
        return [cast(Method[Any], host) for host in self.hosts]

    def stages(self, plan: Plan) -> list[Stage]:
        """The hosts' stages, side by side."""
        stages = list(zip(*(host.stages(plan) for host in self.each), strict=True))
        return [self.beside(parts, plan, last=parts is stages[-1]) for parts in stages]

    def beside(self, parts: tuple[Stage, ...], plan: Plan, last: bool) -> Stage:
        if len(parts) > 1 and parts[0].selected is not None:
            raise UserError(f"{self.cfg.host} chooses its own images, two of them cannot share a batch; take copies=1")

        def enter(data: Data) -> None:
            for part in parts:
                if part.enter is not None:
                    part.enter(data)

        def end_epoch(clock: Clock, data: Data) -> None:
            for part in parts:
                if part.end_epoch is not None:
                    part.end_epoch(clock, data)

        moments = tuple(moment for part in parts for moment in part.moments)
        if self.cfg.addon_sampler == "epm":
            due = after_passes(self.cfg.epm_every, plan.labelled, (parts[0].batch or plan.batch)[0])
            moments += (Moment(due, lambda clock, data: self.perception.finish(self.task.labelled)),)
        optim = {f"hosts.{i}.{path}": spec for i, part in enumerate(parts) for path, spec in part.optim.items()}
        loss = partial(self.add_on, parts, last=last)
        return replace(parts[0], loss=loss, optim=optim, enter=enter, end_epoch=end_epoch, moments=moments)

    def loss(self, batch: Batch, clock: Clock) -> Iterator[Losses]:
        """A step of the hosts' last stage; `stages` does the same with each of theirs."""
        plan = Plan(clock.steps, self.task.labelled, self.task.unlabelled, (len(batch.x), len(batch.u)))
        return self.add_on(tuple(host.stages(plan)[-1] for host in self.each), batch, clock)

    def add_on(self, parts: tuple[Stage, ...], batch: Batch, clock: Clock, last: bool = True) -> Iterator[Losses]:
        """The hosts' losses, and the negative term beside each that says what it did with the unlabelled images."""
        sides = [side for i, part in enumerate(parts) for side in self.of_host(i, part, batch, clock)]
        reports = [side.unlabelled for side in sides if side.unlabelled is not None]
        paths = [side.trains for side in sides if side.unlabelled is not None]
        if last and not reports:
            raise UserError(
                f"{self.cfg.host} says nothing of unlabelled images, so nothing is left over; take another host"
            )
        if len(reports) > len(self.perception.Pr):
            raise UserError(
                f"{self.cfg.host} has {len(reports)} networks, and this method pairs two; take another host"
            )
        nets = [self.learner(trains) for trains in paths]
        if self.cfg.addon_sampler == "epm":
            view = self.labelled_view(batch.x)
            for s, net in enumerate(nets):
                self.perception.watch(s, predict_only(net, view), batch.y)
        added = iter([self.negative_term(s, reports, nets[s], clock) for s in range(len(reports))])
        for side in sides:
            yield side if side.unlabelled is None else with_term(side, *next(added))

    def of_host(self, i: int, part: Stage, batch: Batch, clock: Clock) -> list[Losses]:
        """What host i computes, its optimisers (and of two hosts its terms) under names that tell it from the other."""
        found = part.loss(batch, clock)
        label = f"{i + 1}/" if len(self.hosts) > 1 else ""
        return [
            replace(
                side,
                terms={f"{label}{name}": term for name, term in side.terms.items()},
                stats={f"{label}{name}": stat for name, stat in side.stats.items()},
                trains=tuple(f"hosts.{i}.{path}" for path in side.trains or part.optim),
            )
            for side in ([found] if isinstance(found, Losses) else found)
        ]

    def learner(self, paths: tuple[str, ...]) -> nn.Module:
        """The network among what a host's losses train."""
        parts = [operator.attrgetter(path)(self) for path in paths]
        for part in parts:
            if isinstance(part, nn.Module):
                return part
        raise UserError(f"{self.cfg.host} trains no network on unlabelled images; take another host")

    def negative_term(
        self, s: int, reports: list[Unlabelled], net: nn.Module, clock: Clock
    ) -> tuple[str, Tensor, Tensor, Tensor]:
        """Its name, its value, the rows that it is on [U] and the negatives [U, K]."""
        cfg, mine, K = self.cfg, reports[s], self.task.classes
        rows = ~mine.kept if cfg.rows == "discarded" else torch.ones_like(mine.kept)
        c = self.guess(s, reports, net).argmax(1)
        weights = self.perception.Pr[s][c] if cfg.addon_sampler == "epm" else None
        draw: Draw = "replacement" if cfg.addon_sampler == "released" else "sequential"
        N = pick_negatives(c, self.m, K, self.task.draws, weights, draw)
        NL = negative(N, mine.logits, cfg.nl_form, per_label=cfg.nl_per_label)  # [U]
        mean = mean_of(rows, NL) if cfg.addon_norm == "selected" else torch.where(rows, NL, 0).mean()
        return f"{s + 1}/L_n", self.weight(clock.progress) * mean, rows, N

    def guess(self, s: int, reports: list[Unlabelled], net: nn.Module) -> Tensor:
        """[U, K] whose largest entry is the class that is not among the negatives of network s."""
        cfg = self.cfg
        if cfg.source == "other" or (cfg.source == "auto" and cfg.copies == 2):
            if len(reports) != 2:
                raise UserError("there is no other network to ask; take method.copies=2, or method.source=target")
            return reports[1 - s].target
        if cfg.source != "own":
            return reports[s].target
        view = reports[s].view
        if view is None:
            raise UserError(f"{cfg.host} does not say on which view it predicts; take method.source=target")
        return predict_only(net, view)

    def weight(self, t: float) -> float:
        """w at the share t of training: the release counts epochs, which are hundredths, and rises in the 15th still."""
        e = math.floor(100 * t + 1e-9)  # 0.29 * 100 is below 29 in floating point
        return self.cfg.start_weight * exp_rampup(e, 100) if e <= 100 * self.cfg.start + 1e-9 else self.cfg.weight

    def after_step(self, clock: Clock) -> None:
        for host in self.each:
            host.after_step(clock)

    def predictors(self) -> dict[str, nn.Module]:
        if len(self.hosts) == 1:
            found = self.each[0].predictors()
        else:
            found = {f"{i + 1}/{n}": net for i, host in enumerate(self.each) for n, net in host.predictors().items()}
        first = self.cfg.headline
        return {first: found[first], **found} if first in found else found


def with_term(side: Losses, name: str, term: Tensor, rows: Tensor, N: Tensor) -> Losses:
    """A host's losses with one more term, and with the classes that it teaches not to be."""
    assert side.unlabelled is not None
    N = N & rows.unsqueeze(1)
    if side.unlabelled.negatives is not None:
        N = N | side.unlabelled.negatives
    stats = {**side.stats, name.replace("L_n", "discarded"): rows.float().mean()}
    return replace(
        side, terms={**side.terms, name: term}, stats=stats, unlabelled=replace(side.unlabelled, negatives=N)
    )
