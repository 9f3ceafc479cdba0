"""MixMatch: Berthelot et al. 2019, arXiv:1905.02249.

    q_b = Sharpen(1/K sum_k p(a_k(u_b)), T),   Sharpen(p, T)_i = p_i^(1/T) / sum_j p_j^(1/T)            (6, 7)
    W   = the rows (a(x), y), (a_1(u), q), ..., (a_K(u), q) in a random order                         (Algorithm 1)
    lambda' = max(lambda, 1 - lambda),  lambda ~ Beta(alpha, alpha)                                     (8, 9)
    x'  = lambda' x_1 + (1 - lambda') x_2,   p' = lambda' p_1 + (1 - lambda') p_2,   (x_2, p_2) from W  (10, 11)
    L   = mean H(p', p(x')) over labelled rows + w(t) mean ||q' - p(u')||^2 over unlabelled ones        (2-5)
    w(t) = lambda_U min(1, t/T_r)

a, a_1, ..., a_K are weak views. q is without gradient; ||.||^2 is the mean over classes. Since lambda' >= 1/2, a mixed row
is more its first partner's than its second's, and counts where that one belongs.

Evaluated: the average of the weights (decay 0.999), and the network itself.

Departures:
- lambda_u = 10 and ramp = 0.4 are for runs of some thousand steps, in which the paper's 75 over 1/64 of training holds every
  prediction at what the first guesses were.
- All mixed rows share one forward; interleave = true deals them out to K + 1 forwards with their own batch statistics, as
  the release does, so that labelled and unlabelled rows are normalised together in groups of the labelled batch.
- The average starts warm, with decay min((1+t)/(10+t), 0.999), so that short runs are not judged on their initial weights.
- What is reported of an unlabelled image is the prediction of its first mixed row.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.augment.mix import mix_partners, mixing_weights, mixup
from halfseen.errors import UserError
from halfseen.method import Batch, Clock, Losses, Method, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.align import Align, Aligned
from halfseen.parts.ema import Ema, early
from halfseen.parts.forward import interleaved, together
from halfseen.parts.losses import cross_entropy, probabilities, squared
from halfseen.parts.norms import Norm
from halfseen.parts.ramps import linear_rampup
from halfseen.parts.sharpen import sharpen, temperature_is
from halfseen.parts.weak import GuessPass, guess, trained


@dataclass(frozen=True)
class Config(Aligned):
    K: int = 2  # weak views that a guess is averaged over
    T: float = 0.5  # temperature of sharpening
    alpha: float = 0.75  # of Beta(alpha, alpha)
    lambda_u: float = 10.0  # weight of the unlabelled term; the paper: 75 for CIFAR-10, 150 for CIFAR-100, 250 for SVHN
    ramp: float = 0.4  # share of training over which it rises; the paper: 1/64 of a million steps
    mix_per: Literal["image", "batch"] = "image"  # one lambda for each image (the release), or for all (TorchSSL)
    interleave: bool = False  # true: K + 1 forwards, each with its share of every kind of row
    weak_pass: GuessPass = "separate"  # rows that the guessed views are normalised with: halfseen/parts/weak.py
    decay: float = 0.999  # of the average that is evaluated
    norm: Norm = (
        "measured"  # batch-norm statistics of what is scored: on clean training images, or as the releases have
    )
    # decay apart from the gradient, as the release has; its rate is constant
    optim: Optim = Optim("adamw", lr=0.002, schedule="constant", weight_decay=0.02)


class MixMatch(Method[Config]):
    batch = (64, 64)
    views = ("fm", "fm")

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        if cfg.K < 1:
            raise UserError(f"K={cfg.K}: a guess needs at least one view; take K=2 as the paper does")
        temperature_is(cfg.T)
        self.net = task.make_net()
        self.average = Ema(self.net)
        self.align = Align(cfg, task)

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        cfg = self.cfg
        x, views = self.labelled_view(batch.x), [self.weak(batch.u) for _ in range(cfg.K)]
        logits_w = guess(self.net, x, torch.cat(views), cfg.weak_pass)  # [K U, K classes]
        p = probabilities(logits_w).view(cfg.K, len(batch.u), -1).mean(0)  # [U, classes]
        q = sharpen(self.align(p, batch.y), cfg.T)

        rows, targets = self.mixed(torch.cat([x, *views]), torch.cat([F.one_hot(batch.y, q.shape[1]), *[q] * cfg.K]))
        x_mixed, u_mixed = rows[: len(x)], rows[len(x) :]
        with trained(self.net, cfg.weak_pass):
            if cfg.interleave:
                logits_x, logits_u = interleaved(self.net, cfg.K + 1, x_mixed, u_mixed)
            else:
                logits_x, logits_u = together(self.net, x_mixed, u_mixed)
        w = cfg.lambda_u * linear_rampup(clock.progress, cfg.ramp)
        L_x = cross_entropy(logits_x, targets[: len(x)]).mean()
        L_u = squared(probabilities(logits_u), targets[len(x) :]).mean()
        taught = Unlabelled(logits_u[: len(q)], q, torch.ones_like(q[:, 0], dtype=torch.bool), view=views[0])
        return Losses({"L_x": L_x, "L_u": w * L_u}, self.align.stats(), taught)

    def mixed(self, rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Each row and target [n, classes] with those of a partner from the whole batch, by lambda'."""
        draws, per_image = self.task.draws, self.cfg.mix_per == "image"
        lam = mixing_weights(draws, self.cfg.alpha, len(rows), per_image=per_image, near_first=True)
        return mixup(rows, targets.to(torch.float32), lam, mix_partners(draws, len(rows)))

    def after_step(self, clock: Clock) -> None:
        self.average.follow(self.net, early(self.cfg.decay, clock.step), buffers=self.cfg.norm)

    def predictors(self) -> dict[str, nn.Module]:
        return {"average": self.average, "net": self.net}
