"""DMT: weights at agreement and disagreement, the mixed loss, rounds and their average."""

import math

import pytest
import torch

from halfseen.augment.mix import mix_partners, mixing_weights
from halfseen.errors import UserError
from halfseen.method import Clock, Plan
from halfseen.methods.dmt import DMT, Config, dynamic_weight
from tests.equations.rounds import Pool
from tests.equations.tiny import batch, step, task
from tests.toy import make_trainer

MID = Clock(50, 100, 10)


def test_weights_at_agreement_and_disagreement() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.4, 0.35, 0.25]])
    yhat = torch.tensor([0, 1, 1, 2])
    c = torch.tensor([0.1, 0.6, 0.7, 0.9])
    w = dynamic_weight(p, yhat, c, 2.0, 3.0)
    # agreed; the network is surer than the label; it is not; the label is much surer
    assert w.tolist() == pytest.approx([0.7**2, 0.0, 0.2**3, 0.25**3])
    assert dynamic_weight(p, yhat, c, 0.0, 0.0).tolist() == [1, 0, 1, 1]


@pytest.mark.parametrize("seed", range(3))
def test_weights_against_a_loop(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    p = torch.randn(50, 4, generator=g, dtype=torch.float64).softmax(1)
    yhat, c = torch.randint(0, 4, (50,), generator=g), torch.rand(50, generator=g, dtype=torch.float64)
    expected = []
    for row, y, conf in zip(p.tolist(), yhat.tolist(), c.tolist(), strict=True):
        best = row.index(max(row))
        expected.append(row[y] ** 1.5 if best == y else 0.0 if max(row) > conf else row[y] ** 2.5)
    assert dynamic_weight(p, yhat, c, 1.5, 2.5).tolist() == pytest.approx(expected)


def test_the_loss_against_a_loop() -> None:
    method, b = DMT(Config(seen="strong"), task()), batch()
    g = torch.Generator().manual_seed(1)
    method.label.values.copy_(torch.randint(0, 4, (40,), generator=g))
    method.confidence.values.copy_(torch.rand(40, generator=g))
    (losses,) = step(method, b, MID)
    rise = 4 * math.exp(-5 * 0.5**2)
    rows = torch.cat([b.x, b.u]) + 0.1
    y = torch.cat([b.y, method.label[b.u_ids]])
    p = method.net(rows).softmax(1).detach()[8:]
    w = torch.cat([torch.ones(8), dynamic_weight(p, y[8:], method.confidence[b.u_ids], rise, rise)])
    method.task.draws.generator.manual_seed(0)
    lam = mixing_weights(method.task.draws, 0.75, 24, per_image=False, near_first=True)
    partner = mix_partners(method.task.draws, 24)
    assert lam.min() >= 0.5
    total = 0.0
    for i in range(24):
        k, j = float(lam[i]), int(partner[i])
        log_p = method.net((k * rows[i] + (1 - k) * rows[j]).unsqueeze(0)).log_softmax(1)[0]
        weight = k * float(w[i]) + (1 - k) * float(w[j])
        total -= weight * (k * log_p[y[i]].item() + (1 - k) * log_p[y[j]].item())
    assert losses.terms["L"].item() == pytest.approx(total / 24, rel=1e-5)


def test_weights_have_no_gradient() -> None:
    method, b = DMT(Config(mixup=0.0), task()), batch()
    method.confidence.values.fill_(1.0)
    (losses,) = step(method, b, MID)
    found = torch.autograd.grad(losses.total, method.net.head.bias)[0]
    p = method.net(torch.cat([b.x, b.u])).softmax(1).detach()  # seen weakly
    y = torch.cat([b.y, method.label[b.u_ids]])
    rise = 4 * math.exp(-5 * 0.5**2)
    w = torch.cat([torch.ones(8), p[8:].gather(1, y[8:, None])[:, 0] ** rise])
    expected = (w[:, None] * (p - torch.nn.functional.one_hot(y, 4))).mean(0)
    torch.testing.assert_close(found, expected)


def test_a_round_is_taught_by_the_average_of_the_one_before() -> None:
    method = DMT(Config(), task())
    with torch.no_grad():
        for p in method.average.parameters():
            p.mul_(1.5)
    q = method.average(Pool().x).softmax(1).detach()
    old = method.net.head.weight.clone()
    with torch.no_grad():
        method.begin_round(Pool(), 2)
    c, yhat = q[8:].max(1)
    assert torch.equal(method.label.values[8:], yhat)
    torch.testing.assert_close(method.confidence.values[8:].double(), c, rtol=1e-6, atol=1e-6)
    assert set(method.chosen.tolist()) == set((c.argsort(descending=True)[:13] + 8).tolist())
    assert not torch.equal(old, method.net.head.weight)


@pytest.mark.parametrize("bug", [False, True])
def test_the_average_and_the_released_one(bug: bool) -> None:
    method = DMT(Config(ema_bug=bug), task())
    with torch.no_grad():
        method.net.head.weight.add_(1.0)
    old = method.average.head.weight.clone()
    method.after_step(Clock(50_000, 60_000, 10))
    moved = (method.average.head.weight - old) / (method.net.head.weight - old)
    torch.testing.assert_close(moved, torch.full_like(moved, 0.999 if bug else 0.001))
    method.after_step(Clock(0, 60_000, 10))  # a round's first step: nothing of the last round's network is left
    assert torch.equal(method.average.head.weight, method.net.head.weight)


def test_unlabelled_batches_hold_chosen_images_alone() -> None:
    trainer = make_trainer("dmt", steps=60, settings={"rounds": 5})
    trainer.stage_index = 1
    trainer.enter()
    chosen = set(trainer.method.chosen.tolist())
    assert 0 < len(chosen) < 250
    streams = trainer.streams()
    seen = [trainer.data.batch(streams, s) for s in range(20)]
    assert set(torch.cat([b.u_ids for b in seen]).tolist()) <= chosen
    assert trainer.clock().epoch_steps == len(chosen) // 32


def test_the_plan_and_settings_that_cannot_be() -> None:
    stages = DMT(Config(rounds=2), task()).stages(Plan(90, 8, 32, (4, 4)))
    assert [(s.name, s.steps) for s in stages] == [("round 0", 30), ("round 1", 30), ("round 2", 30)]
    for settings in ({"rounds": 0}, {"mixup": -0.1}, {"gamma2": -1.0}):
        with pytest.raises(UserError, match="dmt needs"):
            DMT(Config(**settings), task())
