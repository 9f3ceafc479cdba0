"""DNLL's losses, gradients, choice of negatives and error perception, against loops, enumeration and finite differences."""

import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.method import Clock, Plan
from halfseen.methods.dnll import DNLL, Config
from halfseen.parts.losses import negative
from halfseen.parts.negatives import ErrorPerception, inclusion, pick_negatives
from halfseen.training import checkpoint
from tests.equations.tiny import batch, finite_difference, step, task
from tests.toy import assert_same, make_trainer, stop_after


def method(K: int = 4, seed: int = 0, **settings) -> DNLL:
    settings = {"m": 1, **settings}
    return DNLL(Config(**settings), task(K, seed))


def near(found: Tensor, p: float) -> bool:
    """Is the share of True within five standard errors of p?"""
    return abs(float(found.double().mean()) - p) < 5 * math.sqrt(max(0.0, p * (1 - p)) / len(found)) + 1e-9


# ---- which classes ---------------------------------------------------------------------------------------------------


def sequential_inclusion(R: list[float], m: int) -> list[float]:
    """How often each class is among m draws without replacement, by enumerating every order."""
    found = [0.0] * len(R)
    for order in itertools.permutations(range(len(R)), m):
        p, left = 1.0, sum(R)
        for k in order:
            p, left = p * R[k] / left, left - R[k]
        for k in order:
            found[k] += p
    return found


@pytest.mark.parametrize("m", [1, 2, 3, 4])
@pytest.mark.parametrize("R", [None, [0.4, 0.3, 0.2, 0.1]])
def test_sequential_draws_have_the_enumerated_inclusion_probabilities(R: list[float] | None, m: int) -> None:
    K, c, n = 5, 2, 40_000
    others = [k for k in range(K) if k != c]
    weights = None
    if R is not None:
        weights = torch.zeros(n, K)
        weights[:, others] = torch.tensor(R).log() + 300  # sums of confidences may be large
        weights[:, c] = 1e4  # the row's own class is never drawn, whatever it holds
    Y = pick_negatives(torch.full((n,), c), m, K, Draws.seeded(1), weights)
    assert (Y.sum(1) == m).all()
    assert not Y[:, c].any()
    expected = sequential_inclusion(R or [1.0] * 4, m)
    for k, p in zip(others, expected, strict=True):
        assert near(Y[:, k], p)
    if R is not None and m == 2:
        assert expected[0] == pytest.approx(0.716, abs=5e-4)  # R = .4 .3 .2 .1, m = 2: .8 would be in proportion


@pytest.mark.parametrize(
    ("m", "expected"), [(1, [0.4, 0.3, 0.2, 0.1]), (2, [0.8, 0.6, 0.4, 0.2]), (3, [1, 1, 2 / 3, 1 / 3])]
)
def test_systematic_draws_include_in_proportion_as_far_as_that_can_be(m: int, expected: list[float]) -> None:
    K, c, n = 5, 0, 40_000
    w = torch.full((n, K), -math.inf)
    w[:, 1:] = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    torch.testing.assert_close(
        inclusion(w[:1], m)[0, 1:], torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0
    )
    Y = pick_negatives(torch.full((n,), c), m, K, Draws.seeded(2), w, "systematic")
    assert (Y.sum(1) == m).all()
    assert not Y[:, c].any()
    for k, p in enumerate(expected, start=1):
        assert near(Y[:, k], p)


@pytest.mark.parametrize("m", [1, 3, 7])
def test_inclusion_probabilities_sum_to_m_also_for_huge_weights(m: int) -> None:
    w = 500 * torch.randn(50, 9, generator=torch.Generator().manual_seed(0))
    w[:, 4] = -math.inf
    p = inclusion(w, m)
    torch.testing.assert_close(p.sum(1), torch.full((50,), float(m), dtype=torch.float64))
    assert (p[:, 4] == 0).all()
    assert (p <= 1).all()


def test_released_draws_are_with_replacement() -> None:
    n = 40_000
    Y = pick_negatives(torch.full((n,), 7), 2, 10, Draws.seeded(3), draw="replacement")
    assert not Y[:, 7].any()
    assert set(Y.sum(1).tolist()) == {1, 2}
    p = 1 - (8 / 9) ** 2
    for k in (0, 6, 8, 9):
        assert near(Y[:, k], p)


@pytest.mark.parametrize("draw", ["sequential", "systematic", "replacement"])
@pytest.mark.parametrize("K", [2, 100])
def test_every_draw_works_for_two_and_a_hundred_classes(K: int, draw: str) -> None:
    c = torch.arange(400) % K
    Y = pick_negatives(c, 1, K, Draws.seeded(0), draw=draw)
    assert (Y.sum(1) == 1).all()
    assert not Y.gather(1, c.unsqueeze(1)).any()
    if K == 2:
        assert torch.equal(Y.int().argmax(1), 1 - c)
    assert pick_negatives(c[:0], 1, K, Draws.seeded(0), draw=draw).shape == (0, K)


# ---- the losses ------------------------------------------------------------------------------------------------------


def reference_NL(a: Tensor, Y: Tensor, per_label: str) -> float:
    """Eq 9 image by image."""
    total = 0.0
    for logits, marks in zip(a.tolist(), Y.tolist(), strict=True):
        z = sum(math.exp(v) for v in logits)
        terms = [-math.log(1 - math.exp(v) / z) for v, on in zip(logits, marks, strict=True) if on]
        total += sum(terms) / (len(terms) if per_label == "mean" else 1)
    return total / len(Y)


@pytest.mark.parametrize("per_label", ["sum", "mean"])
def test_losses_are_those_of_the_equations(per_label: str) -> None:
    model, data = method(5, m=2, lambda_u=0.7, nl_per_label=per_label), batch(5)
    g = torch.Generator().manual_seed(4)
    sets = {key: torch.rand(16, 5, generator=g).topk(2, 1).indices for key in ((0, 1), (1, 0))}
    Y = {key: torch.zeros(16, 5, dtype=torch.bool).scatter_(1, chosen, True) for key, chosen in sets.items()}
    model.negatives = lambda c, teacher, learner: Y[teacher, learner]
    for s, losses in enumerate(step(model, data)):
        net, r = model.nets[s], 1 - s
        with torch.no_grad():
            a, b = net(data.x), net(data.u + 0.1)
        l_sup = -sum(a.log_softmax(1)[i, y] for i, y in enumerate(data.y.tolist())) / len(data.y)
        assert losses.terms[f"{s + 1}/l_sup"].item() == pytest.approx(float(l_sup))
        cross, own = (reference_NL(b, Y[key], per_label) for key in ((r, s), (s, r)))
        assert losses.terms[f"{s + 1}/l_cross"].item() == pytest.approx(0.7 * cross)
        assert losses.terms[f"{s + 1}/l_self"].item() == pytest.approx(0.7 * own)
        assert losses.trains == (f"nets.{s}",)


@pytest.mark.parametrize("form", ["exact", "add_eps"])
def test_gradients_are_finite_differences_and_stay_in_their_network(form: str) -> None:
    """Pseudo labels and negatives are data: l(1) reaches theta_1 by its own forwards alone, and theta_2 not at all."""
    model, data = method(5, m=2, nl_form=form), batch(5)
    for s in (0, 1):
        model.zero_grad()
        step(model, data)[s].total.backward()
        assert all(p.grad is None for p in model.nets[1 - s].parameters())
        for p in model.nets[s].parameters():
            for at in range(0, p.numel(), 7):
                expected = finite_difference(model, data, s, p, at)
                assert float(p.grad.view(-1)[at]) == pytest.approx(expected, rel=1e-5, abs=1e-8)


def test_hand_derived_gradient_of_the_negative_loss() -> None:
    """dNL/da_i = Y_i r_i - p_i sum_k Y_k r_k with r = p/(1-p); it sums to 0."""
    g = torch.Generator().manual_seed(0)
    a = torch.randn(30, 6, generator=g, dtype=torch.float64, requires_grad=True)
    Y = torch.rand(30, 6, generator=g).topk(3, 1).indices
    Y = torch.zeros(30, 6, dtype=torch.bool).scatter_(1, Y, True)
    negative(Y, a).sum().backward()
    p = a.detach().softmax(1)
    r = p / (1 - p)
    expected = Y * r - p * (Y * r).sum(1, keepdim=True)
    torch.testing.assert_close(a.grad, expected)
    torch.testing.assert_close(a.grad.sum(1), torch.zeros(30, dtype=torch.float64), atol=1e-12, rtol=0)


class Saturated(nn.Module):
    """A network that is sure of class 0, and wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([60.0, 0.0, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), 3)


@pytest.mark.parametrize(("form", "gradient"), [("exact", 1.0), ("add_eps", 0.0)])
def test_a_saturated_wrong_prediction_still_learns_from_the_exact_form(form: str, gradient: float) -> None:
    model = method(3, nl_form=form, use_self=False)
    model.nets[0] = Saturated()
    Y = torch.tensor([True, False, False]).expand(16, 3)
    model.negatives = lambda c, teacher, learner: Y
    data = batch(3)
    step(model, data)[0].terms["1/l_cross"].backward()
    assert float(model.nets[0].logits.grad[0]) == pytest.approx(gradient, abs=1e-6)


# ---- the settings ----------------------------------------------------------------------------------------------------


def names(model: DNLL, **more) -> set[str]:
    return {name for losses in step(model, batch(), **more) for name in losses.terms}


def test_terms_that_each_setting_leaves() -> None:
    sup, cross, own = ({f"{s}/{t}" for s in (1, 2)} for t in ("l_sup", "l_cross", "l_self"))
    assert names(method()) == sup | cross | own
    assert names(method(use_self=False)) == sup | cross
    assert names(method(use_cross=False)) == sup | own
    assert names(method(networks=1)) == {"1/l_sup", "1/l_self"}


def test_networks_take_turns_when_asked() -> None:
    model = method(alternate=True)
    for t in range(4):
        taught = [losses.unlabelled is not None for losses in step(model, batch(), clock=Clock(t, 100, 10))]
        assert taught == [t % 2 == 0, t % 2 == 1]
        assert names(model, clock=Clock(t, 100, 10)) == {"1/l_sup", "2/l_sup"} | {
            f"{t % 2 + 1}/{name}" for name in ("l_cross", "l_self")
        }


def test_the_cross_term_is_taught_by_the_other_and_the_self_term_by_oneself() -> None:
    asked = []
    model = method(use_self=False)
    record = model.negatives
    model.negatives = lambda c, teacher, learner: asked.append((c, teacher, learner)) or record(c, teacher, learner)
    data = batch()
    losses = step(model, data)
    for c, teacher, learner in asked:
        assert learner == 1 - teacher
        assert torch.equal(c, model.nets[teacher](data.u).argmax(1))
    for s in (0, 1):
        q = model.nets[1 - s](data.u).softmax(1)
        torch.testing.assert_close(losses[s].unlabelled.target, q)
        assert not losses[s].unlabelled.negatives.gather(1, q.argmax(1, keepdim=True)).any()
        assert losses[s].unlabelled.kept.all()
    alone = step(method(networks=1), data)[0].unlabelled
    torch.testing.assert_close(alone.target, method(networks=1).nets[0](data.u).softmax(1))


def test_the_weight_and_its_ramp() -> None:
    def term(clock: Clock, **settings) -> float:
        return step(method(**settings), batch(), clock)[0].terms["1/l_cross"].item()

    start, end = Clock(0, 100, 10), Clock(50, 100, 10)
    assert term(start, lambda_u=3.0) == pytest.approx(3 * term(start))
    assert term(start, lambda_ramp=0.5) == pytest.approx(math.exp(-5) * term(start))
    assert term(Clock(25, 100, 10), lambda_ramp=0.5) == pytest.approx(math.exp(-5 / 4) * term(start))
    assert term(end, lambda_ramp=0.5) == pytest.approx(term(start))


@pytest.mark.parametrize("rows", ["learner", "teacher"])
def test_whose_row_of_Pr_chooses(rows: str) -> None:
    """Class k's row of network s points to k + 1 + s: the set says whose row it was."""
    model = method(5, epm_rows=rows)
    for s in (0, 1):
        for k in range(5):
            model.perception.Pr[s, k, (k + 1 + s) % 5] = 1e3
    c = torch.arange(5)
    for teacher in (0, 1):
        whose = 1 - teacher if rows == "learner" else teacher
        Y = model.negatives(c, teacher, 1 - teacher)
        assert torch.equal(Y.int().argmax(1), (c + 1 + whose) % 5)


def test_own_sets_for_the_self_term_come_from_the_own_row() -> None:
    model = method(5, epm_self="own", use_cross=False)
    for k in range(5):
        model.perception.Pr[0, k, (k + 1) % 5] = model.perception.Pr[1, k, (k + 2) % 5] = 1e3
    for s, losses in enumerate(step(model, batch(5))):
        told = losses.unlabelled
        assert torch.equal(told.negatives.int().argmax(1), (told.target.argmax(1) + 1 + s) % 5)
    reused = step(DNLL(Config(m=1, use_cross=False), task(5)), batch(5))
    assert (reused[0].unlabelled.negatives.sum(1) == 1).all()


def test_equal_probability_and_the_systematic_draw_are_passed_on() -> None:
    n = 4000
    c = torch.zeros(n, dtype=torch.long)
    row = torch.tensor([0.0, *(math.log(v) for v in (0.4, 0.3, 0.2, 0.1))])
    for settings, p in (({"epm": False}, 0.5), ({}, 0.716), ({"epm_draw": "systematic"}, 0.8)):
        model = method(5, m=2, **settings)
        model.perception.Pr[:] = row
        assert abs(float(model.negatives(c, 0, 1)[:, 1].double().mean()) - p) < 0.04


@pytest.mark.parametrize("weak_pass", ["separate", "joint", "eval", "with_labelled"])
def test_weak_views_see_the_mode_that_was_asked_for(weak_pass: str) -> None:
    model = method(weak_pass=weak_pass)
    for net in model.nets:
        net.body = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 5)).double()
    data = batch()
    losses = step(model, data)
    stats = {"joint": [data.x, data.u, data.u + 0.1], "with_labelled": [data.x, data.u]}.get(weak_pass, [data.u])
    seen, norm = torch.cat(stats), model.nets[0].body[0]
    u = (data.u - seen.mean(0)) / (seen.var(0, unbiased=weak_pass == "eval") + norm.eps).sqrt()  # eval: as running ones
    q = model.nets[0].head(model.nets[0].body[1](u)).softmax(1)
    torch.testing.assert_close(losses[1].unlabelled.target, q)


# ---- error perception ------------------------------------------------------------------------------------------------


def reference_errors(p: Tensor, y: Tensor) -> Tensor:
    K = p.shape[1]
    Pr = torch.zeros(K, K)
    for row, k in zip(p.tolist(), y.tolist(), strict=True):
        i = max(range(K), key=lambda j: row[j])
        if i != k:
            Pr[k, i] += row[i]
    return Pr


def test_Pr_is_the_confidence_of_errors_per_pass_over_the_labelled_images() -> None:
    """Accumulated online over three steps, 24 rows for 8 images; before the first measurement Pr = 0."""
    model = method(4, epm_ema=0.0)
    expected = [torch.zeros(4, 4), torch.zeros(4, 4)]
    for seed in range(3):
        data = batch(4, seed=seed)
        for losses in step(model, data):
            assert all(v == 0 for name, v in losses.stats.items() if "Pr" in name)
        for s, net in enumerate(model.nets):
            expected[s] += reference_errors(net(data.x).softmax(1), data.y)
    model.measure(Clock(29, 100, 10), None)
    for s in (0, 1):
        assert expected[s].sum() > 0
        torch.testing.assert_close(model.perception.Pr[s], expected[s] * 8 / 24)
    assert (model.perception.Pr.diagonal(dim1=1, dim2=2) == 0).all()
    assert (model.perception.seen == 0).all()
    stats = step(model, batch(4))[0].stats
    torch.testing.assert_close(stats["1/Pr_sum"], expected[0].sum() / 3)
    torch.testing.assert_close(stats["2/Pr_norm"], (expected[1] / 3).norm())


def test_Pr_follows_its_measurements_and_is_of_its_true_size_from_the_first_on() -> None:
    perception = ErrorPerception(1, 3, decay=0.9)
    logits, y = torch.tensor([[0.0, 9.0, 0.0]]), torch.tensor([0])
    p = float(logits.softmax(1)[0, 1])
    value = 0.0
    for n, labelled in enumerate((5, 8, 3), 1):
        perception.watch(0, logits, y)
        perception.finish(labelled)
        value = 0.9 * value + 0.1 * labelled * p
        assert float(perception.Pr[0, 0, 1]) == pytest.approx(value / (1 - 0.9**n))
        if n == 1:
            assert float(perception.Pr[0, 0, 1]) == pytest.approx(5 * p)
            assert perception.stats()["1/Pr_sum"] == perception.Pr.sum()
    perception.finish(5)  # nothing was seen: no measurement
    assert float(perception.Pr[0, 0, 1]) == pytest.approx(value / (1 - 0.9**3))
    perception.watch(0, -logits, y)  # right: a measurement of 0
    perception.finish(5)
    assert float(perception.Pr[0, 0, 1]) == pytest.approx(0.9 * value / (1 - 0.9**4))
    with pytest.raises(UserError, match="epm_ema=1 "):
        ErrorPerception(1, 3, decay=1.0)


@pytest.mark.parametrize("source", ["online", "eval_pass"])
@pytest.mark.parametrize(("passes", "every"), [(10, 10), (2.5, 2), (0.01, 1)])
def test_Pr_is_measured_every_so_many_passes_over_the_labelled_images(source: str, passes: float, every: int) -> None:
    """16 labelled images, 16 of them a step; a pass over the unlabelled ones is 12 steps and of no matter here."""
    trainer = make_trainer("dnll", steps=30, settings={"epm_every": passes, "epm_source": source})
    assert len(trainer.data.labelled) == 16
    perception, measured = trainer.method.perception, []
    finish = perception.finish

    def noted(labelled: int) -> None:
        finish(labelled)
        measured.append(trainer.step)
        if len(measured) == 1 and every > 1:
            assert perception.Pr.sum() > 0

    perception.finish = noted
    trainer.run()
    assert measured == list(range(every, 31, every))
    torch.testing.assert_close(perception.weight, torch.full((2,), 1 - 0.9 ** len(measured)))


@pytest.mark.parametrize("source", ["online", "eval_pass"])
@pytest.mark.parametrize("stop", [13, 14, 15])
def test_resume_around_a_measurement(source: str, stop: int, tmp_path: Path) -> None:
    """Steps 7 and 14 measure; what was watched since is in the checkpoint."""
    more = {"steps": 30, "settings": {"epm_every": 7, "epm_source": source}}
    straight = make_trainer("dnll", folder=tmp_path / "a", **more)
    straight.run()
    stop_after(make_trainer("dnll", folder=tmp_path / "b", **more), stop)
    resumed = make_trainer("dnll", folder=tmp_path / "b", **more)
    resumed.load(checkpoint.load(tmp_path / "b" / "checkpoints" / "last.pt"))
    resumed.run()
    assert_same(straight.state(), resumed.state())


def test_everything_decays_as_in_the_add_ons_release() -> None:
    """Biases and batch norm too, as Dual Student's, on whose code the release is built."""
    (stage,) = method().stages(Plan(9, 8, 32, (8, 16)))
    assert all(spec.decay_all for spec in stage.optim.values())


def test_Pr_from_a_pass_over_the_labelled_images_in_eval_mode() -> None:
    data = batch(4)
    model = method(4, epm_source="eval_pass", epm_ema=0.0)
    step(model, data)
    assert model.perception.rows.sum() == 0, "nothing is watched while training"
    half = (torch.arange(4), torch.arange(4, 8))
    images = SimpleNamespace(
        labelled=torch.arange(8), y=data.y, sweep=lambda ids: iter([(part, data.x[part]) for part in half])
    )
    with torch.no_grad():
        model.measure(Clock(9, 100, 10), images)
        expected = reference_errors(model.nets[1](data.x).softmax(1), data.y)
    assert expected.sum() > 0
    torch.testing.assert_close(model.perception.Pr[1], expected)
    without = method(4, epm=False, epm_source="eval_pass")
    assert without.stages(Plan(9, 8, 32, (8, 16)))[0].moments == ()


# ---- numbers that are logged, and limits -----------------------------------------------------------------------------


def test_agreement_and_collisions() -> None:
    model = method(4, m=3)  # all other classes: sets are equal exactly where the labels are
    data = batch(4)
    stats = step(model, data)[0].stats
    same = (model.nets[0](data.u).argmax(1) == model.nets[1](data.u).argmax(1)).float().mean()
    assert stats["agreement"] == same
    assert stats["collisions"] == same
    assert step(model, data)[1].stats == {}, "each number is logged once a step"


@pytest.mark.parametrize(("K", "m"), [(2, 1), (3, 2), (100, 3)])
def test_any_number_of_classes(K: int, m: int) -> None:
    model = DNLL(Config(), task(K))
    assert model.m == m
    for losses in step(model, batch(K, scale=1e3)):
        losses.total.backward()
        assert torch.isfinite(losses.total)
        assert (losses.unlabelled.negatives.sum(1) == m).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("m", [0, 4, 7])
def test_too_many_negatives_are_refused(m: int) -> None:
    with pytest.raises(UserError, match=f"m={m} "):
        method(4, m=m)


def test_settings_that_contradict_are_refused() -> None:
    for settings in (
        {"use_self": False, "use_cross": False},
        {"use_self": False, "networks": 1},
        {"networks": 1, "alternate": True},
        {"epm_ema": 1.0},
        {"epm_every": 0.0},
    ):
        with pytest.raises(UserError):
            Config(**settings)


def test_both_networks_start_apart_and_are_evaluated() -> None:
    model = method()
    one, two = model.predictors().values()
    assert not torch.equal(one.head.weight, two.head.weight)
    assert list(method(networks=1).predictors()) == ["one"]
