"""CCN, mutual learning of complementary networks via residual correction: Wu et al., CVPR 2019.

    L_1 = CE(h_1, y) + H(h_1) + eta A_1 + lambda KL(sg h_2 || h_1)                                     (1)
    L_2 = CE(h_2, y) + H(h_2) + CE(h_2, y_C) + eta A_2 + lambda KL(sg h_1 || h_2)                      (4)
    L_C = CE(h_C, y) + mu(e) mean_j valid_j ||h_C(x_j) - tau_j||^2                                     (5)
    Z_j <- alpha Z_j + (1 - alpha) sg h_C(x_j),   tau_j = Z_j / (1 - alpha^n_j)   after n_j visits     (6)
    h_C = softmax(z_C),   z_C = g_1(x) + delta_C(g_1(x), f_2(x)),   y_C = sg argmax_k h_C              (7, 8)
    theta_C <- grad L_C;   theta_1 <- grad (L_C + L_1);   theta_2 <- grad (L_C + L_2)                  (Algorithm 1)

Net i has logits g_i, features f_i, h_i = softmax g_i; sg: without gradient. CE with y runs over the labelled rows, all else
over the unlabelled ones; A_i = KL(sg h_i(x) || h_i(x + r)) with VAT's r; mu(e) = w_max/K exp(-5 (1 - e/T)^2).
Evaluated: Net 1, without ensembling; Net 2; CCN, which is z_C.

Departures:
- The paper gives no value for eta, lambda, mu, alpha, eps, rates, batch, views or network; ours follow Temporal Ensembling.
- Eq 5 before an image's first visit has no target: valid_j = 0 then (te_bias_correction = false: tau_j = Z_j).
- H, the KL terms and CE(h_2, y_C) act at full weight from the start, on labels that are random then. term_ramp lets them
  rise over a share of training as mu does; Temporal Ensembling's ramp of the rate, which the default keeps, does that too.
- Labelled and unlabelled rows go through separate forwards, and VAT's passes repeat the masks of the clean one, so that A_i
  compares predictions that differ by r alone.
- Section 3 of the paper has no L_C in L_1 and L_2, Algorithm 1 has: lc_into_essentials = false takes Section 3's reading.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.method import Batch, Clock, Losses, Method, Plan, Stage, Task, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.adversarial import lengths, virtual_adversarial
from halfseen.parts.align import Align, Aligned
from halfseen.parts.correction import Corrected, Correction, Extra
from halfseen.parts.ensemble import ensembled, remember
from halfseen.parts.losses import cross_entropy, entropy
from halfseen.parts.memory import Memory
from halfseen.parts.mutual import Pass, mutual, read
from halfseen.parts.norms import RunningNorm
from halfseen.parts.ramps import exp_rampup

MOST_CLASSES = 20  # up to so many, the mean correction of every class is logged


@dataclass(frozen=True)
class Config(Aligned):
    use_entropy: bool = True  # H; the five rows of Table 3 are these four flags, docs/methods/ccn.md says which
    use_vat: bool = True  # A_i
    use_ml: bool = True  # the KL terms
    use_ccn: bool = True  # L_C and the pseudo labels y_C
    eta: float = 1.0  # weight of A_i
    lambda_ml: float = 1.0  # weight of the KL terms
    w_max: float = 30.0  # mu_max = w_max/K, as the squared error is summed over classes; 100 for MNIST and CIFAR-100
    ramp: float = 80 / 300  # share of training over which mu rises: 80 of 300 epochs in Temporal Ensembling
    mu_from_epoch: int = 0  # mu is 0 before it; an image that was not visited yet has no target in any case
    term_ramp: float = (
        0.0  # share of training over which H, KL and CE(h_2, y_C) rise to their weight; 0: at it throughout
    )
    alpha: float = 0.6  # decay of the temporal ensemble
    te_bias_correction: bool = True  # False: tau_j = Z_j
    eps: float | None = None  # length of r in the scale that the network sees; None: by the images' shape, see RADII
    xi: float | None = None  # step of VAT's finite difference; None: eps/10
    dml_on: Literal["unlabelled", "all"] = (
        "unlabelled"  # rows of the KL terms; all: labelled ones too, as the first DML
    )
    lc_into_essentials: bool = True  # L_C trains Net 1 and Net 2 too: Algorithm 1
    update: Literal["jacobi", "gauss_seidel"] = "jacobi"  # gauss_seidel: new forwards before each of the three updates
    ccn_extra: Extra = "net2"  # branch of the head with the additional 64->64 layer
    zero_init_last: bool = False  # True: delta is 0 at the start
    norm: RunningNorm = "measured"  # batch-norm statistics of what is scored; copied: the running ones
    optim: Optim = Optim("adam", lr=0.003, schedule="te", beta1_end=0.5, weight_decay=0.0)  # of each part; TE's


class CCN(Method[Config]):
    batch = (50, 50)
    views = ("te", "te")
    epoch = "unlabeled_pass"

    def __init__(self, cfg: Config, task: Task) -> None:
        super().__init__(cfg, task)
        if not 0 <= cfg.alpha < 1:
            raise UserError(f"alpha={cfg.alpha}: the decay of the temporal ensemble lies between 0 and 1, 1 excluded")
        self.net1, self.net2 = task.make_net(), task.make_net()
        self.eps, self.xi = lengths(cfg.eps, cfg.xi, task.shape)
        self.correction: Correction | None = None
        self.align = Align(cfg, task)  # of y_C alone
        if cfg.use_ccn:
            d, extra, zero = self.net2.num_features, cfg.ccn_extra, cfg.zero_init_last
            self.correction = Correction(task.classes, d, extra=extra, zero_last=zero)
            self.Z = Memory(task.samples, task.classes)
            self.n = Memory(task.samples)

    def loss(self, batch: Batch, clock: Clock) -> Losses | Iterator[Losses]:
        x, u = self.labelled_view(batch.x), self.weak(batch.u)  # one view for both networks: (7) adds their outputs
        return (
            self.in_turn(batch, x, u, clock) if self.cfg.update == "gauss_seidel" else self.at_once(batch, x, u, clock)
        )

    def at_once(self, batch: Batch, x: Tensor, u: Tensor, clock: Clock) -> Losses:
        """One forward, three gradients: every peer is detached, so those of the sum are each part's own."""
        rise = self.rise(clock)
        one, two = read(self.net1, x, u), read(self.net2, x, u)
        L_C, z_C = self.L_C(one, two, batch, clock)
        terms = L_C | self.L_1(one, two, batch.y, u, rise) | self.L_2(two, one, z_C, batch.y, u, rise)
        self.remember(batch.u_ids, z_C)
        return Losses(terms, self.stats(one, two, z_C), self.taught(one, two, z_C))

    def in_turn(self, batch: Batch, x: Tensor, u: Tensor, clock: Clock) -> Iterator[Losses]:
        """New forwards before each update; a network's running statistics move in those of its own only."""
        rise = self.rise(clock)
        if self.correction is not None:
            one, two = read(self.net1, x, u, learns=False), read(self.net2, x, u, learns=False)
            yield Losses(self.L_C(one, two, batch, clock)[0], trains=("correction",))
        one, two = read(self.net1, x, u), read(self.net2, x, u, learns=False)
        L_C = self.L_C(one, two, batch, clock)[0] if self.cfg.lc_into_essentials else {}
        yield Losses(L_C | self.L_1(one, two, batch.y, u, rise), trains=("net1",))
        one, two = read(self.net1, x, u, learns=False), read(self.net2, x, u)
        L_C, z_C = self.L_C(one, two, batch, clock)
        terms = (L_C if self.cfg.lc_into_essentials else {}) | self.L_2(two, one, z_C, batch.y, u, rise)
        self.remember(batch.u_ids, z_C)
        yield Losses(terms, self.stats(one, two, z_C), self.taught(one, two, z_C), trains=("net2",))

    # ---- losses -------------------------------------------------------------------------------------------------------

    def L_C(self, one: Pass, two: Pass, batch: Batch, clock: Clock) -> tuple[dict[str, Tensor], Tensor | None]:
        """The terms of (5), and z_C of the unlabelled rows."""
        if self.correction is None:
            return {}, None
        if not self.cfg.lc_into_essentials:
            one, two = one.detached(), two.detached()
        z_x, z_u = self.correction(one.g_x, two.f_x), self.correction(one.g_u, two.f_u)
        tau, valid = self.target(batch.u_ids)
        squares = (z_u.softmax(1) - tau).square().sum(1)  # [U]
        L_TE = self.mu(clock) * (valid * squares).mean()
        return {"C/L_CE": cross_entropy(z_x, batch.y).mean(), "C/L_TE": L_TE}, z_u

    def L_1(self, own: Pass, peer: Pass, y: Tensor, u: Tensor, rise: float = 1.0) -> dict[str, Tensor]:
        return self.essential("1", self.net1, own, peer, y, u, rise)

    def L_2(
        self, own: Pass, peer: Pass, z_C: Tensor | None, y: Tensor, u: Tensor, rise: float = 1.0
    ) -> dict[str, Tensor]:
        terms = self.essential("2", self.net2, own, peer, y, u, rise)
        if z_C is not None:
            h_C = self.align(z_C.detach().softmax(1), y)
            terms["2/L_yC"] = rise * cross_entropy(own.g_u, h_C.argmax(1)).mean()
        return terms

    def essential(
        self, i: str, net: nn.Module, own: Pass, peer: Pass, y: Tensor, u: Tensor, rise: float
    ) -> dict[str, Tensor]:
        """What (1) and (4) share."""
        cfg = self.cfg
        terms = {f"{i}/L_CE": cross_entropy(own.g_x, y).mean()}
        if cfg.use_entropy:
            terms[f"{i}/L_H"] = rise * entropy(own.g_u).mean()
        if cfg.use_vat:
            A = virtual_adversarial(net, u, own.g_u, self.task.draws, self.eps, self.xi, own.noise)
            terms[f"{i}/L_A"] = cfg.eta * A.mean()
        if cfg.use_ml:
            terms[f"{i}/L_KL"] = rise * cfg.lambda_ml * mutual(own, peer, cfg.dml_on)
        return terms

    # ---- the temporal ensemble ------------------------------------------------------------------------------------------

    def target(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """tau [U, K] and valid [U]."""
        return ensembled(self.Z, self.n, ids, self.cfg.alpha, self.cfg.te_bias_correction)

    def remember(self, ids: Tensor, z_C: Tensor | None) -> None:
        if z_C is not None:
            remember(self.Z, self.n, ids, z_C.detach().softmax(1), self.cfg.alpha)

    def mu(self, clock: Clock) -> float:
        if clock.epoch < self.cfg.mu_from_epoch:
            return 0.0
        return self.cfg.w_max / self.task.classes * exp_rampup(clock.progress, self.cfg.ramp)

    def rise(self, clock: Clock) -> float:
        """What H, the KL terms and CE(h_2, y_C) are multiplied by."""
        return exp_rampup(clock.progress, self.cfg.term_ramp)

    # ---- what is logged and evaluated -----------------------------------------------------------------------------------

    @torch.no_grad()
    def stats(self, one: Pass, two: Pass, z_C: Tensor | None) -> dict[str, Tensor]:
        said = one.g_u.argmax(1)
        stats = {"agreement": (said == two.g_u.argmax(1)).double().mean()} | self.align.stats()
        if z_C is not None:
            delta = (z_C - one.g_u).mean(0)  # [K]
            stats["changed"] = (said != z_C.argmax(1)).double().mean()
            stats["delta"] = (z_C - one.g_u).abs().mean()
            stats |= {f"delta/{k}": delta[k] for k in range(self.task.classes) if self.task.classes <= MOST_CLASSES}
        return stats

    def taught(self, one: Pass, two: Pass, z_C: Tensor | None) -> Unlabelled:
        """Net 2 by CCN; without CCN, Net 1 by Net 2."""
        everything = torch.ones_like(one.g_u[:, 0], dtype=torch.bool)
        if z_C is None:
            return Unlabelled(one.g_u, two.g_u.detach().softmax(1), everything)
        return Unlabelled(two.g_u, self.align.by(z_C.detach().softmax(1)), everything)

    def stages(self, plan: Plan) -> list[Stage]:
        parts = ("net1", "net2", "correction") if self.cfg.use_ccn else ("net1", "net2")
        return [Stage("train", self.loss, plan.steps, dict.fromkeys(parts, self.cfg.optim), self.epoch)]

    def predictors(self) -> dict[str, nn.Module]:
        nets: dict[str, nn.Module] = {"net1": self.net1, "net2": self.net2}
        if self.correction is not None:
            nets["ccn"] = Corrected(self.net1, self.net2, self.correction)
        return nets
