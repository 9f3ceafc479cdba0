"""FixMatch: Sohn et al. 2020, arXiv:2001.07685.

    L_s = 1/B sum_b H(y_b, p(a(x_b)))                                (3)
    L_u = 1/U sum_b 1[max q_b >= tau] H(argmax q_b, p(A(u_b)))       (4)
    L   = L_s + lambda_u L_u        q_b = p(a(u_b)) without gradient; a weak, A strong view

Evaluated: the average of the weights (decay 0.999), and the network itself.

Departures:
- weak_pass = separate: the weak views of u go through a forward of their own, without gradient, with their own batch
  statistics and without touching the running ones; the releases put all views through one forward ("joint").
- The average starts warm, with decay min((1+t)/(10+t), 0.999), so that runs of fewer than some thousand steps are not
  judged on their initial weights; from step 9,000 on it is the paper's.
- With the CTAugment policy (--strong cta) the bins follow the averaged network, as the release does.
"""

from dataclasses import dataclass

from torch import nn

from halfseen.method import Batch, Clock, Losses, Method, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.align import Align, Aligned
from halfseen.parts.cta import learn_strengths
from halfseen.parts.ema import Ema, early
from halfseen.parts.losses import cross_entropy, probabilities
from halfseen.parts.norms import Norm
from halfseen.parts.weak import WeakPass, with_weak


@dataclass(frozen=True)
class Config(Aligned):
    tau: float = 0.95  # confidence below which an image is discarded
    lambda_u: float = 1.0  # weight of the unlabelled term
    decay: float = 0.999  # of the average that is evaluated
    norm: Norm = (
        "measured"  # batch-norm statistics of what is scored: on clean training images, or as the releases have
    )
    weak_pass: WeakPass = "separate"  # rows that the weak views are normalised with: halfseen/parts/weak.py
    optim: Optim = Optim()  # SGD, Nesterov, 0.03, cos(7 pi t / 16 T), weight decay 5e-4 (1e-3 for CIFAR-100)


class FixMatch(Method[Config]):
    labelled_in_unlabelled = True

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        self.net = task.make_net()
        self.average = Ema(self.net)
        self.align = Align(cfg, task)

    def loss(self, batch: Batch, clock: Clock) -> Losses:
        weak, strong = self.weak(batch.u), self.strong(batch.u)
        logits_x, logits_w, logits_s = with_weak(
            self.net, self.labelled_view(batch.x), weak, strong, self.cfg.weak_pass
        )
        q = self.align(probabilities(logits_w), batch.y)  # [U, K]
        confidence, pseudo = q.max(1)
        kept = confidence >= self.cfg.tau

        L_s = cross_entropy(logits_x, batch.y).mean()
        L_u = (kept * cross_entropy(logits_s, pseudo)).mean()
        learn_strengths(self.strong, self.average, batch.x, batch.y)
        taught = Unlabelled(logits_s, q, kept, view=weak)
        return Losses({"L_s": L_s, "L_u": self.cfg.lambda_u * L_u}, self.align.stats(), unlabelled=taught)

    def after_step(self, clock: Clock) -> None:
        self.average.follow(self.net, early(self.cfg.decay, clock.step), buffers=self.cfg.norm)

    def predictors(self) -> dict[str, nn.Module]:
        return {"average": self.average, "net": self.net}
