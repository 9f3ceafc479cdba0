"""The negative term on what a host discards: which images, whose class, its mean and weight, and any host."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from halfseen.errors import UserError
from halfseen.method import Clock, Losses, Plan
from halfseen.methods.dual_student import Config as DualConfig
from halfseen.methods.dual_student import DualStudent
from halfseen.methods.on_discarded import Config, OnDiscarded
from halfseen.training.trainer import Trainer
from tests.equations.tiny import batch, step, task
from tests.toy import make_trainer

TWO_STAGES = str(Path(__file__).parents[1] / "methods" / "two_stages.py")
LATE = Clock(80, 100, 10)


def method(K: int = 5, weak=None, strong=None, **settings) -> OnDiscarded:
    return OnDiscarded(Config(**settings), task(K, weak=weak, strong=strong))


def shifted(x: Tensor) -> Tensor:
    return x + torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def reference(logits: Tensor, N: Tensor, rows: Tensor, over: int | None = None) -> float:
    """1/|D| sum over D of the mean over the negatives of -log(1 - p + 1e-6), image by image."""
    total, count = 0.0, 0
    for a, marks, on in zip(logits.double(), N, rows, strict=True):
        if on:
            p = a.softmax(0)
            terms = [-math.log(1 - float(p[k]) + 1e-6) for k in range(len(p)) if marks[k]]
            total, count = total + sum(terms) / len(terms), count + 1
    return total / (over or max(1, count))


def check_term(losses: Losses, s: int, rows: Tensor, over: int | None = None, weight: float = 2.0) -> None:
    told = losses.unlabelled
    assert torch.equal(told.negatives.any(1), rows), "negatives are said of the rows that have them"
    expected = weight * reference(told.logits.detach(), told.negatives, rows, over)
    assert losses.terms[f"{s + 1}/L_n"].item() == pytest.approx(expected, rel=1e-5)
    assert losses.stats[f"{s + 1}/discarded"] == rows.float().mean()


# ---- Dual Student ----------------------------------------------------------------------------------------------------


def test_dual_student_learns_what_images_without_target_are_not() -> None:
    model, data = method(weak=shifted, settings="xi=0.3"), batch(5, U=60)
    sides = step(model, data, LATE)
    assert len(sides) == 2
    for s, losses in enumerate(sides):
        told = losses.unlabelled
        assert told.kept.any()
        assert not told.kept.all(), "the example must hold both kinds"
        check_term(losses, s, ~told.kept)
        # the class that is left out is what the other student says of the same view
        other = model.hosts[0].students[1 - s](told.view).argmax(1)
        assert not told.negatives[~told.kept].gather(1, other[~told.kept].unsqueeze(1)).any()
        assert torch.equal(told.target.argmax(1)[~told.kept], other[~told.kept])
        (grad,) = torch.autograd.grad(losses.terms[f"{s + 1}/L_n"], told.logits)
        assert torch.equal(grad.abs().sum(1) > 0, ~told.kept)


def test_the_host_trains_as_it_does_alone() -> None:
    data = batch(5, U=60)
    alone = step(DualStudent(DualConfig(xi=0.3), task(5)), data, LATE)
    for mine, its in zip(step(method(settings="xi=0.3"), data, LATE), alone, strict=True):
        for name, term in its.terms.items():
            assert torch.equal(mine.terms[name], term)
        assert mine.trains == tuple(f"hosts.0.{path}" for path in its.trains)
        for name, stat in its.stats.items():
            assert torch.equal(mine.stats[name], stat)


def test_gradients_stay_in_the_student_that_learns() -> None:
    model, data = method(settings="xi=0.3"), batch(5, U=60)
    for s in (0, 1):
        model.zero_grad()
        step(model, data, LATE)[s].terms[f"{s + 1}/L_n"].backward()
        reached = [any(p.grad is not None for p in student.parameters()) for student in model.hosts[0].students]
        assert reached == [s == 0, s == 1]
        assert not model.hosts[0].students[s].net.head.weight.grad.any(), "the term is on the consistency head"


def test_unstable_images_are_fewer() -> None:
    model, data = method(weak=shifted, settings="xi=0.3 addon_where=unstable"), batch(5, U=60)
    all_of_them = step(method(weak=shifted, settings="xi=0.3"), data, LATE)
    fewer = False
    for s, losses in enumerate(step(model, data, LATE)):
        check_term(losses, s, ~losses.unlabelled.kept)
        before = ~all_of_them[s].unlabelled.kept
        assert not (~losses.unlabelled.kept & ~before).any()
        fewer = fewer or bool((before & losses.unlabelled.kept).any())
    assert fewer, "the example must hold an image on which both are stable"


def test_nothing_discarded_is_zero() -> None:
    model, data = method(), batch(5)
    model.hosts[0].students[1].load_state_dict(model.hosts[0].students[0].state_dict())
    model.hosts[0].cfg = DualConfig(xi=0.0)  # both are stable everywhere, at the same distance: each teaches the other
    for s, losses in enumerate(step(model, data, LATE)):
        assert losses.unlabelled.kept.all()
        assert losses.terms[f"{s + 1}/L_n"] == 0
        losses.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


# ---- the settings ----------------------------------------------------------------------------------------------------


def test_the_mean_over_selected_rows_or_over_all() -> None:
    data = batch(5, U=60)
    for s, losses in enumerate(step(method(weak=shifted, settings="xi=0.3", addon_norm="batch"), data, LATE)):
        check_term(losses, s, ~losses.unlabelled.kept, over=60)


def test_the_weight_over_training() -> None:
    """A hundredth of training is one of the release's epochs; it rises through epoch 15, that one included."""
    model = method()
    released = [75 * math.exp(-5 * (1 - e / 100) ** 2) if e <= 15 else 2.0 for e in range(100)]
    assert [model.weight(e / 100) for e in range(100)] == pytest.approx(released)
    assert model.weight(0.15) == pytest.approx(2.0238, abs=5e-5)
    assert model.weight(0.1599) == model.weight(0.15)
    model = method(weight=5.0, start_weight=0.0, start=0.5)
    assert [model.weight(t) for t in (0.0, 0.5, 0.51)] == [0.0, 0.0, 5.0]
    data = batch(5)
    early, late = (float(step(method(), data, c)[0].terms["1/L_n"].detach()) for c in (Clock(0, 100, 10), LATE))
    assert early == pytest.approx(late * 75 * math.exp(-5) / 2)


@pytest.mark.parametrize(("sampler", "counts"), [("released", {1, 2}), ("ep", {2}), ("epm", {2})])
def test_samplers(sampler: str, counts: set[int]) -> None:
    losses = step(method(addon_sampler=sampler, rows="all"), batch(5, U=200), LATE)[0]
    assert set(losses.unlabelled.negatives.sum(1).tolist()) == counts


def test_error_perception_follows_the_labelled_images() -> None:
    """Pr is measured in train mode on weak views of the labelled rows, and chooses by the learner's row."""
    model, data = method(addon_sampler="epm", rows="all", m=1, epm_ema=0.0), batch(5, U=200)
    (stage,) = model.stages(Plan(100, 8, 32, (8, 200)))
    step(model, data, LATE)
    for s, student in enumerate(model.hosts[0].students):
        p = student(data.x).softmax(1)
        wrong = p.argmax(1) != data.y
        torch.testing.assert_close(model.perception.seen[s].sum(), p.amax(1)[wrong].sum().float())
    (moment,) = stage.moments
    assert [done for done in range(1, 31) if moment.due(done)] == [10, 20, 30]  # passes of the 8 labelled images
    moment.do(LATE, None)
    assert method().stages(Plan(100, 8, 32, (8, 200)))[0].moments == ()
    assert model.perception.Pr.sum() > 0
    for k in range(5):
        model.perception.Pr[0, k, (k + 1) % 5] = model.perception.Pr[1, k, (k + 2) % 5] = 1e3
    for s, losses in enumerate(step(model, data, LATE)):
        told = losses.unlabelled
        assert torch.equal(told.negatives.int().argmax(1), (told.target.argmax(1) + 1 + s) % 5)


def test_form_and_number_of_the_negatives() -> None:
    data = batch(5, U=60)

    def term(**settings) -> float:
        return float(step(method(rows="all", addon_sampler="ep", **settings), data, LATE)[0].terms["1/L_n"].detach())

    assert term(nl_per_label="sum") == pytest.approx(2 * term())
    assert term(nl_form="exact") == pytest.approx(term(), rel=1e-4)
    assert term(nl_form="exact") != term()
    assert term(m=4, nl_per_label="sum") > term(m=1, nl_per_label="sum")
    assert method(K=2).m == 1
    with pytest.raises(UserError, match="m=5 "):
        method(m=5)


# ---- Mean Teacher and other hosts ------------------------------------------------------------------------------------


def test_mean_teacher_learns_from_the_students_word_on_the_teachers_view() -> None:
    views = []

    def weak(x: Tensor) -> Tensor:
        views.append(x + len(views))
        return views[-1]

    more = {"host": "mean_teacher", "rows": "all", "headline": "net", "settings": "weight=10 ramp=0.05 ramp_form=exp"}
    model, data = method(weak=weak, source="own", **more), batch(5, U=200)
    with torch.no_grad():
        for p in model.hosts[0].teacher.parameters():
            p.mul_(-1)  # a teacher that is seldom of the student's mind
    (losses,) = step(model, data, LATE)
    told = losses.unlabelled
    assert torch.equal(told.view, views[3]), "of x and u: the student's, then the teacher's"
    student, teacher = model.hosts[0].net(views[3]).argmax(1), model.hosts[0].teacher(views[3]).argmax(1)
    assert (student != teacher).any()
    assert told.kept.all()
    check_term(losses, 0, torch.ones(200, dtype=torch.bool))
    assert not told.negatives.gather(1, student.unsqueeze(1)).any()
    assert told.negatives.gather(1, teacher.unsqueeze(1)).any()
    assert list(model.predictors()) == ["net", "teacher"]
    assert losses.trains == ("hosts.0.net",)
    by_teacher = step(method(weak=weak, source="target", **more), data, LATE)[0].unlabelled
    assert not by_teacher.negatives.gather(1, by_teacher.target.argmax(1, keepdim=True)).any()


def test_two_hosts_teach_each_other_where_they_discard() -> None:
    model = method(host="fixmatch", copies=2, settings="tau=0.5", m=1)
    data = batch(5, U=60)
    with torch.no_grad():
        for host in model.hosts:
            host.net.head.weight.mul_(4)
    sides = step(model, data, LATE)
    for s, losses in enumerate(sides):
        told, other = losses.unlabelled, sides[1 - s].unlabelled
        assert told.kept.any()
        assert not told.kept.all()
        check_term(losses, s, ~told.kept)
        assert set(losses.terms) == {f"{s + 1}/{name}" for name in ("L_s", "L_u", "L_n")}
        assert losses.trains == (f"hosts.{s}.net",)
        assert (told.target.argmax(1) != other.target.argmax(1)).any()
        assert not told.negatives[~told.kept].gather(1, other.target.argmax(1, keepdim=True)[~told.kept]).any()
    assert list(model.predictors()) == ["1/average", "1/net", "2/average", "2/net"]


def test_two_hosts_do_all_that_they_do_alone() -> None:
    """A host of two stages, entered, swept and repredicted for each copy; both averages move after a step."""
    settings = {"host": TWO_STAGES, "copies": 2}
    trainer = make_trainer("on_discarded", batch=(8, 64), labels_per_class=10, steps=40, settings=settings)
    assert [stage.name for stage in trainer.stages] == ["labels", "both"]
    assert set(trainer.stages[1].optim) == {f"hosts.{i}.{name}" for i in (0, 1) for name in ("net", "free")}
    trainer.run()
    for host in trainer.method.hosts:
        assert host.predictions >= 2
        assert host.visits.values.sum() > 0
        assert host.free.abs().sum() > 0
    pair = make_trainer("on_discarded", settings={"host": "fixmatch", "copies": 2}, steps=2)
    before = [host.average.net.head.weight.clone() for host in pair.method.hosts]
    pair.run()
    for host, was in zip(pair.method.hosts, before, strict=True):
        assert not torch.equal(host.average.net.head.weight, was)


def test_a_host_alone_learns_from_its_own_targets() -> None:
    model, data = method(host="pseudo_label"), batch(5)
    (losses,) = step(model, data, LATE)
    assert not losses.unlabelled.negatives.gather(1, losses.unlabelled.target.argmax(1, keepdim=True)).any()


def failing(trainer: Trainer) -> str:
    with pytest.raises(UserError) as error:
        trainer.run()
    return str(error.value)


def test_hosts_that_cannot_serve_are_refused_in_words() -> None:
    for settings, words in (
        ({"host": "on_discarded"}, "another method"),
        ({"host": "fixmach"}, "did you mean 'fixmatch'"),
        ({"settings": "xj=1"}, "did you mean 'xi'"),
        ({"settings": "xi"}, "not KEY=VALUE"),
        ({"host": "mean_teacher", "headline": "nett"}, "did you mean 'net'"),
    ):
        with pytest.raises(UserError, match=words):
            method(**settings)
    assert "says nothing of unlabelled" in failing(
        make_trainer("on_discarded", settings={"host": "supervised"}, steps=2)
    )
    for settings, words in (
        ({"host": "pseudo_label", "source": "own"}, "on which view"),
        ({"host": "fixmatch", "source": "other"}, "no other network"),
        ({"copies": 2}, "has 4 networks"),
    ):
        assert words in failing(make_trainer("on_discarded", settings=settings, steps=2))
