"""Dual Student: who teaches whom, image by image; the four terms; which gradient reaches which student and head."""

import pytest
import torch
from torch import Tensor, nn

from halfseen.method import Batch, Clock
from halfseen.methods.dual_student import Config, DualStudent
from halfseen.nets import make_net
from halfseen.parts.heads import TwoHeads
from tests.equations.tiny import batch, step, task

END = Clock(100, 100, 10)  # the ramps are over


def method(K: int = 3, seed: int = 0, sharp: float = 12.0, **settings) -> DualStudent:
    """Two students that are at times sure of themselves, on views that differ."""
    noise = torch.Generator().manual_seed(9)
    made = task(K, seed, weak=lambda x: x + 0.2 * torch.randn(x.shape, generator=noise, dtype=torch.float64))
    model = DualStudent(Config(**settings), made)
    with torch.no_grad():
        for student in model.pair:
            student.net.head.weight.mul_(sharp)
    return model


def logits(model: DualStudent, data: Batch) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Class logits on the own view, consistency logits on it, class logits on the other's view: rows x, then u."""
    noise = torch.Generator().manual_seed(9)
    views = []
    for _ in range(2):
        views.append(
            torch.cat([r + 0.2 * torch.randn(r.shape, generator=noise, dtype=torch.float64) for r in (data.x, data.u)])
        )
    own = [student.both(view)[0] for student, view in zip(model.pair, views, strict=True)]
    across = [model.pair[s](views[1 - s]).detach() for s in (0, 1)]
    return [c for c, _ in own], [q for _, q in own], across


def mse(p: Tensor, q: Tensor) -> Tensor:
    return ((p - q) ** 2).mean()


def reference(model: DualStudent, data: Batch) -> tuple[list[dict[str, Tensor]], list[list[dict]]]:
    """The terms without weights, and what happens to every unlabelled image, image by image."""
    c, q, across = logits(model, data)
    B, n = len(data.x), len(data.x) + len(data.u)
    p = [[row.softmax(0) for row in each] for each in c]
    pq = [[row.softmax(0) for row in each] for each in q]
    pa = [[row.softmax(0) for row in each] for each in across]
    terms, notes = [], [[], []]
    for i in range(B, n):
        stable = [
            p[s][i].argmax() == pa[s][i].argmax() and bool(max(p[s][i].max(), pa[s][i].max()) > model.cfg.xi)
            for s in (0, 1)
        ]
        d = [mse(pq[s][i], pa[s][i]).item() for s in (0, 1)]
        for s in (0, 1):
            r = 1 - s
            taught = bool(stable[r] and (not stable[s] or d[r] <= d[s]))
            target = p[r][i].detach() if taught else pa[r][i]
            notes[s].append(
                {
                    "taught": taught,
                    "teacher_stable": bool(stable[r]),
                    "target": target,
                    "loss": mse(pq[s][i], p[r][i].detach()),
                }
            )
    for s in (0, 1):
        zero = c[s].sum() * 0
        terms.append(
            {
                "CE": sum(-torch.log(p[s][i][y]) for i, y in enumerate(data.y.tolist())) / n,
                "tie": sum(mse(c[s][i], q[s][i]) for i in range(n)) / n,
                "con": sum(mse(pq[s][i], pa[s][i]) for i in range(n)) / n,
                "stab": sum((note["loss"] for note in notes[s] if note["taught"]), start=zero) / (n - B) * (n - B) / n,
            }
        )
    return terms, notes


def run(model: DualStudent, data: Batch, clock: Clock = END):
    weak = model.weak
    noise = torch.Generator().manual_seed(9)
    model.weak = model.labelled_view = lambda x: x + 0.2 * torch.randn(x.shape, generator=noise, dtype=torch.float64)
    try:
        return step(model, data, clock)
    finally:
        model.weak = model.labelled_view = weak


def test_terms_and_gradients_are_those_of_a_loop_over_the_images() -> None:
    model, data = method(), batch(3, B=6, U=40)
    weights = {"CE": 1.0, "tie": 0.01, "con": 10.0, "stab": 100.0}
    terms, notes = reference(model, data)
    kinds = {(n["taught"], n["teacher_stable"]) for n in notes[0] + notes[1]}
    assert kinds == {(True, True), (False, True), (False, False)}, "the example must hold every case"
    for s, losses in enumerate(run(model, data)):
        assert set(losses.terms) == {f"{s + 1}/{name}" for name in weights}
        for name, weight in weights.items():
            expected = weight * terms[s][name]
            assert losses.terms[f"{s + 1}/{name}"].item() == pytest.approx(expected.item(), rel=1e-5)
            params = list(model.pair[s].parameters())
            found = torch.autograd.grad(losses.terms[f"{s + 1}/{name}"], params, retain_graph=True, allow_unused=True)
            wanted = torch.autograd.grad(expected, params, retain_graph=True, allow_unused=True)
            for f, w, p in zip(found, wanted, params, strict=True):
                f, w = (torch.zeros_like(p) if g is None else g for g in (f, w))
                torch.testing.assert_close(f, w, rtol=1e-4, atol=1e-6)


def test_what_is_reported_of_each_image() -> None:
    model, data = method(), batch(3, B=6, U=40)
    _, notes = reference(model, data)
    for where in ("no_target", "unstable"):
        model.cfg = Config(addon_where=where)
        for s, losses in enumerate(run(model, data)):
            told = losses.unlabelled
            key = "taught" if where == "no_target" else "teacher_stable"
            assert told.kept.tolist() == [n[key] for n in notes[s]]
            torch.testing.assert_close(told.target, torch.stack([n["target"] for n in notes[s]]))
            assert told.logits.requires_grad
            assert not told.target.requires_grad
            assert torch.equal(model.pair[s].both(told.view)[0][1], told.logits), "the consistency head on the own view"


def test_a_loss_stays_in_its_student() -> None:
    model, data = method(), batch(3, B=6, U=40)
    for s in (0, 1):
        model.zero_grad()
        run(model, data)[s].total.backward()
        assert all(p.grad is None for p in model.pair[1 - s].parameters())
        assert all(p.grad is not None for p in model.pair[s].parameters())
    assert [losses.trains for losses in run(model, data)] == [("students.0",), ("students.1",)]


def test_which_head_each_term_trains() -> None:
    model, data = method(), batch(3, B=6, U=40)
    losses = run(model, data)[0]
    heads = (model.pair[0].net.head.weight, model.pair[0].second.weight)
    for name, reached in (
        ("CE", (True, False)),
        ("tie", (True, True)),
        ("con", (False, True)),
        ("stab", (False, True)),
    ):
        grads = torch.autograd.grad(losses.terms[f"1/{name}"], heads, retain_graph=True, allow_unused=True)
        assert tuple(g is not None and bool(g.any()) for g in grads) == reached, name


def test_both_teach_at_equal_distance() -> None:
    """The same student twice, on the same view."""
    model = DualStudent(Config(xi=0.0), task(3))
    model.students[1].load_state_dict(model.students[0].state_dict())
    assert all(losses.unlabelled.kept.all() for losses in step(model, batch(3), END))


def test_nobody_is_stable() -> None:
    model = method(xi=1.0)
    for losses in run(model, batch(3)):
        assert losses.terms[next(n for n in losses.terms if n.endswith("stab"))] == 0
        assert not losses.unlabelled.kept.any()
        losses.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_weights_ramps_and_norms() -> None:
    data = batch(3, B=6, U=40)
    base = run(method(), data)[0].terms

    def terms(clock: Clock = END, **settings) -> dict[str, Tensor]:
        return run(method(**settings), data, clock)[0].terms

    assert terms(consistency=5.0)["1/con"].item() == pytest.approx(0.5 * base["1/con"].item())
    assert terms(stabilisation=1.0)["1/stab"].item() == pytest.approx(0.01 * base["1/stab"].item())
    assert terms(logit_distance=1.0)["1/tie"].item() == pytest.approx(100 * base["1/tie"].item())
    assert terms(ce_norm="labelled")["1/CE"].item() == pytest.approx(46 / 6 * base["1/CE"].item())
    start = terms(Clock(0, 100, 10), ramp=0.5)
    for name in ("con", "stab"):
        assert start[f"1/{name}"].item() == pytest.approx(0.006737947 * base[f"1/{name}"].item())
    assert terms(Clock(50, 100, 10), ramp=0.5)["1/con"].item() == pytest.approx(base["1/con"].item())
    one = run(method(heads=1), data)[0]
    assert set(one.terms) == {"1/CE", "1/con", "1/stab"}


@pytest.mark.parametrize("K", [2, 100])
def test_any_number_of_classes(K: int) -> None:
    model = method(K)
    for losses in run(model, batch(K)):
        losses.total.backward()
        assert torch.isfinite(losses.total)


@pytest.mark.parametrize(("net", "own"), [("cnn13", True), ("cnn3", True), ("small", False)])
def test_every_network_has_two_heads(net: str, own: bool) -> None:
    """Those that can have a second head use theirs; the others get one of the same kind, with a start of its own."""

    def fresh(prefer: dict[str, int]) -> nn.Module:
        return make_net(net, classes=4, shape=(1, 28, 28), **(prefer if own else {}))

    two = TwoHeads(fresh, heads=2)
    assert (two.second is None) == own
    c, q = two.both(torch.randn(3, 1, 28, 28))[0]
    assert c.shape == q.shape == (3, 4)
    assert not torch.equal(c, q)
    if net == "small":
        assert type(two.second) is type(two.net.head)
    one = TwoHeads(fresh, heads=1)
    c, q = one.both(torch.randn(3, 1, 28, 28))[0]
    assert torch.equal(c, q)
    assert sum("head2" in name or "second" in name for name, _ in one.named_parameters()) == 0


def test_two_heads_evaluate_as_the_class_head() -> None:
    model = method()
    x = torch.randn(5, 6, dtype=torch.float64)
    assert torch.equal(model.predictors()["left"](x), model.pair[0](x))
    assert torch.equal(model.pair[0](x), model.pair[0].both(x)[0][0])
