"""V-PET, voting of cheap tunings and backbones: Zhang, Mai, Nguyen & Chao 2025, arXiv:2503.09707 (NeurIPS).

    members     f_m, m = 1, ..., M: every tuning of every backbone, each trained by  1/B sum_b CE(f_m(a_m(x_b)), y_b)
    vote        q_u = 1/M sum_m onehot(argmax f_m(u))                            u as it is, in evaluation mode
    student     a fresh network on the features of all backbones:
                L = 1/B sum_b CE(f(a(x_b)), y_b) + lambda_u 1/U sum_b CE(f(a(u_b)), q_b)

Networks that were tuned in other ways are wrong on other images: where they agree the label is sound, where they do not the
student is taught to be unsure. Votes are of classes, since networks of different backbones are not equally sure of
themselves. One round; every unlabelled image takes part. a: weak views, each member's its own.

Evaluated: the student, and the members together (the mean of their probabilities), which need M networks.

Departures:
- The paper tunes whole vision transformers; here a member is a head on frozen features (or any network of --net), and the
  tunings are of its pooled features: as they are, with a low-rank change (LoRA's form), with a bottleneck (AdaptFormer's).
- Several backbones are several blocks of a row (--backbone lite0+lite1+lite2 with blocks = 3); the student sees all of
  them, where the paper's sees one backbone.
- Members and student share a run's length (first), and labelled images keep their given labels in the second stage.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from halfseen.errors import UserError
from halfseen.method import Batch, Clock, Data, Losses, Method, Plan, Stage, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.align import Align, Aligned
from halfseen.parts.forward import together
from halfseen.parts.losses import cross_entropy
from halfseen.parts.memory import Memory
from halfseen.parts.norms import Norm
from halfseen.parts.rounds import ask
from halfseen.parts.tunings import Ensemble, Tuned, Tuning, blocks_of


@dataclass(frozen=True)
class Config(Aligned):
    tunings: tuple[Tuning, ...] = ("head", "low_rank", "adapter")  # of each backbone: halfseen/parts/tunings.py
    rank: int = 16  # of the low-rank change, and units of the bottleneck
    blocks: int = 1  # backbones whose features stand side by side in a row
    votes: Literal["classes", "probabilities"] = "classes"  # probabilities: q is their mean
    first: float = 0.5  # share of training in which the members learn
    lambda_u: float = 1.0  # weight of the voted labels
    seen: Literal["weak", "strong"] = "weak"  # view of the unlabelled images that the student learns
    norm: Norm = (
        "measured"  # batch-norm statistics of what votes and is scored: on clean training images, or running ones
    )
    optim: Optim = Optim(schedule="cos")  # of both stages


class VPET(Method[Config]):
    batch = (64, 192)

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        if not cfg.tunings or cfg.rank < 1 or cfg.blocks < 1 or cfg.lambda_u < 0 or not 0 < cfg.first < 1:
            raise UserError(
                "vpet needs a tuning at least, rank and blocks of at least 1, lambda_u of at least 0 and first between 0 "
                "and 1; see halfseen explain vpet"
            )
        self.net = task.make_net()
        blocks = blocks_of(task.shape, cfg.blocks)
        self.ensemble = Ensemble(Tuned(task.make_net, t, cfg.rank, seen) for seen in blocks for t in cfg.tunings)
        self.clean = task.view("none")
        self.align = Align(cfg, task, teachers=len(self.ensemble.members))
        self.q = Memory(task.samples, task.classes)

    def members(self, batch: Batch, clock: Clock) -> Losses:
        f = self.ensemble.members
        return Losses(
            {f"{m + 1}/CE": cross_entropy(f[m](self.labelled_view(batch.x)), batch.y).mean() for m in range(len(f))}
        )

    @torch.no_grad()
    def vote(self, data: Data) -> None:
        ids = data.unlabelled.to(self.q.values.device)
        y = data.y[data.labelled].to(ids.device)
        self.q.values[ids] = 0
        for m, member in enumerate(self.ensemble.members):
            p = self.align.pool(ask(member, data, ids, self.clean, self.cfg.norm), y, m)
            said = F.one_hot(p.argmax(1), self.task.classes) if self.cfg.votes == "classes" else p
            self.q.values[ids] += said.to(self.q.values.dtype) / len(self.ensemble.members)

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        u = self.weak(batch.u) if self.cfg.seen == "weak" else self.strong(batch.u)
        logits_x, logits_u = together(self.net, self.labelled_view(batch.x), u)
        q = self.q[batch.u_ids]
        terms = {
            "L_x": cross_entropy(logits_x, batch.y).mean(),
            "L_u": self.cfg.lambda_u * cross_entropy(logits_u, q).mean(),
        }
        everyone = torch.ones(len(q), dtype=torch.bool, device=q.device)
        return Losses(terms, {"unity": q.amax(1).mean()} | self.align.stats(), Unlabelled(logits_u, q, everyone))

    def stages(self, plan: Plan) -> list[Stage]:
        first = round(self.cfg.first * plan.steps)
        begin = Stage("members", self.members, first, {"ensemble": self.cfg.optim}, "labeled_pass")
        end = Stage("student", self.loss, plan.steps - first, {"net": self.cfg.optim}, self.epoch, self.vote)
        return [stage for stage in (begin, end) if stage.steps > 0]

    def predictors(self) -> dict[str, nn.Module]:
        return {"net": self.net, "ensemble": self.ensemble}
