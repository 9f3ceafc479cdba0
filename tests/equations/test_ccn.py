"""CCN: the head, each loss against loops, who gets which gradient, the temporal ensemble, updates and variants."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from halfseen.errors import UserError
from halfseen.method import Clock, Losses, Plan
from halfseen.methods.ccn import CCN, Config
from halfseen.methods.dml import DML
from halfseen.methods.dml import Config as DMLConfig
from halfseen.optim import Optim
from halfseen.parts.adversarial import virtual_adversarial
from halfseen.parts.correction import Corrected, Correction
from halfseen.parts.losses import cross_entropy, entropy, kl
from halfseen.parts.mutual import read
from halfseen.training import checkpoint
from tests.equations.pair import MID, batch, descend, first, gradients, made, one_step, reaches, task
from tests.toy import assert_same, make_trainer, stop_after

PARTS = ("net1", "net2", "correction")


def prepared(t: Any = None, **settings: Any) -> tuple[CCN, Any]:
    """A method whose temporal ensemble remembers some of the images of the batch."""
    t = t or task()
    method, b = made(CCN, Config(**settings), t), batch(t)
    if method.correction is not None:
        old = torch.rand(5, t.classes, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        method.Z.write(b.u_ids[:5], old)
        method.n.write(b.u_ids[:5], torch.tensor([1.0, 1, 2, 3, 3], dtype=torch.float64))
    return method, b


# ---- the head ------------------------------------------------------------------


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("k", "d", "count"), [(10, 128, 17_578), (100, 128, 26_308), (2, 300, 27_810)])
def test_the_head_has_the_papers_size_wherever_the_extra_layer_is(k: int, d: int, count: int) -> None:
    assert size(Correction(k, d, extra="net2")) == size(Correction(k, d, extra="net1")) == count
    assert size(Correction(k, d, extra="both")) == count + 64 * 64 + 64


@pytest.mark.parametrize("extra", ["net2", "net1", "both"])
def test_the_head_is_the_tables_layers(extra: Any) -> None:
    torch.manual_seed(0)
    head = Correction(3, 5, extra=extra).double()
    g, f = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    weights = {k: v.detach() for k, v in head.named_parameters()}

    def layer(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def act(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.1 * x)

    u, v = act(layer("of_logits", g)), act(layer("of_features", f))
    u = act(layer("more_logits", u)) if extra in ("net1", "both") else u
    v = act(layer("more_features", v)) if extra in ("net2", "both") else v
    delta = layer("last", act(layer("joined", torch.cat([u, v], 1))))
    torch.testing.assert_close(head(g, f), g + delta)
    assert set(weights) == {f"{n}.{w}" for n, _ in head.named_children() for w in ("weight", "bias")}


def test_zero_init_last_starts_as_net_1() -> None:
    for zero in (True, False):
        method, b = prepared(zero_init_last=zero)
        ccn = method.predictors()["ccn"]
        assert isinstance(ccn, Corrected)
        assert torch.equal(ccn(b.u), method.net1(b.u)) == zero


# ---- losses ------------------------------------------------------------------


def softmax(row: list[float]) -> list[float]:
    e = [math.exp(v - max(row)) for v in row]
    return [v / sum(e) for v in e]


@pytest.mark.parametrize("k", [2, 3, 100])
def test_every_term_against_a_loop_over_images(k: int) -> None:
    method, b = prepared(task(classes=k), eta=0.5, lambda_ml=0.7, w_max=8.0, ramp=0.9, alpha=0.6, use_vat=False)
    Z, n = method.Z[b.u_ids].tolist(), method.n[b.u_ids].tolist()
    found = {name: v.item() for name, v in first(method.loss(b, MID)).terms.items()}
    g1, g2, f2 = method.net1, method.net2, method.net2.features
    h_x = {"1": g1(b.x), "2": g2(b.x), "C": method.correction(g1(b.x), f2(b.x))}
    h_u = {"1": g1(b.u), "2": g2(b.u), "C": method.correction(g1(b.u), f2(b.u))}
    P_x, P_u = ({i: [softmax(r) for r in z.tolist()] for i, z in h.items()} for h in (h_x, h_u))
    mu = 8.0 / k * math.exp(-5 * (1 - 0.5 / 0.9) ** 2)
    for i in "12C":
        assert found[f"{i}/L_CE"] == pytest.approx(-sum(math.log(p[y]) for p, y in zip(P_x[i], b.y, strict=True)) / 6)
    for i, peer in ("12", "21"):
        assert found[f"{i}/L_H"] == pytest.approx(-sum(v * math.log(v) for p in P_u[i] for v in p) / 9)
        rows = [
            sum(t * math.log(t / s) for t, s in zip(a, c, strict=True)) for a, c in zip(P_u[peer], P_u[i], strict=True)
        ]
        assert found[f"{i}/L_KL"] == pytest.approx(0.7 * sum(rows) / 9)
    y_C = [p.index(max(p)) for p in P_u["C"]]
    assert found["2/L_yC"] == pytest.approx(-sum(math.log(p[y]) for p, y in zip(P_u["2"], y_C, strict=True)) / 9)
    squares = [
        sum((h - z / (1 - 0.6**visits)) ** 2 for h, z in zip(p, row, strict=True)) if visits else 0.0
        for p, row, visits in zip(P_u["C"], Z, n, strict=True)
    ]
    assert found["C/L_TE"] == pytest.approx(mu * sum(squares) / 9)
    assert len(found) == 9


def test_A_is_each_networks_own() -> None:
    method, b = prepared(eta=0.5, eps=0.4)
    terms = first(method.loss(b, MID)).terms
    method.task.draws.generator.manual_seed(7)
    for i, net in (("1", method.net1), ("2", method.net2)):
        own = read(net, b.x, b.u)
        A = virtual_adversarial(net, b.u, own.g_u, method.task.draws, 0.4, 0.04, own.noise)
        torch.testing.assert_close(terms[f"{i}/L_A"], 0.5 * A.mean())
        assert A.mean() > 0


def test_hand_derived_gradients() -> None:
    """Spec 2.2, per image and for the logits: H, KL, CE, and the squared term."""
    g = torch.Generator().manual_seed(0)
    z, peer = (torch.randn(4, 5, generator=g, dtype=torch.float64) for _ in range(2))
    tau, mu = torch.rand(4, 5, generator=g, dtype=torch.float64), 1.7
    z.requires_grad_()
    h = z.softmax(1).detach()
    y = torch.tensor([0, 4, 2, 2])
    e = 2 * mu * (h - tau)
    by_hand = {
        "H": (entropy, -h * (h.log() + entropy(z).detach().unsqueeze(1))),
        "KL": (lambda v: kl(peer, v), h - peer.softmax(1)),
        "CE": (lambda v: cross_entropy(v, y), h - F.one_hot(y, 5)),
        "TE": (lambda v: mu * (v.softmax(1) - tau).square().sum(1), h * (e - (e * h).sum(1, keepdim=True))),
    }
    for name, (loss, gradient) in by_hand.items():
        torch.testing.assert_close(torch.autograd.grad(loss(z).sum(), z)[0], gradient, msg=name)
        assert torch.autograd.gradcheck(loss, z), name


# ---- who gets which gradient (Algorithm 1) ------------------------------------------------------------------


def separate(method: CCN, b: Any, into: bool) -> dict[str, list[Tensor]]:
    """The gradient of every part from losses written apart, in which all that the part must not move is a number."""
    cfg, draws = method.cfg, method.task.draws
    one, two = read(method.net1, b.x, b.u), read(method.net2, b.x, b.u)
    h1, h2 = one.g_u.detach(), two.g_u.detach()
    tau, valid = method.target(b.u_ids)
    z_x, z_u = method.correction(one.g_x, two.f_x), method.correction(one.g_u, two.f_u)
    L_C = cross_entropy(z_x, b.y).mean()
    L_C = L_C + method.mu(MID) * ((z_u.softmax(1) - tau).square().sum(1) * valid).sum() / len(valid)
    y_C = z_u.detach().argmax(1)
    draws.generator.manual_seed(7)
    A1 = virtual_adversarial(method.net1, b.u, h1, draws, method.eps, method.xi, one.noise).mean()
    A2 = virtual_adversarial(method.net2, b.u, h2, draws, method.eps, method.xi, two.noise).mean()
    L_1 = cross_entropy(one.g_x, b.y).mean() + entropy(one.g_u).mean() + cfg.eta * A1
    L_1 = L_1 + cfg.lambda_ml * kl(h2, one.g_u).mean()
    L_2 = cross_entropy(two.g_x, b.y).mean() + entropy(two.g_u).mean() + cfg.eta * A2
    L_2 = L_2 + cfg.lambda_ml * kl(h1, two.g_u).mean() + cross_entropy(two.g_u, y_C).mean()
    totals = {"net1": L_1 + into * L_C, "net2": L_2 + into * L_C, "correction": L_C}
    return {part: gradients(total, method.get_submodule(part)) for part, total in totals.items()}


@pytest.mark.parametrize("into", [True, False])
def test_gradients_equal_those_of_the_separate_losses(into: bool) -> None:
    method, b = prepared(lc_into_essentials=into, eta=0.5, lambda_ml=0.7)
    losses = first(method.loss(b, MID))
    assert losses.trains == ()
    got = {part: gradients(losses.total, method.get_submodule(part)) for part in PARTS}
    method, b = prepared(lc_into_essentials=into, eta=0.5, lambda_ml=0.7)  # before it remembered this step
    wanted = separate(method, b, into)
    for part in PARTS:
        assert any(g.any() for g in wanted[part])
        for mine, theirs in zip(got[part], wanted[part], strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("into", [True, False])
def test_every_term_reaches_what_it_should_and_nothing_else(into: bool) -> None:
    method, b = prepared(lc_into_essentials=into)
    for name, value in first(method.loss(b, MID)).terms.items():
        trains = {"1": {"net1"}, "2": {"net2"}, "C": set(PARTS) if into else {"correction"}}[name[0]]
        assert {part for part in PARTS if reaches(value, method.get_submodule(part))} == trains, name


# ---- the temporal ensemble ------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.6])
@pytest.mark.parametrize("corrected", [True, False])
def test_the_target_is_the_running_formula(alpha: float, corrected: bool) -> None:
    method, _ = prepared(alpha=alpha, te_bias_correction=corrected)
    b = batch(method.task, seed=9)
    method.Z.values.zero_()
    method.n.values.zero_()
    Z = [[0.0] * 3 for _ in range(9)]
    for visits in range(4):
        tau, valid = method.target(b.u_ids)
        if corrected and visits:
            torch.testing.assert_close(tau, torch.tensor(Z, dtype=torch.float64) / (1 - alpha**visits))
            torch.testing.assert_close(tau.sum(1), torch.ones(9, dtype=torch.float64))
        elif not corrected:
            torch.testing.assert_close(tau, torch.tensor(Z, dtype=torch.float64))
        assert valid.tolist() == [visits > 0] * 9
        h = method.correction(method.net1(b.u), method.net2.features(b.u)).softmax(1).tolist()
        losses = first(method.loss(b, MID))
        Z = [[alpha * z + (1 - alpha) * p for z, p in zip(*rows, strict=True)] for rows in zip(Z, h, strict=True)]
        descend(method.net1, gradients(losses.total, method.net1), 0.3)
    assert method.n[b.u_ids].tolist() == [4.0] * 9
    assert method.n.values.sum() == 36


def test_before_the_first_visit_nothing_is_compared() -> None:
    for corrected in (True, False):
        method, b = prepared(te_bias_correction=corrected)
        method.n.values.zero_()
        L_TE = first(method.loss(b, MID)).terms["C/L_TE"]
        assert L_TE.item() == 0
        assert all(g.isfinite().all() and not g.any() for g in gradients(L_TE, method.correction))


def test_mu_rises_from_the_first_step_on_to_w_max_over_K() -> None:
    """No epoch is left out: in a short run the first is most of it, and what was not visited has no target anyway."""
    method, _ = prepared(w_max=30.0, ramp=0.25)
    assert method.mu(Clock(9, 30, 10)) == 10
    assert method.mu(Clock(0, 300, 1)) == pytest.approx(10 * math.exp(-5))
    assert method.mu(Clock(30, 300, 1)) == pytest.approx(10 * math.exp(-5 * (1 - 0.1 / 0.25) ** 2))
    assert method.mu(Clock(75, 300, 1)) == method.mu(Clock(299, 300, 1)) == 10
    method, _ = prepared(w_max=30.0, ramp=0.25, mu_from_epoch=1)
    assert [method.mu(Clock(step, 30, 10)) for step in (9, 10)] == [0, 10]
    with pytest.raises(UserError, match="alpha=1"):
        prepared(alpha=1.0)


@pytest.mark.parametrize("update", ["jacobi", "gauss_seidel"])
def test_term_ramp_multiplies_the_terms_that_start_on_random_labels(update: str) -> None:
    def terms(step: int, **settings: Any) -> dict[str, float]:
        method, b = prepared(update=update, **settings)
        found = method.loss(b, Clock(step, 100, 10))
        sides = [found] if isinstance(found, Losses) else list(found)
        return {k: v.item() for side in sides for k, v in side.terms.items()}

    rising = {"1/L_H", "2/L_H", "1/L_KL", "2/L_KL", "2/L_yC"}
    for step, factor in ((0, math.exp(-5)), (20, math.exp(-1.25)), (40, 1), (90, 1)):
        with_ramp, without = terms(step, term_ramp=0.4), terms(step)
        assert rising < set(without)
        for name, value in without.items():
            assert with_ramp[name] == pytest.approx(value * (factor if name in rising else 1), rel=1e-12), name


# ---- updates ------------------------------------------------------------------

RATE = 0.2


def totals(method: CCN, b: Any) -> tuple[Tensor, Tensor, Tensor]:
    """L_C, L_1 and L_2 of the networks as they are now (without VAT, whose draws would differ)."""
    one, two = read(method.net1, b.x, b.u), read(method.net2, b.x, b.u)
    L_C, z_C = method.L_C(one, two, b, MID)
    L_1, L_2 = method.L_1(one, two, b.y, b.u), method.L_2(two, one, z_C, b.y, b.u)
    return tuple(torch.stack(list(terms.values())).sum() for terms in (L_C, L_1, L_2))


@pytest.mark.parametrize("into", [True, False])
@pytest.mark.parametrize("update", ["jacobi", "gauss_seidel"])
def test_updates_are_of_one_snapshot_or_in_turn(update: str, into: bool) -> None:
    settings = {"use_vat": False, "lc_into_essentials": into}
    by_hand, b = prepared(**settings)
    tau = by_hand.target(b.u_ids)

    def direction(part: str) -> list[Tensor]:
        L_C, L_1, L_2 = totals(by_hand, b)
        own = {"correction": L_C, "net1": L_1 + L_C, "net2": L_2 + L_C}  # L_C is detached where it does not belong
        return gradients(own[part], by_hand.get_submodule(part))

    order = ("correction", "net1", "net2")
    snapshot = {part: direction(part) for part in order}
    for part in order:
        descend(by_hand.get_submodule(part), snapshot[part] if update == "jacobi" else direction(part), RATE)
    assert torch.equal(tau[0], by_hand.target(b.u_ids)[0])

    method, b = prepared(update=update, **settings)
    before = [p.detach().clone() for p in method.parameters()]
    one_step(method, b, method.stages(Plan(1, 6, 34, (6, 9)))[0], RATE)
    for was, mine, theirs in zip(before, method.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)
        assert not torch.equal(was, mine)
    assert method.n[b.u_ids].tolist() == [2, 2, 3, 4, 4, 1, 1, 1, 1]  # remembered once, whatever the update


@pytest.mark.parametrize("update", ["jacobi", "gauss_seidel"])
def test_on_pictures_running_statistics_move_in_a_networks_own_forward_only(update: str) -> None:
    t = task(classes=4, shape=(1, 8, 8), net="small", width=8, dropout=0.2)
    method, b = made(CCN, Config(update=update), t), batch(t, dtype=torch.float32)
    assert method.correction.of_features.in_features == 24  # the network's own width, not 128
    one_step(method, b, method.stages(Plan(1, 6, 34, (6, 9)))[0], 0.01)
    for net in (method.net1, method.net2):
        assert net.norm1.num_batches_tracked.item() == 2  # labelled rows, unlabelled rows
    assert all(p.isfinite().all() for p in method.parameters())


def test_updates_in_turn_resume_exactly_with_dropout(tmp_path: Path) -> None:
    """VAT's passes set torch's random numbers back and forward again: nothing of that may be left over."""
    more = {"steps": 12, "settings": {"update": "gauss_seidel"}, "net_options": {"width": 16, "dropout": 0.3}}
    straight = make_trainer("ccn", folder=tmp_path / "a", **more)
    straight.run()
    stop_after(make_trainer("ccn", folder=tmp_path / "b", **more), 7)
    resumed = make_trainer("ccn", folder=tmp_path / "b", **more)
    resumed.load(checkpoint.load(tmp_path / "b" / "checkpoints" / "last.pt"))
    resumed.run()
    assert_same(straight.method.state_dict(), resumed.method.state_dict())
    assert straight.method.n.values.sum() == 12 * 32


# ---- variants and settings ------------------------------------------------------------------

TABLE_3 = {
    "baseline": ({"use_entropy": False, "use_vat": False, "use_ccn": False}, {"L_CE", "L_KL"}, False),
    "w/o ML": ({"use_ml": False}, {"L_CE", "L_H", "L_A"}, True),
    "w/o CCN": ({"use_ccn": False}, {"L_CE", "L_H", "L_A", "L_KL"}, False),
    "w/o VAT": ({"use_vat": False}, {"L_CE", "L_H", "L_KL"}, True),
    "our model": ({}, {"L_CE", "L_H", "L_A", "L_KL"}, True),
}


@pytest.mark.parametrize("update", ["jacobi", "gauss_seidel"])
@pytest.mark.parametrize("variant", TABLE_3)
def test_the_five_rows_of_table_3(variant: str, update: str) -> None:
    flags, shared, ccn = TABLE_3[variant]
    method, b = prepared(update=update, **flags)
    plan = Plan(1, 6, 34, (6, 9))
    assert list(method.stages(plan)[0].optim) == ["net1", "net2"] + ["correction"] * ccn
    assert list(method.predictors()) == ["net1", "net2"] + ["ccn"] * ccn
    names: set[str] = set()
    found = method.loss(b, MID)
    for losses in [found] if update == "jacobi" else found:
        names |= set(losses.terms)
        assert losses.total.isfinite()
    wanted = {f"{i}/{term}" for i in "12" for term in shared} | ({"C/L_CE", "C/L_TE", "2/L_yC"} if ccn else set())
    assert names == wanted


@pytest.mark.parametrize("rows", ["unlabelled", "all"])
def test_the_baseline_is_dml(rows: str) -> None:
    method, b = prepared(use_entropy=False, use_vat=False, use_ccn=False, dml_on=rows)
    dml = made(DML, DMLConfig(dml_on=rows), task())
    mine, theirs = method.loss(b, MID), dml.loss(b, MID)
    assert mine.terms.keys() == theirs.terms.keys()
    for name, value in mine.terms.items():
        torch.testing.assert_close(value, theirs.terms[name], rtol=0, atol=0)


def test_settings_change_what_they_say() -> None:
    def terms(**settings: Any) -> dict[str, float]:
        method, b = prepared(**settings)
        return {k: v.item() for k, v in method.loss(b, MID).terms.items()}

    usual = terms()
    for key, value, term, factor in (
        ("eta", 3.0, "1/L_A", 3),
        ("lambda_ml", 0.5, "2/L_KL", 0.5),
        ("w_max", 60.0, "C/L_TE", 2),
    ):
        changed = terms(**{key: value})
        assert changed[term] == pytest.approx(factor * usual[term])
        assert all(changed[k] == usual[k] for k in ("1/L_CE", "2/L_yC", "1/L_H"))
    values = [terms(eps=e)["1/L_A"] for e in (0.1, 0.2, 0.4)]
    assert all(b > 2 * a for a, b in pairwise(values))
    assert terms(xi=2.0)["1/L_A"] != usual["1/L_A"]
    assert terms(dml_on="all")["1/L_KL"] != usual["1/L_KL"]
    assert terms(alpha=0.2)["C/L_TE"] != usual["C/L_TE"]
    assert terms(ramp=1.0)["C/L_TE"] < usual["C/L_TE"]
    assert terms(ccn_extra="net1")["C/L_CE"] != usual["C/L_CE"]
    special = Optim("sgd", lr=0.5)
    stage = made(CCN, Config(optim=special), task()).stages(Plan(7, 6, 34, (6, 9)))[0]
    assert all(o is special for o in stage.optim.values())
    assert (stage.steps, stage.epoch) == (7, "unlabeled_pass")


def test_what_is_logged_and_taught() -> None:
    method, b = prepared()
    z, g = method.predictors()["ccn"](b.u), method.net1(b.u)
    losses = method.loss(b, MID)
    stats = {k: v.item() for k, v in losses.stats.items()}
    for k in range(3):
        assert stats[f"delta/{k}"] == pytest.approx((z - g)[:, k].mean().item())
    assert stats["delta"] == pytest.approx((z - g).abs().mean().item())
    assert stats["changed"] == sum(z[i].argmax() != g[i].argmax() for i in range(9)) / 9
    assert stats["agreement"] == sum(method.net2(b.u)[i].argmax() == g[i].argmax() for i in range(9)) / 9
    torch.testing.assert_close(losses.unlabelled.target, z.softmax(1))
    assert not losses.unlabelled.target.requires_grad
    assert reaches(losses.unlabelled.logits.sum(), method.net2)
    assert losses.unlabelled.kept.all()
    many, b = prepared(task(classes=100))
    assert set(many.loss(b, MID).stats) == {"agreement", "changed", "delta"}
