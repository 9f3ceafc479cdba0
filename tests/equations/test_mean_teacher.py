"""Mean Teacher: who gets a gradient, the average, and the paper's ConvLarge protocol."""

import pytest
import torch

from halfseen.method import Clock, Plan
from halfseen.methods.mean_teacher import Config, MeanTeacher
from halfseen.optim import Optim, make_optimizer, set_rates
from halfseen.parts.ramps import exp_rampup
from tests.equations.pair import MID, gradients
from tests.equations.tiny import batch, task

PAPER = Config(
    weight=100.0,
    by_share=True,
    mixed=True,
    ramp=40 / 150,
    ramp_form="exp",
    consistency_on="all",
    ce_norm="batch",
    batch_norm_on_u=True,
    optim=Optim("adam", 0.003, "te(40/150,25/150)", beta1_end=0.5, beta2_start=0.99, weight_decay=0.0),
)


def apart(config: Config, t):
    """A method whose teacher is not its student."""
    method = MeanTeacher(config, t)
    with torch.no_grad():
        for p in method.teacher.parameters():
            p.mul_(1.3)
    return method


def test_consistency_has_a_gradient_into_the_student_and_none_into_the_teacher() -> None:
    t = task()
    method, b = apart(Config(), t), batch()
    method.teacher.requires_grad_(True)  # if one could arrive, it would be seen
    J = method.loss(b, MID).terms["J"]
    assert any(g.any() for g in gradients(J, method.net))
    assert not any(g.any() for g in gradients(J, method.teacher))
    p, q = method.net(b.u).softmax(1), method.teacher(b.u).softmax(1)
    assert J.item() == pytest.approx(50 * (p - q).square().mean().item())
    assert J.item() > 0


def test_the_paper_s_weight_and_rows() -> None:
    t = task()
    method, b = apart(PAPER, t), batch()
    assert method.weight(0.1) == pytest.approx(100 * 8 / 40 * exp_rampup(0.1, 40 / 150))
    losses = method.loss(b, MID)
    rows = torch.cat([b.x, b.u])
    J = (method.net(rows).softmax(1) - method.teacher(rows).softmax(1)).square().mean().item()
    assert losses.terms["J"].item() == pytest.approx(100 * 8 / 40 * J)
    assert method.stages(Plan(10, 8, 32, (5, 5)))[0].epoch == "mixed_pass"
    assert torch.isfinite(method.loss(batch(B=0), MID).total)


def test_adam_s_betas_change_with_the_ramps() -> None:
    optimizer = make_optimizer([torch.nn.Parameter(torch.ones(1))], PAPER.optim)
    found = []
    for progress in (0.0, 0.2, 0.3, 0.8, 1.0):
        set_rates(optimizer, PAPER.optim, progress)
        found.append(optimizer.param_groups[0]["betas"])
    assert [b for _, b in found] == [0.99, 0.99, 0.999, 0.999, 0.999]
    assert [a for a, _ in found[:4]] == pytest.approx([0.9] * 4)
    assert found[4][0] == pytest.approx(0.5, abs=1e-5)
    set_rates(optimizer, Optim("adam"), 0.0)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def test_the_average_has_its_own_decay_while_the_weight_rises() -> None:
    t = task()
    for step, decay in ((2000, 0.99), (8000, 0.999)):
        method = apart(Config(ramp=0.4, decay_in_ramp=0.99), t)
        before = [p.clone() for p in method.teacher.parameters()]
        method.after_step(Clock(step, 10_000, 10))
        for old, new, student in zip(before, method.teacher.parameters(), method.net.parameters(), strict=True):
            torch.testing.assert_close(new, decay * old + (1 - decay) * student)
