"""The Pi model: both branches learn, the weight and its divisor, rows of the term, settings."""

import pytest
import torch
from torch import Tensor

from halfseen.method import Clock, Plan
from halfseen.methods.pi_model import Config, PiModel
from halfseen.parts.ramps import exp_rampup
from tests.equations.pair import MID, batch, gradients, made, task


def noisy(t, seed: int = 1):
    """A task whose weak view is another one at each call."""
    g = torch.Generator().manual_seed(seed)
    object.__setattr__(t, "weak", lambda x: x + 0.3 * torch.randn(x.shape, generator=g, dtype=x.dtype))
    return t


def views_of(b, seed: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, u, the second view of u and of x: in the order in which the method makes them."""
    g = torch.Generator().manual_seed(seed)
    x, u, u2, x2 = (v + 0.3 * torch.randn(v.shape, generator=g, dtype=v.dtype) for v in (b.x, b.u, b.u, b.x))
    return x, u, u2, x2


@pytest.mark.parametrize("rows", ["unlabelled", "all"])
def test_the_loss_against_a_loop(rows: str) -> None:
    t = noisy(task())
    method, b = made(PiModel, Config(consistency_on=rows), t), batch(t)
    losses = method.loss(b, MID)
    x, u, u2, x2 = views_of(b)
    log_p = method.net(x).log_softmax(1)
    assert losses.terms["CE"].item() == pytest.approx(-sum(log_p[i, y].item() for i, y in enumerate(b.y)) / 6)
    pairs = [(u, u2)] if rows == "unlabelled" else [(x, x2), (u, u2)]
    squares = []
    for one, two in pairs:
        for p, q in zip(method.net(one).softmax(1).tolist(), method.net(two).softmax(1).tolist(), strict=True):
            squares.append(sum((a - c) ** 2 for a, c in zip(p, q, strict=True)) / 3)
    # halfway through training the linear ramp over .4 of it is over
    assert losses.terms["J"].item() == pytest.approx(10 * sum(squares) / len(squares))
    assert losses.unlabelled.kept.all()


@pytest.mark.parametrize("branches", ["both", "first"])
def test_the_gradient_runs_through_both_branches(branches: str) -> None:
    t = noisy(task())
    method, b = made(PiModel, Config(branches=branches), t), batch(t)
    found = gradients(method.loss(b, MID).terms["J"], method.net)
    _, u, u2, _ = views_of(b)
    p, q = method.net(u).softmax(1), method.net(u2).softmax(1)
    one = gradients(10 * (p - q.detach()).square().mean(), method.net)
    two = gradients(10 * (p.detach() - q).square().mean(), method.net)
    for g, g1, g2 in zip(found, one, two, strict=True):
        assert g2.abs().max() > 1e-6
        torch.testing.assert_close(g, g1 + g2 if branches == "both" else g1, rtol=1e-9, atol=1e-12)


def test_the_paper_s_weight_is_that_of_its_divisor() -> None:
    """CE over all rows, and w_max N_L/N: both 6/15 and 6/40 of what they are beside a mean."""
    t = task()
    paper = Config(weight=100.0, ramp=0.8, ramp_form="exp", ce_norm="batch", consistency_on="all")
    method, b = made(PiModel, paper, t), batch(t)
    assert method.weight(MID) == pytest.approx(100 * 6 / 40 * exp_rampup(0.5, 0.8))
    log_p = method.net(b.x).log_softmax(1)
    CE = -sum(log_p[i, y].item() for i, y in enumerate(b.y)) / 15
    assert method.loss(b, MID).terms["CE"].item() == pytest.approx(CE)
    assert made(PiModel, Config(ramp=0.8), t).weight(MID) == pytest.approx(10 * 0.5 / 0.8)


def test_the_first_epoch_may_be_skipped() -> None:
    t = task()
    at = Clock(step=9, steps=30, epoch_steps=10)
    assert made(PiModel, Config(), t).weight(at) > 0
    skipping = made(PiModel, Config(skip_first_epoch=True), t)
    assert skipping.weight(at) == 0
    assert skipping.weight(MID) > 0


def test_a_mixed_batch_may_have_no_labelled_row() -> None:
    t = task()
    method, b = made(PiModel, Config(mixed=True, consistency_on="all", ce_norm="batch"), t), batch(t, B=0, U=9)
    losses = method.loss(b, MID)
    assert losses.terms["CE"].item() == 0
    assert torch.isfinite(losses.total)
    assert method.stages(Plan(10, 6, 34, (5, 5)))[0].epoch == "mixed_pass"


def test_unlabelled_rows_leave_the_running_statistics_unless_told_otherwise() -> None:
    t = task(shape=(1, 8, 8), net="small", width=8)
    b = batch(t, dtype=torch.float32)
    for on_u in (False, True):
        method = made(PiModel, Config(batch_norm_on_u=on_u), t)
        alone = made(PiModel, Config(), t)
        alone.net(b.x)
        method.loss(b, MID)
        assert method.net.norm1.num_batches_tracked.item() == 1
        same = torch.equal(alone.net.norm1.running_mean, method.net.norm1.running_mean)
        assert same == (not on_u)
