"""ComMatch's equations: masks row by row, thresholds by epoch, both losses, the dropout passes, and who gets a gradient."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.method import Clock
from halfseen.nets import make_net
from halfseen.nets.net import Net
from halfseen.parts.forward import frozen_batchnorm, only_dropout
from halfseen.parts.losses import cross_entropy, negative
from halfseen.parts.mcdropout import mc_logits, mean_and_deviation
from halfseen.parts.select import confident, negatives, positives
from halfseen.training import checkpoint
from halfseen.training.trainer import Trainer
from tests.toy import assert_same, make_trainer, stop_after

CLASSES = [2, 10, 100]
LOOSE = {"t_p": 0.2, "t_p_end": 0.3, "t_n": 0.3, "t_n_end": 0.2, "s_p": 0.2, "s_n": 0.1}  # a fresh network selects, too


def commatch(**more) -> Trainer:
    settings = {**LOOSE, **more.pop("settings", {})}
    return make_trainer("commatch", settings=settings, **more)


def statistics(k: int, n: int = 40) -> tuple[Tensor, Tensor]:
    """P and u of rows from unsure to sure, some of them unstable."""
    g = torch.Generator().manual_seed(k)
    a = torch.randn(n, k, generator=g) * torch.linspace(0, 12, n)[:, None]
    return a.softmax(1), 0.08 * torch.rand(n, k, generator=g).square()


# ---- masks and thresholds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", CLASSES)
@pytest.mark.parametrize("stable", [True, False])
def test_masks_are_those_of_a_loop_over_rows(k: int, stable: bool) -> None:
    P, u = statistics(k)
    kept, kbar = positives(P, u if stable else None, 0.9, 0.02)
    N = negatives(P, u if stable else None, kbar, 0.03, 0.005)
    counts = [0, 0]
    for b in range(len(P)):
        best = max(range(k), key=lambda c: P[b, c].item())
        assert kbar[b] == best
        want = P[b, best] >= 0.9 and (not stable or u[b, best] <= 0.02)
        assert kept[b] == want
        counts[0] += bool(want)
        for c in range(k):
            want = c != best and P[b, c] <= 0.03 and (not stable or u[b, c] <= 0.005)
            assert N[b, c] == want
            counts[1] += bool(want)
    assert 0 < counts[0] < len(P)
    assert 0 < counts[1] < P.numel()


def test_masks_at_the_thresholds_themselves() -> None:
    P = torch.tensor([[0.95, 0.05], [0.5, 0.5]])
    u = torch.tensor([[0.05, 0.005], [0.0, 0.0]])
    t, s = P[0, 0].item(), u[0, 0].item()
    kept, kbar = positives(P, u, t, s)
    assert kept.tolist() == [True, False]
    assert confident(P, t)[0].tolist() == [True, False]
    assert negatives(P, u, kbar, P[0, 1].item(), u[0, 1].item()).tolist() == [[False, True], [False, False]]
    assert negatives(P, u, kbar, 1.0, 1.0).sum(1).tolist() == [1, 1]  # never the best class itself


def test_thresholds_by_epoch() -> None:
    method = make_trainer("commatch").method
    want_p = {0: 0.90, 2: 0.90, 3: 0.91, 6: 0.92, 9: 0.93, 12: 0.94, 15: 0.95, 18: 0.95, 30: 0.95, 1000: 0.95}
    want_n = {0: 0.3, 2: 0.3, 3: 0.03, 6: 3e-3, 9: 3e-4, 12: 3e-4, 15: 3e-4, 18: 3e-4, 30: 3e-4, 1000: 3e-4}
    for epoch in want_p:
        for step in (1024 * epoch, 1024 * epoch + 1023):  # throughout the epoch
            clock = Clock(step, 1024 * 1024, 1024)
            assert method.thresholds(clock.progress) == pytest.approx((want_p[epoch], want_n[epoch]))


def test_a_shorter_run_has_the_same_thresholds_at_the_same_share() -> None:
    """Shares that a float holds badly among them: 0.15/0.05 is 2.9999999999999996."""
    method = make_trainer("commatch", settings={"threshold_every": 0.05}).method
    for steps in (20, 100, 2000):
        found = [method.thresholds(Clock(steps * k // 20, steps, 7).progress)[0] for k in range(7)]
        assert found == pytest.approx([0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.95])


@pytest.mark.parametrize(
    ("settings", "early", "late"),
    [
        ({"use_dynamic": False}, (0.95, 3e-4), (0.95, 3e-4)),
        ({"use_dynamic": False, "fixed": "initial"}, (0.9, 0.3), (0.9, 0.3)),
        ({"threshold_every": 0.0005}, (0.9, 0.3), (0.95, 3e-4)),
        ({"t_p": 0.5, "t_n": 0.01, "t_p_end": 0.52, "t_n_end": 1e-3}, (0.5, 0.01), (0.52, 1e-3)),
    ],
)
def test_other_thresholds(settings: dict, early: tuple, late: tuple) -> None:
    method = make_trainer("commatch", settings=settings).method
    assert method.thresholds(0.0) == pytest.approx(early)
    epochs = 7.0 if "t_p" in settings or "threshold_every" in settings else 0.1
    assert method.thresholds(epochs / 1024) == pytest.approx(late)


# ---- the passes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ddof", [0, 1])
def test_mean_and_deviation(ddof: int) -> None:
    p = torch.randn(4, 5, 3, dtype=torch.float64).softmax(2)
    P, u = mean_and_deviation(p, ddof)
    for b in range(5):
        for k in range(3):
            values = p[:, b, k].tolist()
            m = sum(values) / 4
            assert P[b, k].item() == pytest.approx(m)
            assert u[b, k].item() == pytest.approx(math.sqrt(sum((v - m) ** 2 for v in values) / (4 - ddof)))
    P, u = mean_and_deviation(p[:1], ddof)
    assert torch.equal(P, p[0])
    assert not u.any()


class Middle(Net):
    """A network whose dropout is between its convolutions, with batch norm."""

    def __init__(self, classes: int, shape: tuple[int, ...], *, dropout: float = 0.5) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(shape[0], 8, 3), nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(dropout)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)
        self.head, self.num_features = nn.Linear(8, classes), 8

    def features(self, x: Tensor) -> Tensor:
        x = self.dropout(self.norm1(self.conv1(x)).relu())
        return self.norm2(self.conv2(x)).relu().mean((2, 3))


class Steady(Middle):
    """The same without the option."""

    def __init__(self, classes: int, shape: tuple[int, ...]) -> None:
        super().__init__(classes, shape, dropout=0.0)


def picture_net(factory: str | type[Net]) -> tuple[Net, Tensor]:
    torch.manual_seed(0)
    net = make_net(factory, classes=4, shape=(3, 12, 12), dropout=0.3).train()
    with torch.no_grad():
        net(torch.randn(32, 3, 12, 12))  # running statistics of some batch
    return net, torch.randn(6, 3, 12, 12)


NETS: list[str | type[Net]] = ["small", Middle, "mlp"]


@pytest.mark.parametrize("factory", NETS)
def test_passes_with_batch_statistics_are_separate_forwards(factory: str | type[Net]) -> None:
    """The same random numbers, so the same logits, though `small` runs its convolutions once; nothing is remembered."""
    net, x = picture_net(factory)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    torch.manual_seed(3)
    found = mc_logits(net, x, 5, "batch")
    torch.manual_seed(3)
    with torch.no_grad(), frozen_batchnorm(net):
        want = torch.stack([net(x) for _ in range(5)])
    torch.testing.assert_close(found, want)
    assert (found[0] - found[1]).abs().max() > 1e-3
    assert_same(before, dict(net.state_dict()))
    assert all(m.training for m in net.modules())
    assert not found.requires_grad


@pytest.mark.parametrize("factory", NETS)
def test_passes_with_running_statistics(factory: str | type[Net]) -> None:
    """Rows do not see each other, each pass has its own dropout, and without dropout all are the evaluation's."""
    net, x = picture_net(factory)
    torch.manual_seed(4)
    found = mc_logits(net, x, 400, "eval")
    assert found.shape == (400, 6, 4)
    assert len({tuple(row.tolist()) for row in found[:, 0]}) > 390
    with torch.no_grad(), only_dropout(net):
        other = torch.stack([net(x) for _ in range(400)])
    spread = other.std(0) / 20 + 1e-6  # of a mean of 400
    assert ((found.mean(0) - other.mean(0)).abs() < 6 * spread).all()
    assert ((found.std(0) / other.std(0)).log().abs() < 0.3).all()
    for m in net.modules():
        if isinstance(m, nn.Dropout):
            m.p = 1e-12
    with torch.no_grad():
        clean = mc_logits(net, x, 3, "eval")
        want = net.eval()(x)
    torch.testing.assert_close(clean, want.expand(3, -1, -1))


def test_passes_cost_what_they_must() -> None:
    """T forwards of the weak rows at most; one where dropout is at the end; the rows of a stacked forward are bounded."""
    counts = []
    for factory in NETS:
        net, x = picture_net(factory)
        layer = next(m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear))
        rows: list[int] = []
        layer.register_forward_hook(lambda m, args, out, rows=rows: rows.append(len(args[0])))
        mc_logits(net, x, 10, "batch")
        mc_logits(net, x, 10, "eval")
        counts.append(sum(rows))
        rows.clear()
        mc_logits(net, x[:1].repeat(700, 1, 1, 1), 10, "eval")
        assert sum(rows) <= 7000
        assert max(rows) <= 4096
    assert counts == [2 * 6, 2 * 60, 2 * 60]


# ---- the losses ----------------------------------------------------------------------------------------------------------


def one_loss(trainer: Trainer, step: int = 0):
    batch = trainer.data.batch(trainer.streams(), step)
    return batch, trainer.method.loss(batch, trainer.clock())


@pytest.mark.parametrize("k", CLASSES)
@pytest.mark.parametrize("per_label", ["mean", "sum"])
def test_L_P_and_L_N_are_loops_and_their_gradients_finite_differences(k: int, per_label: str) -> None:
    P, u = statistics(k, n=12)
    kept, kbar = positives(P, u, 0.9, 0.05)
    N = negatives(P, u, kbar, 0.05, 0.03)
    a = torch.randn(12, k, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    L_P = (kept * cross_entropy(a, kbar)).mean()
    L_N = negative(N, a, per_label=per_label).mean()
    p = a.detach().softmax(1)
    want_P = sum(-math.log(p[b, kbar[b]]) for b in range(12) if kept[b]) / 12
    want_N = 0.0
    for b in range(12):
        terms = [-math.log(1 - p[b, c]) for c in range(k) if N[b, c]]
        want_N += sum(terms) / (max(1, len(terms)) if per_label == "mean" else 1) / 12
    assert L_P.item() == pytest.approx(want_P)
    assert L_N.item() == pytest.approx(want_N)
    assert want_P > 0
    assert want_N > 0
    if k < 100:
        assert torch.autograd.gradcheck(lambda z: negative(N, z, per_label=per_label).mean(), (a,))
        assert torch.autograd.gradcheck(lambda z: (kept * cross_entropy(z, kbar)).mean(), (a,))


@pytest.mark.parametrize("k", [2, 100])
def test_empty_masks_give_zero(k: int) -> None:
    a = torch.randn(4, k, requires_grad=True)
    P = torch.full((4, k), 1 / k)
    kept, kbar = positives(P, torch.full((4, k), math.inf), 0.0, 0.05)
    N = negatives(P, torch.full((4, k), math.inf), kbar, 1.0, 0.005)
    assert not kept.any()
    assert not N.any()
    total = (kept * cross_entropy(a, kbar)).mean() + negative(N, a, per_label="mean").mean()
    total.backward()
    assert total.item() == 0
    assert torch.equal(a.grad, torch.zeros_like(a))


def test_the_loss_is_put_together_from_what_it_reports() -> None:
    trainer = commatch(steps=60)
    trainer.run()
    batch, losses = one_loss(trainer_at(trainer))
    taught, cfg = losses.unlabelled, trainer.method.cfg
    assert taught.kept.any()
    assert taught.negatives.any()
    assert not (taught.negatives & nn.functional.one_hot(taught.target.argmax(1), 4).bool()).any()
    L_P = (taught.kept * cross_entropy(taught.logits, taught.target.argmax(1))).mean()
    L_N = negative(taught.negatives, taught.logits, per_label="mean").mean()
    torch.testing.assert_close(losses.terms["L_P"], cfg.lambda_p * L_P)
    torch.testing.assert_close(losses.terms["L_N"], cfg.mu * L_N)
    assert not taught.target.requires_grad
    assert taught.view.shape == batch.u.shape
    losses.total.backward()
    assert all(p.grad is not None and p.grad.any() for p in trainer.method.net.parameters())
    assert all(p.grad is None for p in trainer.method.average.parameters())
    assert losses.stats["t_p"].item() == pytest.approx(cfg.t_p)
    assert losses.stats["negative_rate"].item() == pytest.approx(taught.negatives.float().mean().item())


def trainer_at(trainer: Trainer) -> Trainer:
    """A finished run, put back to the first step of its only stage."""
    trainer.stage_index, trainer.step = 0, 0
    trainer.prepare()
    return trainer


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ({"lambda_p": 3.0}, {"L_P": 3.0}),
        ({"mu": 1.0}, {"L_N": 0.5}),
        ({"use_negative": False}, {"L_N": None}),
    ],
)
def test_weights_and_the_ablation_of_negatives(settings: dict, changed: dict) -> None:
    found = []
    for more in ({}, settings):
        trainer = commatch(settings=more)
        torch.manual_seed(9)
        found.append(one_loss(trainer_at(trainer))[1])
    one, two = (f.terms for f in found)
    assert one["L_N"] > 0
    assert one["L_P"] > 0
    for name, factor in changed.items():
        if factor is None:
            assert name not in two
            assert found[1].unlabelled.negatives is None
        else:
            torch.testing.assert_close(two[name], one[name] * factor)
    assert two["L_l"] == one["L_l"]


def measured(step: int = 0, **settings):
    """P, u for positives and negatives of one view, with the random numbers of every other call."""
    trainer = commatch(settings=settings)
    batch = trainer.data.batch(trainer.streams(), 0)
    torch.manual_seed(5)
    method = trainer.method
    view = method.task.view("none")(batch.u)
    return method.measure(view, batch.u_ids, step), method, view, batch


def test_what_is_measured() -> None:
    ((P, u), (P_n, u_n)), method, view, _ = measured()
    assert torch.equal(P, P_n)
    assert torch.equal(u, u_n)
    torch.manual_seed(5)
    p = mc_logits(method.net, view, 10).softmax(2)
    torch.testing.assert_close(P, p.mean(0))
    torch.testing.assert_close(u, p.std(0, correction=1))

    ((_, u0), _), *_ = measured(ddof=0)
    torch.testing.assert_close(u0, p.std(0, correction=0))
    ((P1, u1), _), *_ = measured(conf_source="single")
    torch.testing.assert_close(P1, p[0])
    torch.testing.assert_close(u1, u)
    ((Pt, _), (Pt_n, ut_n)), *_ = measured(negative_temperature=2.0)
    torch.testing.assert_close(Pt, P)
    torch.manual_seed(5)
    cool = (mc_logits(method.net, view, 10) / 2).softmax(2)
    torch.testing.assert_close(Pt_n, cool.mean(0))
    torch.testing.assert_close(ut_n, cool.std(0, correction=1))
    ((P2, u2), (_, u2_n)), *_ = measured(use_stability=False)
    torch.testing.assert_close(P2, P)  # still the mean of the passes
    assert u2 is None
    assert u2_n is None
    ((P3, _), _), *_ = measured(passes=3)
    torch.testing.assert_close(P3, p[:3].mean(0))


def test_negatives_only_where_there_is_no_positive() -> None:
    both, apart = (one_loss(trainer_at(commatch(settings={"neg_only_unselected": v})))[1] for v in (False, True))
    assert (both.unlabelled.kept & both.unlabelled.negatives.any(1)).any()
    assert not (apart.unlabelled.kept & apart.unlabelled.negatives.any(1)).any()


def test_deviation_is_remembered_between_measurements() -> None:
    trainer = commatch(settings={"mc_every": 2}, labels_per_class=10)
    method = trainer.method
    batch = trainer.data.batch(trainer.streams(), 0)
    view = method.task.view("none")(batch.u)
    (P, u), _ = method.measure(view, batch.u_ids, 1)
    assert torch.isinf(u).all()  # never measured: neither positives nor negatives
    assert not positives(P, u, 0.0, 0.05)[0].any()
    (_, u), _ = method.measure(view, batch.u_ids, 2)
    assert torch.isfinite(u).all()
    (_, again), _ = method.measure(view, batch.u_ids, 3)
    torch.testing.assert_close(again, u)
    others = torch.ones(len(method.deviation), dtype=torch.bool)
    others[batch.u_ids] = False
    assert torch.isinf(method.deviation.values[others]).all()


def test_stability_needs_dropout_and_the_users_options_win() -> None:
    with pytest.raises(UserError, match=r"drops nothing.*use_stability=false"):
        make_trainer("commatch", net_options={"dropout": 0.0})
    with pytest.raises(UserError, match="drops nothing"):
        make_trainer("commatch", data="digits", net=Steady)  # it has no such option
    make_trainer("commatch", data="digits", net=Steady, settings={"use_stability": False})

    def rates(**more) -> set[float]:
        return {m.p for m in make_trainer("commatch", **more).method.net.modules() if isinstance(m, nn.Dropout)}

    assert rates() == {0.3}
    assert rates(net_options={"dropout": 0.1}) == {0.1}
    assert rates(settings={"dropout": 0.2}) == {0.2}
    assert rates(data="digits", net=Middle, settings={"dropout": None}) == {0.5}
    assert rates(data="digits", net=Middle, settings={"dropout": 0.6}) == {0.6}
    with pytest.raises(UserError, match="at least two passes"):
        make_trainer("commatch", settings={"passes": 1})


def test_dropout_site() -> None:
    for site, where in (("block", "blocks.0.dropout"), ("head", "dropout")):
        net = make_trainer("commatch", data="digits", net="wrn-28-2", settings={"dropout_site": site}).method.net
        active = [name for name, m in net.named_modules() if isinstance(m, nn.Dropout) and m.p > 0]
        assert where in active
        assert len(active) == (12 if site == "block" else 1)


def test_resume_with_dropout_and_remembered_deviations(tmp_path: Path) -> None:
    more = {
        "data": "digits",
        "net": "small",
        "net_options": {"width": 4},
        "settings": {"mc_every": 3, "threshold_every": 0.1},
        "policies": ("fm", "cta"),
        "steps": 24,
    }
    straight = commatch(folder=tmp_path / "a", **more)
    straight.run()
    straight.save("last", 0.0)
    broken = commatch(folder=tmp_path / "b", **more)
    stop_after(broken, 11)
    resumed = commatch(folder=tmp_path / "b", **more)
    resumed.load(checkpoint.load(tmp_path / "b" / "checkpoints" / "last.pt"))
    resumed.run()
    resumed.save("last", 0.0)
    one, two = (checkpoint.load(tmp_path / f / "checkpoints" / "last.pt") for f in "ab")
    assert_same(one, two)
    assert torch.isfinite(one["method"]["deviation.values"]).any()
    assert (one["method"]["strong.rates"] != 1).any()
