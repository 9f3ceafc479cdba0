"""Label propagation, LP-DeepSSL: Iscen et al. 2019, "Label propagation for deep semi-supervised learning", arXiv:1904.04717.

    A_ij = max(cos(f_i, f_j), 0)^gamma  for the k nearest neighbours j of image i,  W = A + A^T            (9)
    (I - alpha W_n) Z = Y,   W_n = D^{-1/2} W D^{-1/2}                                                      (10)
    yhat_i = argmax Z_i                                                                                     (7)
    w_i = 1 - H(Z_i)/log K,   zeta_c = (N/K)/|{i: yhat_i = c}|                                             (11)
    L = 1/B sum_b w_b zeta_{yhat_b} CE(p(a(x_b)), yhat_b)        labelled images: yhat = y, w = 1           (12)

f are features of images as they are; Z is clipped at 0 and its rows normalised, w divided by its largest. Stages: supervised
(CE on L), then propagate: the graph is made and solved on entry and after each `every` passes over the unlabelled images.
host = mean_teacher: both stages train the host, and the second adds the unlabelled part of L to what it does.

Evaluated: the network; with a host, what the host evaluates.

Departures:
- The released network divides its features by their length before its head; here only the graph does.
- With a host the labelled term is the host's, without zeta, and the mean of the other part is over the unlabelled rows.
- Features are those of evaluation mode with batch-norm statistics measured anew, as those of everything that is asked.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halfseen import methods
from halfseen.errors import UserError
from halfseen.method import Batch, Clock, Data, Losses, LossFn, Method, Plan, Stage, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.overrides import pairs, with_settings
from halfseen.parts.align import Align, Aligned
from halfseen.parts.forward import eval_mode, network_in, together
from halfseen.parts.graph import certainty, propagate
from halfseen.parts.losses import cross_entropy
from halfseen.parts.memory import Memory
from halfseen.parts.norms import RunningNorm, measured


@dataclass(frozen=True)
class Config(Aligned):
    k: int = 50  # nearest neighbours
    gamma: float = 3.0  # power of their cosines
    alpha: float = 0.99  # how far labels travel
    cg_steps: int = 20  # of conjugate gradients
    every: int = 1  # passes over the unlabelled images from one propagation to the next
    first: float = 0.1  # share of training that is supervised (with a host: by the host) before it
    certain: bool = True  # w; False: every pseudo label counts 1
    balance: bool = True  # zeta; False: every class counts 1
    host: str = ""  # a method that is trained besides: mean_teacher; none: cross-entropy alone
    settings: str = ""  # the host's, as in "weight=100 decay=0.97"
    weight: float = 1.0  # of the unlabelled part beside a host's terms
    norm: RunningNorm = "measured"  # batch-norm statistics of what is scored; copied: the running ones
    optim: Optim = Optim(
        lr=0.05, schedule="cos(1.1667)", weight_decay=2e-4, decay_all=True
    )  # T 210 of 180; not a host's


class LabelPropagation(Method[Config]):
    epoch = "unlabeled_pass"
    batch = (50, 50)
    views = ("ds", "ds")

    class_weight: Tensor
    moved: Tensor

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        if cfg.k < 1 or not 0 <= cfg.alpha < 1 or cfg.cg_steps < 1 or cfg.every < 1 or not 0 <= cfg.first < 1:
            raise UserError(
                "label_propagation needs k, cg_steps and every of at least 1, and alpha and first from 0 to below 1; see "
                "halfseen explain label_propagation"
            )
        self.host: Method[Any] | None = None
        if cfg.host:
            entry = methods.load(cfg.host)
            if issubclass(entry.method, LabelPropagation):
                raise UserError("a host must be another method; take --set method.host=mean_teacher")
            self.host = entry.method(with_settings(entry.config(), pairs(cfg.settings.split()), entry.name), task)
            if len(self.host.stages(Plan(100, task.labelled, task.unlabelled, self.batch))) > 1:
                raise UserError(f"{cfg.host} has stages of its own; take --set method.host=mean_teacher")
        else:
            self.net = task.make_net()
        self.clean = task.view("none")
        self.align = Align(cfg, task)  # of Z
        self.label = Memory(task.samples, dtype=torch.int64)
        self.w = Memory(task.samples)
        self.register_buffer("class_weight", torch.ones(task.classes))  # zeta
        self.register_buffer("moved", torch.zeros(()))  # share of the pseudo labels that the last propagation changed

    @property
    def norm(self) -> str:
        return self.host.norm if self.host is not None else self.cfg.norm

    # ---- losses ---------------------------------------------------------------------------------------------------------

    def supervised(self, batch: Batch, clock: Clock) -> Losses:
        return Losses({"CE": cross_entropy(self.net(self.labelled_view(batch.x)), batch.y).mean()})

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        x, u = self.labelled_view(batch.x), self.weak(batch.u)
        logits_x, logits_u = together(self.net, x, u)
        terms = {
            "L": (self.costs(logits_x, batch.y).sum() + self.of_pool(logits_u, batch.u_ids).sum()) / (len(x) + len(u))
        }
        return Losses(terms, {"moved": self.moved} | self.align.stats(), self.taught(logits_u, batch.u_ids))

    def costs(self, logits: Tensor, y: Tensor) -> Tensor:
        """zeta CE [n]"""
        return self.class_weight[y] * cross_entropy(logits, y)

    def of_pool(self, logits: Tensor, ids: Tensor) -> Tensor:
        """w zeta CE [U]"""
        return self.w[ids] * self.costs(logits, self.label[ids])

    def taught(self, logits: Tensor, ids: Tensor) -> Unlabelled:
        return Unlabelled(logits, F.one_hot(self.label[ids], self.task.classes).float(), self.w[ids] > 0)

    def beside(self, part: Stage, batch: Batch, clock: Clock) -> Losses:
        """The host's losses and one more term."""
        losses = part.loss(batch, clock)
        if not isinstance(losses, Losses) or losses.unlabelled is None:
            raise UserError(
                f"{self.cfg.host} does not say in one update what it predicts of unlabelled images; take "
                "method.host=mean_teacher"
            )
        logits = losses.unlabelled.logits
        terms = {**losses.terms, "L": self.cfg.weight * self.of_pool(logits, batch.u_ids).mean()}
        return Losses(
            terms, {**losses.stats, "moved": self.moved} | self.align.stats(), self.taught(logits, batch.u_ids)
        )

    # ---- the graph --------------------------------------------------------------------------------------------------------

    def propagate(self, data: Data) -> None:
        cfg, K = self.cfg, self.task.classes
        net = network_in(self)
        known = set(data.labelled.tolist())
        pool = data.unlabelled[[i not in known for i in data.unlabelled.tolist()]]
        ids = torch.cat([data.labelled, pool])
        with measured(data, self.clean, net), eval_mode(net):
            features = torch.cat([net.features(self.clean(x)) for _, x in data.sweep(ids)])
        ids = ids.to(features.device)
        given, rest = ids[: len(data.labelled)], ids[len(data.labelled) :]
        y = data.y[data.labelled]
        known_y = torch.cat([y, torch.full((len(rest),), -1)])
        Z = propagate(features, known_y, K, cfg.k, cfg.gamma, cfg.alpha, cfg.cg_steps)
        y = y.to(ids.device)
        if len(rest):
            Z_u = self.align.pool(Z[len(given) :], y)
            new = Z_u.argmax(1)
            self.moved.copy_((new != self.label[rest]).float().mean())
            self.label.values[rest] = new
            self.w.values[rest] = certainty(Z_u).to(self.w.values) if cfg.certain else 1.0
        self.label.values[given] = y
        self.w.values[given] = 1.0
        if cfg.balance:
            sizes = torch.bincount(self.label[ids], minlength=K)
            self.class_weight.copy_(len(ids) / K / sizes.clamp_min(1))

    def after_pass(self, clock: Clock, data: Data) -> None:
        if (clock.epoch + 1) % self.cfg.every == 0 and clock.step + 1 < clock.steps:
            self.propagate(data)

    # ---- the plan -------------------------------------------------------------------------------------------------------

    def stages(self, plan: Plan) -> list[Stage]:
        first = round(self.cfg.first * plan.steps)
        optim: dict[str, Optim] = {"net": self.cfg.optim}
        begin = Stage("supervised", self.supervised, first, optim, "labeled_pass")
        second: LossFn = self.loss
        if self.host is not None:
            (part,) = self.host.stages(plan)
            optim = {f"host.{path}": spec for path, spec in part.optim.items()}
            begin = replace(part, name=self.cfg.host, steps=first, optim=optim)
            second = partial(self.beside, part)
        rest = plan.steps - first
        spread = Stage("propagate", second, rest, optim, self.epoch, self.propagate, self.after_pass)
        return [stage for stage in (begin, spread) if stage.steps > 0]

    def after_step(self, clock: Clock) -> None:
        if self.host is not None:
            self.host.after_step(clock)

    def predictors(self) -> dict[str, nn.Module]:
        return {"net": self.net} if self.host is None else self.host.predictors()
