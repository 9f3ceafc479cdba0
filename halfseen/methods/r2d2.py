"""R2-D2, Repetitive Reprediction Deep Decipher: Wang & Wu 2020, AAAI, arXiv:1908.04345.

    L = alpha L_c + beta L_e,   L_c = KL(phat || ptil),   L_e = H(phat)                                   (2)
    d L/d yhat_n = phat_n [(alpha - beta) log phat_n - alpha log ptil_n - L]                              (5)
    d L/d ytil_n = alpha (ptil_n - phat_n)                                                                (6)
    ytil <- ytil - lambda d L/d ytil,   sum_n ytil_n stays what it was                            (7), (12-13)
    Theorem 1, at the network's optimum:   ptil_n = exp(-L/alpha) phat_n^(1 - beta/alpha);   2: max ptil <= max phat

phat = softmax(yhat), the network's logits; ptil = softmax(ytil), one row of free pseudo-logits for every image. `lc` has
the paper's two others: KL(ptil || phat) (14) and ||ptil - phat||^2 (15). L is the mean over all rows of the batch; the
rows of labelled images are K_init * onehot(y) and do not move.

Stages: supervised (cross-entropy on L); d2 (L, ytil predicted by the network on entry), then its repeat in equal parts,
before each of which ytil is predicted anew, each with its rate; finetune (cross-entropy on L and U, labels argmax ytil).

Evaluated: the network, after the last stage.

Departures:
- Stage lengths are shares of the run, by default in the proportions of the paper's CIFAR-10 steps (300 epochs of L, 300
  and 4 x 75 of U, 50 of all), and ytil is predicted after a part's first step, at any length; the paper's is an epoch's end.
- A labelled image that comes among the unlabelled ones (split.include_labeled_in_unlabeled) keeps its row.
- Rates and batches are those of the single-GPU port: B = 128 (32), a quarter of the rates at 512; lambda is rescaled by
  B/512 (label_lr_reference_batch), so that a visit moves ytil as far as in the release.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.method import Batch, Clock, Data, Losses, Method, Moment, Plan, Stage, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.forward import eval_mode, frozen_batchnorm, together
from halfseen.parts.losses import cross_entropy, entropy, kl, squared, wide
from halfseen.parts.memory import Memory
from halfseen.parts.norms import RunningNorm, measured


@dataclass(frozen=True)
class Config:
    alpha: float = 0.1  # weight of L_c
    beta: float = 0.03  # weight of the entropy; below alpha, or the optimum of Theorem 1 is no optimum
    allow_alpha_le_beta: bool = False  # to see what happens
    lc: Literal["kl", "kl_pseudo_pred", "l2"] = "kl"  # KL(phat||ptil), KL(ptil||phat) or ||ptil - phat||^2
    label_lr: float = 4000.0  # lambda, the learning rate of the pseudo-logits
    label_grad: Literal["batch_mean", "per_sample"] = "batch_mean"  # gradient of the batch's mean, or of a row (Eq 7)
    label_lr_reference_batch: int = 512  # batch_mean: rows that lambda is meant for; 0: the run's own, no rescaling
    k_init: float = 10.0  # pseudo-logit of a labelled image's class, 0 elsewhere
    shares: tuple[float, float, float, float] = (0.282, 0.336, 0.336, 0.046)  # supervised, d2, its repeat, finetune
    drops: tuple[float, ...] = (1.0, 2 / 3, 1 / 3, 1 / 30)  # factors of d2.lr in the repeat's parts: .12 .08 .04 .004
    repredictions: int = (
        4  # at equal distances in the repeat, the first as it begins: every 75 of the paper's 300 epochs
    )
    ablation: Literal["a", "b", "c", "d", "e"] = "e"  # a no repeat; b repeat alone; c + predictions; d + drops; e both
    stage3_labels: Literal["pseudo", "repredict"] = "pseudo"  # paper; the release predicts once more first
    bn_chunks: int = 1  # 4: the release's four GPUs, each with its own batch statistics, the first one's remembered
    supervised_batch: int = 40  # labelled images a step of the first stage
    norm: RunningNorm = "measured"  # batch-norm statistics of what is scored; copied: the running ones
    supervised: Optim = Optim(lr=0.05, schedule="cos(1.1667)", weight_decay=2e-4, decay_all=True)  # T 350 of 300
    d2: Optim = Optim(lr=0.03, schedule="constant", weight_decay=2e-4, decay_all=True)  # any other schedule: no drops
    finetune: Optim = Optim(lr=0.0025, schedule="cos", weight_decay=2e-4, decay_all=True)  # T 50 of 50


class R2D2(Method[Config]):
    epoch = "unlabeled_pass"
    batch = (32, 96)
    views = ("ds", "ds+cutout16")

    given: Tensor
    changed: Tensor

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        if cfg.alpha <= cfg.beta and not cfg.allow_alpha_le_beta:
            raise UserError(
                f"alpha={cfg.alpha:g} <= beta={cfg.beta:g}: the network's optimum is phat ~ ptil^(alpha/(alpha - beta)), "
                "which needs alpha > beta, or the entropy term wins and the labels invert; raise method.alpha, or say "
                "--set method.allow_alpha_le_beta=true to see it happen"
            )
        if not cfg.drops or min(cfg.shares) < 0 or cfg.shares[1] <= 0 or cfg.repredictions < 0 or cfg.bn_chunks < 1:
            raise UserError(
                "r2d2 needs shares of which none is negative and the second, d2's, is above 0, at least one factor in "
                "drops, repredictions >= 0 and bn_chunks >= 1; see halfseen explain r2d2"
            )
        self.net = task.make_net()
        self.clean = task.view("none")
        self.pseudo = nn.Parameter(torch.zeros(task.samples, task.classes))  # ytil [N, K]
        self.row_sum = Memory(task.samples)  # of ytil when it was predicted
        self.register_buffer("given", torch.zeros(task.samples, dtype=torch.bool))  # [N] is the image labelled?
        self.register_buffer("changed", torch.zeros(()))  # share of the labels that the last prediction changed
        self.predict_at: list[int] = []  # steps of the d2 stage

    # ---- the losses of the stages -----------------------------------------------------------------------------------

    def supervised(self, batch: Batch, clock: Clock) -> Losses:
        return Losses({"CE": cross_entropy(self.net(self.strong(batch.x)), batch.y).mean()})

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        alpha, beta, ids = self.cfg.alpha, self.cfg.beta, torch.cat([batch.u_ids, batch.x_ids])
        yhat_u, yhat_x = together(
            self.in_chunks, self.weak(batch.u), self.labelled_view(batch.x)
        )  # unlabelled rows come first
        yhat = wide(torch.cat([yhat_u, yhat_x]))  # [U + B, K]
        ytil_u = self.pseudo[batch.u_ids]
        ytil_u = torch.where(self.given[batch.u_ids].unsqueeze(1), ytil_u.detach(), ytil_u)  # a known label stays
        ytil = torch.cat([ytil_u, self.pseudo[batch.x_ids].detach()])

        L_c, L_e = COMPARE[self.cfg.lc](yhat, ytil), entropy(yhat)
        terms = {"alpha L_c": alpha * L_c.mean(), "beta L_e": beta * L_e.mean()}
        with torch.no_grad():
            drift = (self.pseudo[ids].sum(1) - self.row_sum[ids]).abs().max()
            stats = {"pseudo_entropy": entropy(ytil_u).mean(), "row_sum_drift": drift, "changed_labels": self.changed}
            if self.cfg.lc == "kl" and alpha > beta:
                stats["theorem1_gap"] = theorem1_gap(yhat, ytil, alpha * L_c + beta * L_e, alpha, beta).mean()
            ptil_u = ytil_u.softmax(1)
        return Losses(terms, stats, Unlabelled(yhat_u, ptil_u, torch.ones_like(batch.u_ids, dtype=torch.bool)))

    def finetune(self, batch: Batch, clock: Clock) -> Losses:
        """All images come as u, the labelled ones too: argmax of K_init * onehot(y) is y."""
        logits = self.net(self.strong(batch.u))  # [B, K]
        pseudo = self.pseudo[batch.u_ids]
        CE = cross_entropy(logits, pseudo.argmax(1)).mean()
        return Losses({"CE": CE}, unlabelled=Unlabelled(logits, pseudo, ~self.given[batch.u_ids]))

    def in_chunks(self, x: Tensor) -> Tensor:
        """The network's logits, in bn_chunks parts that are normalised apart; the first moves the running statistics."""
        first, *rest = x.chunk(self.cfg.bn_chunks)
        logits = [self.net(first)]
        with frozen_batchnorm(self.net):
            logits += [self.net(part) for part in rest]
        return torch.cat(logits)

    # ---- pseudo-logits between the steps ----------------------------------------------------------------------------

    def begin(self, data: Data) -> None:
        ids = data.labelled.to(self.pseudo.device)
        y = data.y[data.labelled].to(ids.device)
        self.pseudo[ids] = self.cfg.k_init * F.one_hot(y, self.pseudo.shape[1]).to(self.pseudo.dtype)
        self.row_sum.values[ids] = self.cfg.k_init
        self.given[ids] = True
        self.predict(data)
        self.changed.zero_()  # nothing stood there before

    def predict(self, data: Data) -> None:
        """ytil of U <- the network's logits in eval mode, images as they are; a labelled image among them keeps its row."""
        changed = torch.zeros_like(self.changed)
        fresh = measured(data, self.clean, self.net) if self.cfg.norm == "measured" else nullcontext()
        with fresh, eval_mode(self.net):
            for ids, x in data.sweep(data.unlabelled):
                logits = wide(self.net(self.clean(x)))
                logits = torch.where(self.given[ids].unsqueeze(1), self.pseudo[ids], logits)
                changed += (logits.argmax(1) != self.pseudo[ids].argmax(1)).sum()
                self.pseudo[ids] = logits
                self.row_sum.values[ids] = logits.sum(1)
        self.changed.copy_(changed / max(1, len(data.unlabelled)))

    def begin_finetune(self, data: Data) -> None:
        if self.cfg.stage3_labels == "repredict":
            self.predict(data)

    # ---- the plan -----------------------------------------------------------------------------------------------------

    def stages(self, plan: Plan) -> list[Stage]:
        cfg = self.cfg
        ends = [round(plan.steps * sum(cfg.shares[: i + 1]) / sum(cfg.shares)) for i in range(4)]
        first, once, repeat, last = (end - start for start, end in zip([0, *ends], ends, strict=False))
        repeat = repeat if cfg.ablation != "a" else 0
        d2 = max(1, once + repeat)
        parts = [once + repeat * i / len(cfg.drops) for i in range(len(cfg.drops))]  # where they begin
        self.predict_at = []
        if repeat and cfg.ablation in "ce":
            times = (round(once + repeat * i / cfg.repredictions) for i in range(cfg.repredictions))
            self.predict_at = [max(1, at) for at in times if at < d2]
        if repeat and cfg.ablation in "de" and cfg.d2.schedule == "constant":
            falls = ",".join(f"{at!r}/{d2}:{factor!r}" for at, factor in zip(parts, cfg.drops, strict=True))
            optim_d2 = replace(cfg.d2, schedule=f"steps({falls})")
        else:
            optim_d2 = cfg.d2
        optim = {"net": optim_d2, "pseudo": self.label_optim(sum(plan.batch))}
        all_l = (cfg.supervised_batch, plan.batch[1])
        again = Moment(lambda done: done in self.predict_at, lambda clock, data: self.predict(data))
        found = [
            Stage("supervised", self.supervised, first, {"net": cfg.supervised}, "labeled_pass", batch=all_l),
            Stage("d2", self.loss, d2, optim, "unlabeled_pass", self.begin, moments=(again,)),
            Stage("finetune", self.finetune, last, {"net": cfg.finetune}, "selected_pass", self.begin_finetune),
        ]
        return [stage for stage in found if stage.steps > 0]

    def label_optim(self, B: int) -> Optim:
        """lambda is a learning rate: the gradient that it multiplies is that of the mean over the B rows, alpha/B (...)."""
        rate, reference = self.cfg.label_lr, self.cfg.label_lr_reference_batch
        if self.cfg.label_grad == "per_sample":
            rate *= B
        elif reference:
            rate *= B / reference
        return Optim(lr=rate, momentum=0, nesterov=False, weight_decay=0, schedule="constant")

    def predictors(self) -> dict[str, nn.Module]:
        return {"net": self.net}


def theorem1_gap(yhat: Tensor, ytil: Tensor, L: Tensor, alpha: float, beta: float) -> Tensor:
    """max_n |ptil_n - exp(-L/alpha) phat_n^(1 - beta/alpha)| per row; 0 where the network is at its optimum for ytil."""
    log_phat = yhat.log_softmax(1)
    return (ytil.softmax(1) - ((1 - beta / alpha) * log_phat - (L / alpha).unsqueeze(1)).exp()).abs().amax(1)


def _l2(yhat: Tensor, ytil: Tensor) -> Tensor:
    return yhat.shape[1] * squared(ytil.softmax(1), yhat.softmax(1))  # `squared` is the mean over the classes


COMPARE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # L_c of the network's logits and the pseudo-logits, [n]
    "kl": kl,
    "kl_pseudo_pred": lambda yhat, ytil: kl(ytil, yhat),
    "l2": _l2,
}
