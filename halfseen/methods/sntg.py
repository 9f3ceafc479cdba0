"""SNTG, smooth neighbours on teacher graphs: Luo et al. 2018, CVPR, arXiv:1711.00258; an add-on to a host.

    L   = L_host + w(t) ratio L_S,      d_ij^2 = 1/d ||h_i - h_j||^2        h: pooled features, d of them
    L_S = mean over pairs of   W_ij d_ij^2 + (1 - W_ij) max(0, 1 - d_ij)^2                               (6)
    W_ij = 1 if yhat_i = yhat_j else 0      yhat: the label of a labelled image, argmax of the host's target of another one

Row i of the batch [x; u] is paired with the row `offset` of the batch further on, around the end. The features are those
that the host trains, at its first look. w(t) = w_max exp(-5 (1 - min(t, T)/T)^2), T the share `ramp` of training, and w_max
is the host's weight, times N_L/N where the host has ce_norm = batch.

The host is pi_model (default), temporal_ensembling or vat:
    method.host=temporal_ensembling method.settings="weight=30"

Evaluated: an average of the host's network (decay .999), and what the host evaluates.

Departures:
- w(t) rises in a ramp of its own, the paper's, whatever the host's is.
- The release pairs the halves of a batch drawn from all images (offset = 0.5). In batches that hold as many labelled as
  unlabelled rows that would pair one kind with the other alone; a quarter gives every mixture its share.
- An unlabelled image without a target yet (Temporal Ensembling's first epoch) takes part in no pair.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from halfseen import methods
from halfseen.errors import UserError
from halfseen.method import Batch, Clock, Losses, Method, Plan, Stage, Task
from halfseen.overrides import pairs, with_settings
from halfseen.parts.consistency import w_max
from halfseen.parts.ema import Ema, early
from halfseen.parts.forward import eagerly, network_in
from halfseen.parts.losses import mean_of
from halfseen.parts.norms import Norm
from halfseen.parts.ramps import exp_rampup


@dataclass(frozen=True)
class Config:
    host: str = "pi_model"  # pi_model, temporal_ensembling or vat; or a file like them
    settings: str = ""  # the host's, as in "weight=100 ramp=0.3"
    weight: float | None = None  # of w(t), at the end of its ramp; none: the host's
    ramp: float = 80 / 300  # share of training over which it rises
    ratio: float = 0.4  # of L_S to the host's consistency, the paper's
    margin: float = 1.0  # distance of features of different classes
    offset: float = 0.25  # share of the batch between the two rows of a pair; 0.5: halves, as the release
    decay: float = 0.999  # of the average that is evaluated
    norm: Norm = "measured"  # batch-norm statistics of what is scored: on clean training images, or running ones


class SNTG(Method[Config]):
    epoch = "unlabeled_pass"
    batch = (50, 50)
    views = ("te", "te")

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        if not 0 < cfg.offset < 1 or cfg.margin <= 0:
            raise UserError("sntg needs an offset between 0 and 1 and a margin above 0; see halfseen explain sntg")
        entry = methods.load(cfg.host)
        if issubclass(entry.method, SNTG):
            raise UserError("a host must be another method than sntg; take --set method.host=pi_model")
        self.host: Method[Any] = entry.method(
            with_settings(entry.config(), pairs(cfg.settings.split()), entry.name), task
        )
        if len(self.host.stages(Plan(100, task.labelled, task.unlabelled, self.batch))) > 1:
            raise UserError(f"{cfg.host} has stages of its own; take --set method.host=pi_model")
        theirs = self.host.cfg
        weight = getattr(theirs, "weight", 1.0) if cfg.weight is None else cfg.weight
        self.w_max = w_max(weight, getattr(theirs, "ce_norm", "labelled"), task)
        self.net = network_in(self.host)
        if len(list(self.net.parameters())) == len(list(self.net.head.parameters())):
            raise UserError(
                "sntg moves features, and this network has a head on features that stay as they are; take --net mlp"
            )
        self.average = Ema(self.net)

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        """What `stages` trains with, of a run of this length."""
        plan = Plan(clock.steps, self.task.labelled, self.task.unlabelled, (len(batch.x), len(batch.u)))
        return self.beside(self.host.stages(plan)[0], batch, clock)

    def beside(self, part: Stage, batch: Batch, clock: Clock) -> Losses:
        n = len(batch.x) + len(batch.u)
        with seen_by_head(self.net, n) as seen:
            losses = part.loss(batch, clock)
        if not isinstance(losses, Losses) or losses.unlabelled is None or sum(map(len, seen)) < n:
            raise UserError(
                f"{self.cfg.host} does not show its network labelled and then unlabelled images in one update; take "
                "method.host=pi_model, temporal_ensembling or vat"
            )
        h = torch.cat(seen)[:n]
        told = losses.unlabelled
        yhat = torch.cat([batch.y, told.target.argmax(1)])
        known = torch.cat([torch.ones_like(batch.y, dtype=torch.bool), told.kept])
        w = self.w_max * exp_rampup(clock.progress, self.cfg.ramp)
        L_S = neighbour_loss(h, yhat, known, self.cfg.margin, round(self.cfg.offset * n))
        return replace(losses, terms={**losses.terms, "L_S": w * self.cfg.ratio * L_S})

    def stages(self, plan: Plan) -> list[Stage]:
        (part,) = self.host.stages(plan)
        optim = {f"host.{path}": spec for path, spec in part.optim.items()}
        return [replace(part, loss=partial(self.beside, part), optim=optim)]

    def after_step(self, clock: Clock) -> None:
        self.host.after_step(clock)
        self.average.follow(self.net, early(self.cfg.decay, clock.step), buffers=self.cfg.norm)

    def predictors(self) -> dict[str, nn.Module]:
        theirs = {f"host/{name}": net for name, net in self.host.predictors().items()}
        return {"average": self.average, **theirs}


def neighbour_loss(h: Tensor, yhat: Tensor, known: Tensor, margin: float, offset: int) -> Tensor:
    """L_S of features h [n, d] with classes yhat [n], over the pairs of rows that are both known [n]; 0 without one."""
    other = (torch.arange(len(h), device=h.device) + offset) % len(h)
    h = h if h.dtype == torch.float64 else h.float()
    d2 = (h - h[other]).square().mean(1)
    apart = (margin - d2.clamp_min(1e-12).sqrt()).clamp_min(0)  # the root's gradient at 0 is infinite
    return mean_of(known & known[other], torch.where(yhat == yhat[other], d2, apart.square()))


@contextmanager
def seen_by_head(net: nn.Module, rows: int) -> Iterator[list[Tensor]]:
    """The first `rows` features with a gradient that a network's head is given within the block, call by call."""
    found: list[Tensor] = []

    def note(head: nn.Module, args: tuple[Tensor, ...]) -> None:
        if args[0].requires_grad and sum(map(len, found)) < rows:  # VAT's later ones belong to graphs that are gone
            found.append(args[0])

    with eagerly(net), ExitStack() as hooks:
        hooks.callback(net.get_submodule("head").register_forward_pre_hook(note).remove)
        yield found
