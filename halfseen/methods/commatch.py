"""ComMatch: Complementary Matching, Journal of Intelligent & Fuzzy Systems 2023, doi 10.3233/JIFS-233940.

    P_b, u_b = mean and standard deviation of p(a(u_b)) over T passes with dropout, without gradient; kbar_b = argmax P_b
    m+_b  = 1[P_b,kbar >= t_p(e)] 1[u_b,kbar <= s_p]
    m-_bk = 1[P_bk <= t_n(e)] 1[u_bk <= s_n] 1[k != kbar_b]
    L_P = 1/U sum_b m+_b CE(kbar_b, p(A(u_b)))
    L_N = 1/U sum_b 1/max(1, sum_k m-_bk) sum_k m-_bk (-log(1 - p_k(A(u_b))))
    L   = L_l + lambda L_P + mu L_N,   L_l = 1/B sum_b CE(y_b, p(a(x_b))),   lambda < mu
    t_p(e) = min(.9 + .01 floor(e/3), .95),   t_n(e) = max(.3 * 10^-floor(e/3), 3e-4)

a is the weak view, A the strong one, e the epoch. Put together from the paper's prose, UPS (arXiv:2101.06329) and FixMatch.
Evaluated: the average of the weights (decay 0.999), and the network itself.

Departures:
- The paper also says that thresholds follow the network's parameters, and that stability is a label's constancy over
  training; the rule by epochs (3 of its 1,024 are a share of any run) and the deviation over dropout passes are built.
- The passes see batch statistics (mc_bn = batch): running ones are of no use for the first thousands of steps. Layers
  before the only dropout run once for all passes. Labelled and strong views share one forward.
- The average starts warm, min((1+t)/(10+t), 0.999). With CTAugment (--strong cta) the bins follow the averaged network.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.method import Batch, Clock, Losses, Method, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.align import Align, Aligned
from halfseen.parts.cta import learn_strengths
from halfseen.parts.ema import Ema, early
from halfseen.parts.forward import has_active_dropout, together
from halfseen.parts.losses import cross_entropy, negative
from halfseen.parts.mcdropout import PassNorm, mc_logits, mean_and_deviation
from halfseen.parts.memory import Memory
from halfseen.parts.norms import Norm
from halfseen.parts.select import confident, lowered, negatives, positives, raised
from halfseen.parts.weak import beside, noted


@dataclass(frozen=True)
class Config(Aligned):
    lambda_p: float = 1.0  # lambda, weight of L_P: FixMatch's
    mu: float = 2.0  # weight of L_N: above lambda, as the paper asks
    passes: int = 10  # T
    t_p: float = 0.9  # least confidence of a positive label at the start
    t_p_end: float = 0.95  # it rises by .01 a time up to here
    t_n: float = 0.3  # greatest probability of a negative label at the start
    t_n_end: float = 3e-4  # it falls to a tenth a time down to here
    threshold_every: float = 3 / 1024  # share of training from one time to the next: 3 of 1,024 epochs
    s_p: float = 0.05  # greatest deviation of a positive label: UPS's
    s_n: float = 0.005  # of a negative label
    use_negative: bool = True  # false: the ablation without L_N
    use_dynamic: bool = True  # false: thresholds stay at `fixed`
    fixed: Literal["final", "initial"] = "final"  # .95 and 3e-4, or .9 and .3
    use_stability: bool = True  # false: the ablation without s_p and s_n
    conf_source: Literal["mc_mean", "single"] = "mc_mean"  # P: the mean of the passes (UPS), or the first of them
    ddof: Literal[0, 1] = 1  # the deviation divides by T - ddof
    negative_temperature: float = 1.0  # of the softmax that t_n and s_n look at; UPS: 2
    neg_only_unselected: bool = False  # UPS: no negatives for an image that has a positive label
    per_label: Literal["mean", "sum"] = "mean"  # L_N over the negatives of an image
    nl_form: Literal["exact", "add_eps"] = "exact"  # of -log(1 - p_k)
    # statistics of batch norm in the passes: of the weak views; of these and the labelled ones; the running ones, as UPS
    mc_bn: Literal["batch", "with_labelled", "eval"] = "batch"
    mc_every: int = 1  # steps from one measurement of u to the next; between them a single pass and the u remembered
    dropout: float | None = 0.3  # of the network where it has the option and net.dropout is not given; none: its own
    dropout_site: Literal["block", "head"] = "block"  # of a wide residual network: between convolutions, or at the end
    decay: float = 0.999  # of the average that is evaluated
    norm: Norm = (
        "measured"  # batch-norm statistics of what is scored: on clean training images, or as the releases have
    )
    optim: Optim = Optim()  # FixMatch's


class ComMatch(Method[Config]):
    batch = (64, 320)
    labelled_in_unlabelled = True

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        if cfg.passes <= cfg.ddof * cfg.use_stability or cfg.passes < 1 or cfg.mc_every < 1 or cfg.threshold_every <= 0:
            raise UserError(
                f"passes={cfg.passes}, mc_every={cfg.mc_every}, threshold_every={cfg.threshold_every:g}: commatch needs at "
                "least two passes to see a deviation (passes > ddof), mc_every >= 1 and threshold_every > 0"
            )
        prefer = {} if cfg.dropout is None else {"dropout": cfg.dropout, "dropout_site": cfg.dropout_site}
        self.net = task.make_net(prefer=prefer)
        if cfg.use_stability and not has_active_dropout(self.net):
            raise UserError(
                "commatch tells stable labels by how much they vary under dropout, and this network drops nothing: take one "
                "that can (small, mlp, cnn13, wrn-28-2) with net.dropout above 0, or --set method.use_stability=false"
            )
        self.average = Ema(self.net)
        self.align = Align(cfg, task)
        if cfg.use_stability and cfg.mc_every > 1:
            self.deviation = Memory(task.samples, 2, task.classes, fill=math.inf)  # not measured yet: not stable

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        cfg = self.cfg
        weak, strong = self.weak(batch.u), self.strong(batch.u)
        x, shared = self.labelled_view(batch.x), cfg.mc_bn == "with_labelled"
        with noted(self.net, len(x), wanted=shared) as others:
            (P, u), (P_n, u_n) = self.measure(weak, batch.u_ids, clock.step, x if shared else None)
        P, P_n = self.align(P, batch.y), self.align.by(P_n)
        t_p, t_n = self.thresholds(clock.progress)
        kept, kbar = positives(P, u, t_p, cfg.s_p)
        N = negatives(P_n, u_n, kbar, t_n, cfg.s_n)  # [U, K]
        if cfg.neg_only_unselected:
            N = N & ~kept.unsqueeze(1)

        logits_x, logits_s = beside(self.net, x, strong, others) if shared else together(self.net, x, strong)
        L_l = cross_entropy(logits_x, batch.y).mean()
        L_P = (kept * cross_entropy(logits_s, kbar)).mean()
        terms = {"L_l": L_l, "L_P": cfg.lambda_p * L_P}
        stats = {"t_p": P.new_full((), t_p), "t_n": P.new_full((), t_n)} | self.align.stats()
        if cfg.use_negative:
            terms["L_N"] = cfg.mu * negative(N, logits_s, form=cfg.nl_form, per_label=cfg.per_label).mean()
            stats["negative_rate"] = N.float().mean()
        if u is not None:
            stats["unstable_rate"] = (confident(P, t_p)[0] & ~kept).float().mean()
        learn_strengths(self.strong, self.average, batch.x, batch.y)
        return Losses(terms, stats, Unlabelled(logits_s, P, kept, N if cfg.use_negative else None, weak))

    def measure(
        self, view: Tensor, ids: Tensor, step: int, x: Tensor | None = None
    ) -> tuple[tuple[Tensor, Tensor | None], ...]:
        """P [U, K] and u [U, K] of the view, for positive and negative labels; u is None if not asked for.

        x: rows that are normalised together with those of the view.
        """
        cfg = self.cfg
        several = step % cfg.mc_every == 0 and (cfg.use_stability or cfg.conf_source == "mc_mean")
        norm: PassNorm = "eval" if cfg.mc_bn == "eval" else "batch"
        rows = view if x is None else torch.cat([x, view])
        a = mc_logits(self.net, rows, cfg.passes if several else 1, norm)[:, -len(view) :]  # [T, U, K]
        P, u = mean_and_deviation(a.softmax(2), cfg.ddof)
        P_n, u_n = mean_and_deviation((a / cfg.negative_temperature).softmax(2), cfg.ddof)
        if cfg.conf_source == "single":
            P, P_n = a[0].softmax(1), (a[0] / cfg.negative_temperature).softmax(1)
        if not cfg.use_stability:
            return (P, None), (P_n, None)
        if cfg.mc_every > 1 and several:
            self.deviation.write(ids, torch.stack([u, u_n], 1))
        elif cfg.mc_every > 1:
            u, u_n = self.deviation[ids].unbind(1)
        return (P, u), (P_n, u_n)

    def thresholds(self, progress: float) -> tuple[float, float]:
        """t_p and t_n when this share of training is over."""
        cfg = self.cfg
        if cfg.use_dynamic:
            times: float = math.floor(progress / cfg.threshold_every + 1e-9)  # 0.15/0.05 is below 3
        else:
            times = math.inf if cfg.fixed == "final" else 0
        return raised(cfg.t_p, 0.01, cfg.t_p_end, times), lowered(cfg.t_n, 0.1, cfg.t_n_end, times)

    def after_step(self, clock: Clock) -> None:
        self.average.follow(self.net, early(self.cfg.decay, clock.step), buffers=self.cfg.norm)

    def predictors(self) -> dict[str, nn.Module]:
        return {"average": self.average, "net": self.net}
