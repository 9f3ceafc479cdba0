"""UPS: who is positive and who negative, balance by deviation, the losses, Monte-Carlo passes that processes share."""

import math
from dataclasses import replace

import pytest
import torch

from halfseen.errors import UserError
from halfseen.method import Plan
from halfseen.methods.ups import UPS, Config
from tests.equations.rounds import Pool
from tests.equations.tiny import batch, step, task
from tests.toy import make_trainer


def measured(method: UPS, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Random means and deviations instead of passes: P, u, P_n, u_n of the 32 images of the pool."""
    g = torch.Generator().manual_seed(seed)
    P, P_n = ((3 * torch.randn(32, 4, generator=g)).softmax(1) for _ in range(2))
    u, u_n = (0.1 * torch.rand(32, 4, generator=g), 0.01 * torch.rand(32, 4, generator=g))
    method.measure = lambda data, ids: ((P, u), (P_n, u_n))
    return P, u, P_n, u_n


def made(**settings) -> UPS:
    return UPS(Config(use_uncertainty=False, **settings), task())


def test_positives_and_negatives_against_a_loop() -> None:
    method = made(balanced_rounds=0)
    P, u, P_n, u_n = measured(method)
    with torch.no_grad():
        method.begin_round(Pool(), 1)
    chosen = []
    for row in range(32):
        i, k = row + 8, int(P[row].argmax())
        positive = bool(P[row, k] >= 0.7 and u[row, k] <= 0.05)
        N = [bool(not positive and j != k and P_n[row, j] <= 0.05 and u_n[row, j] <= 0.005) for j in range(4)]
        assert method.label.values[i] == k
        assert bool(method.positive.values[i]) == positive
        assert method.N.values[i].tolist() == N
        if positive or any(N):
            chosen.append(i)
    assert method.chosen.tolist() == chosen
    assert method.positive.values[8:].any()
    assert method.N.values.any()
    assert len(chosen) < 32
    assert method.positive.values[:8].all()
    assert torch.equal(method.label.values[:8], Pool().y[:8])
    assert not method.N.values[:8].any()


def test_a_class_keeps_those_of_lowest_deviation() -> None:
    method, free = made(least=1, s_p=1.0), made(balanced_rounds=0, s_p=1.0)
    P, u, _, _ = measured(method)
    measured(free)
    with torch.no_grad():
        method.begin_round(Pool(), 6)
        free.begin_round(Pool(), 6)
    kbar, was = P.argmax(1), free.positive.values[8:]
    sizes = torch.bincount(kbar[was], minlength=4)
    n = max(1, int(sizes.min()))
    assert int(sizes.max()) > n
    for k in range(4):
        rows = (was & (kbar == k)).nonzero().squeeze(1)
        best = rows[u[rows, k].argsort()[:n]]
        kept = (method.positive.values[8:] & (kbar == k)).nonzero().squeeze(1)
        assert set(best.tolist()) == set(kept.tolist())
    later = made(least=1, s_p=1.0)
    measured(later)
    with torch.no_grad():
        later.begin_round(Pool(), 7)  # balance ends with the sixth round
    assert torch.equal(later.positive.values, free.positive.values)


def test_the_losses_against_a_loop() -> None:
    method, b = made(seen="strong"), batch()
    g = torch.Generator().manual_seed(5)
    method.label.values.copy_(torch.randint(0, 4, (40,), generator=g))
    method.positive.values.copy_(torch.rand(40, generator=g) < 0.5)
    method.N.values.copy_((torch.rand(40, 4, generator=g) < 0.4) & ~method.positive.values[:, None])
    (losses,) = step(method, b)
    L_n = []
    L_p = [-a[y] for a, y in zip(method.net(b.x + 0.1).log_softmax(1).tolist(), b.y.tolist(), strict=True)]
    for a, i in zip(method.net(b.u + 0.1).log_softmax(1).tolist(), b.u_ids.tolist(), strict=True):
        if method.positive.values[i]:
            L_p.append(-a[int(method.label.values[i])])
        marks = [k for k in range(4) if method.N.values[i, k]]
        if marks:
            L_n.append(sum(-math.log(1 - math.exp(a[k])) for k in marks) / len(marks))
    assert len(L_p) > 8
    assert L_n
    assert losses.terms["L_p"].item() == pytest.approx(sum(L_p) / len(L_p))
    assert losses.terms["L_n"].item() == pytest.approx(sum(L_n) / len(L_n))
    assert "L_n" not in step(made(use_negative=False), b)[0].terms


def test_without_either_kind_the_losses_are_0() -> None:
    losses = step(made(batches="proportional"), batch(B=0))[0]
    assert [v.item() for v in losses.terms.values()] == [0, 0]


def test_passes_of_the_pool_are_those_of_dropout_in_evaluation_mode() -> None:
    options = {"net_options": {"dropout": 0.3}, "steps": 12}
    trainer = make_trainer("ups", **options)
    method, ids = trainer.method, trainer.data.unlabelled[:50]
    draws = method.task.draws
    was = draws.generator.get_state()
    with torch.no_grad():
        (P, u), (P_n, u_n) = method.measure(trainer.data, ids)
        torch.rand(5)  # another process has drawn other numbers
        draws.generator.set_state(was)
        again = method.measure(trainer.data, ids)[0][0]
    assert torch.equal(P, again)
    assert u.max() > 0
    torch.testing.assert_close(P.sum(1), torch.ones(50))
    assert P_n.amax(1).mean() < P.amax(1).mean()  # a temperature of 2 flattens
    assert u_n.mean() < u.mean()
    assert method.net.training


def test_a_network_without_dropout_is_refused() -> None:
    with pytest.raises(UserError, match="this network drops nothing"):
        UPS(Config(), task())
    for settings in ({"rounds": 0}, {"passes": 1}, {"temperature": 0.0}):
        with pytest.raises(UserError, match="ups needs"):
            made(**settings)


def test_labelled_images_train_and_are_not_reported() -> None:
    method = made(balanced_rounds=0)
    measured(method)
    with torch.no_grad():
        method.begin_round(Pool(), 1)
    b = replace(batch(), u_ids=torch.arange(16))
    told = step(method, b)[0].unlabelled
    assert not told.kept[:8].any()
    assert torch.equal(told.kept[8:], method.positive.values[8:16])
    stages = method.stages(Plan(60, 8, 32, (4, 4)))
    assert [s.epoch for s in stages] == ["labeled_pass"] + ["unlabeled_pass"] * 5
    mixed = made(batches="proportional").stages(Plan(60, 8, 32, (4, 4)))
    assert [s.epoch for s in mixed] == ["labeled_pass"] + ["selected_pass"] * 5


def test_where_nothing_is_sure_the_labelled_images_still_train() -> None:
    method = made(t_p=1.0, t_n=0.0)
    measured(method)
    with torch.no_grad():
        method.begin_round(Pool(), 1)
    assert method.chosen.tolist() == list(range(8, 40))
    assert not method.positive.values[8:].any()
    losses = step(method, batch())[0]
    assert losses.terms["L_p"].item() > 0
    assert losses.terms["L_n"].item() == 0
