"""Temporal Ensembling: targets and their bias correction, the weight w_max N_L/N, a loop over several epochs, gradients."""

import math
from dataclasses import replace

import pytest
import torch

from halfseen.errors import UserError
from halfseen.method import Batch
from halfseen.methods.temporal_ensembling import Config, TemporalEnsembling
from halfseen.parts.ramps import exp_rampup
from tests.equations.pair import MID, batch, gradients, made, task


def test_targets_are_the_paper_s_at_the_end_of_each_epoch() -> None:
    """Z <- alpha Z + (1 - alpha) z and z~ = Z/(1 - alpha^e), for images that come once an epoch, while the net changes."""
    t = task()
    method, b = made(TemporalEnsembling, Config(alpha=0.7), t), batch(t)
    Z, ids = torch.zeros(9, 3, dtype=torch.float64), b.u_ids
    for epoch in range(1, 5):
        told = method.loss(b, MID).unlabelled
        assert told.kept.all() == (epoch > 1)
        if epoch > 1:
            torch.testing.assert_close(told.target, (Z / (1 - 0.7 ** (epoch - 1))).to(told.target.dtype))
        Z = 0.7 * Z + 0.3 * method.net(b.u).softmax(1).detach()
        torch.testing.assert_close(method.Z[ids].double(), Z, rtol=1e-6, atol=1e-7)
        assert (method.n[ids] == epoch).all()
        with torch.no_grad():
            for p in method.net.parameters():
                p.mul_(1.1)
    assert method.n.values.sum() == 4 * 15  # and nobody else was visited


def test_bias_correction_makes_the_first_target_the_first_prediction() -> None:
    t = task()
    method, b = made(TemporalEnsembling, Config(), t), batch(t)
    method.loss(b, MID)
    again = method.loss(b, MID)
    torch.testing.assert_close(
        again.unlabelled.target.double(), method.net(b.u).softmax(1).detach(), rtol=1e-5, atol=1e-6
    )
    assert again.terms["J"].item() < 1e-9  # the net has not moved


def test_the_weight_is_w_max_times_the_labelled_share() -> None:
    t = task()  # 6 of 40 images are labelled
    paper = made(TemporalEnsembling, Config(ce_norm="batch", ramp=0.8), t)
    assert paper.weight(0.5) == pytest.approx(30 * 6 / 40 * math.exp(-5 * (1 - 0.5 / 0.8) ** 2))
    assert paper.weight(0.9) == pytest.approx(30 * 6 / 40)
    beside_a_mean = made(TemporalEnsembling, Config(), t)
    assert beside_a_mean.weight(0.1) == pytest.approx(30 * exp_rampup(0.1, 80 / 300))
    log_p = paper.net(batch(t).x).log_softmax(1)
    CE = -sum(log_p[i, y].item() for i, y in enumerate(batch(t).y))
    assert paper.loss(batch(t), MID).terms["CE"].item() == pytest.approx(CE / 15)
    assert beside_a_mean.loss(batch(t), MID).terms["CE"].item() == pytest.approx(CE / 6)


@pytest.mark.parametrize("rows", ["unlabelled", "all"])
def test_the_loss_against_a_loop(rows: str) -> None:
    """Of images that were visited, and of some that were not: these count in the mean and add nothing."""
    t = task()
    method, b = made(TemporalEnsembling, Config(consistency_on=rows), t), batch(t)
    g = torch.Generator().manual_seed(4)
    seen = torch.cat([b.x_ids[:4], b.u_ids[2:]])
    method.Z.write(seen, torch.rand(len(seen), 3, generator=g))
    method.n.write(seen, torch.full((len(seen),), 3.0))
    Z, n = method.Z.values.clone().tolist(), method.n.values.clone().tolist()
    found = method.loss(b, MID).terms["J"].item()
    total, count = 0.0, 0
    for view, ids in ((b.x, b.x_ids), (b.u, b.u_ids)):
        if view is b.x and rows == "unlabelled":
            continue
        for p, i in zip(method.net(view).softmax(1).tolist(), ids.tolist(), strict=True):
            count += 1
            if n[i]:
                total += sum((a - z / (1 - 0.6 ** n[i])) ** 2 for a, z in zip(p, Z[i], strict=True)) / 3
    assert count == (15 if rows == "all" else 9)
    assert found == pytest.approx(30 * total / count, rel=1e-6)


def test_targets_have_no_gradient_and_predictions_have() -> None:
    t = task()
    method, b = made(TemporalEnsembling, Config(), t), batch(t)
    assert not any(g.any() for g in gradients(method.loss(b, MID).terms["J"], method.net))  # no target yet
    moved = replace(b, x=b.x + 0.5, u=b.u + 0.5)
    losses = method.loss(moved, MID)
    assert not losses.unlabelled.target.requires_grad
    target = losses.unlabelled.target.double()
    rows = torch.cat(
        [
            (method.net(moved.x).softmax(1) - method.net(b.x).softmax(1).detach()).square(),
            (method.net(moved.u).softmax(1) - target).square(),
        ]
    )
    for g, wanted in zip(
        gradients(losses.terms["J"], method.net), gradients(30 * rows.mean(), method.net), strict=True
    ):
        torch.testing.assert_close(g, wanted, rtol=1e-4, atol=1e-7)


def test_an_image_twice_in_a_batch_is_visited_once() -> None:
    t = task()
    method, b = made(TemporalEnsembling, Config(), t), batch(t)
    same = torch.full_like(b.x_ids, int(b.x_ids[0]))
    method.loss(Batch(b.x, b.y, b.u, same, b.u_ids), MID)
    assert method.n[b.x_ids[:1]].item() == 1


@pytest.mark.parametrize("alpha", [-0.1, 1.0])
def test_a_decay_that_is_none(alpha: float) -> None:
    with pytest.raises(UserError, match="decay of the temporal ensemble"):
        made(TemporalEnsembling, Config(alpha=alpha), task())
