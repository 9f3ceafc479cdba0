"""Label propagation: its loss, what a propagation writes, when it comes, and the host beside it."""

import pytest
import torch

from halfseen.errors import UserError
from halfseen.method import Clock, Plan
from halfseen.methods.label_propagation import Config, LabelPropagation
from halfseen.parts.graph import certainty, propagate
from tests.equations.pair import MID
from tests.equations.rounds import Pool
from tests.equations.tiny import batch, step, task
from tests.toy import make_trainer


def test_the_loss_against_a_loop() -> None:
    method, b = LabelPropagation(Config(), task()), batch()
    g = torch.Generator().manual_seed(1)
    method.label.values.copy_(torch.randint(0, 4, (40,), generator=g))
    method.w.values.copy_(torch.rand(40, generator=g))
    method.class_weight.copy_(torch.tensor([0.5, 1.0, 2.0, 3.0]))
    (losses,) = step(method, b)
    total = 0.0
    for view, ids, labels in ((b.x, b.x_ids, b.y), (b.u, b.u_ids, None)):
        log_p = method.net(view).log_softmax(1)
        for n, i in enumerate(ids.tolist()):
            y = int(labels[n] if labels is not None else method.label.values[i])
            w = 1.0 if labels is not None else method.w.values[i].item()
            total += w * method.class_weight[y].item() * -log_p[n, y].item()
    assert losses.terms["L"].item() == pytest.approx(total / 24, rel=1e-6)


def test_a_propagation_writes_labels_weights_and_the_balance_of_classes() -> None:
    data, method = Pool(), LabelPropagation(Config(k=6), task())
    with torch.no_grad():
        method.propagate(data)
        f = method.net.features(data.x).float()
    y = torch.where(torch.arange(40) < 8, data.y, -1)
    Z = propagate(f, y, 4, 6, 3.0, 0.99, 20)
    assert torch.equal(method.label[data.labelled], data.y[:8])
    assert torch.equal(method.label[data.unlabelled], Z[8:].argmax(1))
    assert (method.w[data.labelled] == 1).all()
    torch.testing.assert_close(method.w[data.unlabelled], certainty(Z[8:]))
    sizes = torch.bincount(method.label.values, minlength=4)
    torch.testing.assert_close(method.class_weight, (40 / 4 / sizes.float()))
    plain = LabelPropagation(Config(k=6, certain=False, balance=False), task())
    with torch.no_grad():
        plain.propagate(data)
    assert (plain.w.values == 1).all()
    assert (plain.class_weight == 1).all()


def test_it_comes_on_entry_and_after_passes_but_not_at_the_end() -> None:
    method = LabelPropagation(Config(every=2, first=0.25), task())
    one, two = method.stages(Plan(100, 8, 32, (8, 8)))
    assert (one.steps, two.steps, two.enter) == (25, 75, method.propagate)
    seen: list[int] = []
    method.propagate = lambda data: seen.append(1)
    for done in range(4, 77, 4):  # an epoch is 4 steps
        method.after_pass(Clock(min(done, 75) - 1, 75, 4), Pool())
    assert len(seen) == 9  # after epochs 2, 4, ..., 18


def test_beside_mean_teacher_its_terms_are_there_and_one_more() -> None:
    settings = "weight=7 decay=0.97"
    method, b = LabelPropagation(Config(host="mean_teacher", settings=settings, weight=0.5), task()), batch()
    stages = method.stages(Plan(100, 8, 32, (8, 16)))
    assert [s.name for s in stages] == ["mean_teacher", "propagate"]
    assert all(set(s.optim) == {"host.net"} for s in stages)
    method.label.values.fill_(2)
    method.w.values.fill_(0.25)
    losses = stages[1].loss(b, MID)
    assert set(losses.terms) == {"CE", "J", "L"}
    expected = 0.5 * 0.25 * -method.host.net(b.u).log_softmax(1)[:, 2].mean().item()
    assert losses.terms["L"].item() == pytest.approx(expected, rel=1e-6)
    assert list(method.predictors()) == ["teacher", "net"]
    assert method.host.cfg.decay == 0.97


def test_beside_mean_teacher_it_learns() -> None:
    trainer = make_trainer("label_propagation", steps=160, settings={"host": "mean_teacher"})
    trainer.run()
    for name, scores in trainer.judge.at_end(trainer.method, 4).items():
        assert scores["test"]["accuracy"] > 0.7, name


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"k": 0}, "label_propagation needs"),
        ({"alpha": 1.0}, "label_propagation needs"),
        ({"host": "label_propagation"}, "must be another method"),
        ({"host": "r2d2"}, "stages of its own"),
    ],
)
def test_settings_that_cannot_be(settings: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        LabelPropagation(Config(**settings), task())


def test_a_host_that_says_nothing_of_unlabelled_images() -> None:
    method = LabelPropagation(Config(host="supervised"), task())
    with pytest.raises(UserError, match="supervised does not say"):
        method.stages(Plan(10, 8, 32, (8, 16)))[1].loss(batch(), MID)
