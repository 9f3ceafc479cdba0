"""ReMixMatch: Berthelot et al. 2020, arXiv:1911.09785.

    q_b = Sharpen(Normalize(p_b pi / m), T),   p_b = p(a(u_b))     pi: the labels' frequencies, m: running mean of p
    X'  = MixUp of (A(x), y), (A_1(u), q), ..., (A_K(u), q), (a(u), q), each with a row drawn from all of them,
          x' = lambda' x_1 + (1 - lambda') x_2,  lambda' = max(lambda, 1 - lambda),  lambda ~ Beta(alpha, alpha)
    L   = mean H(p', p(x')) over labelled rows + lambda_U w(t) mean H(q', p(u')) over unlabelled ones
          + lambda_1 w(t) mean_b H(q_b, p(A_1(u_b))) + lambda_r mean_b H(r_b, p_r(Rotate(A_1(u_b), r_b)))
    w(t) = min(1, t/T_r),   r_b uniform in 0, 90, 180, 270 degrees, p_r a second head on the same features

a weak, A strong views; q is without gradient. Evaluated: the average of the weights (decay 0.999), and the network itself.

Departures:
- ramp = 0.4 is for runs of some thousand steps; the paper has 1/64 of a million.
- K is 2 (TorchSSL's); the release takes 8 (1 with 40 labels, rotation weight 2 and for SVHN 3) and CTAugment (--strong cta).
- m is a running mean of decay 0.999, corrected for its start; the release takes the mean of the last 128 batches.
- The rotation needs square pictures: on feature vectors and others the term is left out, and a weight for it is refused.
- Mixed rows share one forward, which moves the running statistics; A_1 and the turned pictures have one each, which do not.
- The average starts warm, with decay min((1+t)/(10+t), 0.999). With CTAugment the bins follow the averaged network.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.augment.mix import mix_partners, mixing_weights, mixup
from halfseen.errors import UserError
from halfseen.method import Batch, Clock, Losses, Method, Plan, Stage, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.align import Align, Aligned
from halfseen.parts.cta import learn_strengths
from halfseen.parts.ema import Ema, early
from halfseen.parts.forward import frozen_batchnorm, together
from halfseen.parts.losses import cross_entropy, probabilities
from halfseen.parts.norms import Norm
from halfseen.parts.ramps import linear_rampup
from halfseen.parts.rotation import Rotation, rotation_weight
from halfseen.parts.sharpen import sharpen, temperature_is
from halfseen.parts.weak import GuessPass, guess, trained


@dataclass(frozen=True)
class Config(Aligned):
    align: bool = True  # false: the ablation without distribution alignment
    align_to: Literal["uniform", "labels", "estimate", "predictions"] = "labels"  # pi: the labels' frequencies
    align_decay: float = 0.999  # of m
    K: int = 2  # strong views of an image; the release: 8, or 1 with 40 labels
    T: float = 0.5  # temperature of sharpening
    alpha: float = 0.75  # of Beta(alpha, alpha)
    lambda_u: float = 1.5  # weight of the mixed unlabelled rows
    lambda_1: float = 0.5  # of the first strong view
    rotation: float | None = None  # lambda_r; none: 0.5 where pictures are square, else left out
    ramp: float = 0.4  # share of training over which lambda_u and lambda_1 rise, lambda_r does not; the paper: 1/64
    labelled_view: Literal["strong", "weak"] = "strong"  # of x; weak: TorchSSL's
    weak_pass: GuessPass = "separate"  # rows that the weak views are normalised with: halfseen/parts/weak.py
    decay: float = 0.999  # of the average that is evaluated
    norm: Norm = (
        "measured"  # batch-norm statistics of what is scored: on clean training images, or as the releases have
    )
    # decay apart from the gradient, as the release has; its rate is constant
    optim: Optim = Optim("adamw", lr=0.002, schedule="constant", weight_decay=0.02)


class ReMixMatch(Method[Config]):
    batch = (64, 64)

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        if cfg.K < 1:
            raise UserError(f"K={cfg.K}: remixmatch needs at least one strong view; take K=1 or more")
        temperature_is(cfg.T)
        self.lambda_r = rotation_weight(cfg.rotation, 0.5, task.shape)
        self.net = task.make_net()
        self.average = Ema(self.net)
        self.align = Align(cfg, task)
        self.turn = Rotation(self.net.num_features) if self.lambda_r else None

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        cfg, n = self.cfg, len(batch.x)
        x = self.strong(batch.x) if cfg.labelled_view == "strong" else self.labelled_view(batch.x)
        weak, strong = self.weak(batch.u), [self.strong(batch.u) for _ in range(cfg.K)]
        logits_w = guess(self.net, x, weak, cfg.weak_pass)
        q = sharpen(self.align(probabilities(logits_w), batch.y), cfg.T)  # [U, classes]

        rows = torch.cat([x, *strong, weak])
        targets = torch.cat([F.one_hot(batch.y, q.shape[1]).to(q.dtype), *[q] * (cfg.K + 1)])
        lam = mixing_weights(self.task.draws, cfg.alpha, len(rows), near_first=True)
        rows, targets = mixup(rows, targets, lam, mix_partners(self.task.draws, len(rows)))
        with trained(self.net, cfg.weak_pass):
            logits_x, logits_u = together(self.net, rows[:n], rows[n:])
        with frozen_batchnorm(self.net):
            logits_1 = together(self.net, strong[0])[0]
            turned = None if self.turn is None else self.turn(self.net.features, strong[0], self.task.draws)

        w = linear_rampup(clock.progress, cfg.ramp)
        terms: dict[str, Tensor] = {"L_x": cross_entropy(logits_x, targets[:n]).mean()}
        terms["L_u"] = w * cfg.lambda_u * cross_entropy(logits_u, targets[n:]).mean()
        terms["L_1"] = w * cfg.lambda_1 * cross_entropy(logits_1, q).mean()
        if turned is not None:
            terms["L_r"] = self.lambda_r * turned
        learn_strengths(self.strong, self.average, batch.x, batch.y)
        everything = torch.ones_like(q[:, 0], dtype=torch.bool)
        return Losses(terms, self.align.stats(), Unlabelled(logits_1, q, everything, view=weak))

    def stages(self, plan: Plan) -> list[Stage]:
        parts = ("net",) if self.turn is None else ("net", "turn")
        return [Stage("train", self.loss, plan.steps, dict.fromkeys(parts, self.cfg.optim), self.epoch)]

    def after_step(self, clock: Clock) -> None:
        self.average.follow(self.net, early(self.cfg.decay, clock.step), buffers=self.cfg.norm)

    def predictors(self) -> dict[str, nn.Module]:
        return {"average": self.average, "net": self.net}
