"""AdaMatch against loops over rows: interpolated logits, the alignment to labelled predictions, the relative threshold."""

import math

import pytest
import torch

from halfseen.errors import UserError
from halfseen.method import Clock
from halfseen.methods.adamatch import AdaMatch, Config
from halfseen.methods.fixmatch import Config as FixMatchConfig
from halfseen.methods.fixmatch import FixMatch
from tests.equations import pair, tiny
from tests.equations.tiny import number

LATE = Clock(60, 100, 10)
C = 4


def made(**keys):
    task = tiny.task(C, weak=lambda x: x - 0.05)
    torch.manual_seed(0)
    return AdaMatch(Config(**keys), task)


def digits(**keys):
    task = pair.task(classes=3, shape=(1, 8, 8), net="small", width=4)
    return pair.made(AdaMatch, Config(**keys), task), pair.batch(task, dtype=torch.float32)


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("hard", [True, False])
def test_loss_and_gradient_are_those_of_a_loop(relative, hard):
    """Without batch norm both forwards agree, so that interpolation changes nothing."""
    tau = 1.0 if relative else 0.45
    method, data = made(tau=tau, relative=relative, hard=hard, lambda_u=0.7, labelled_weight=0.5), tiny.batch()
    with torch.no_grad():
        method.net.head.weight.mul_(2)
    losses = tiny.step(method, data, LATE)[0]
    with torch.no_grad():
        p_x, p_u = method.net(data.x - 0.05).softmax(1), method.net(data.u - 0.05).softmax(1)
    e_x, e_u = p_x.mean(0), p_u.mean(0)
    c_tau = tau * (sum(number(row.max()) for row in p_x) / 8 if relative else 1.0)
    L_x, L_u, kept = 0.0, 0.0, 0
    for b in range(8):
        for shift in (-0.05, 0.1):
            L_x = L_x - 0.5 * method.net(data.x[b : b + 1] + shift).log_softmax(1)[0, data.y[b]] / 8
    for u in range(16):
        q = [number(p_u[u, c]) * number(e_x[c]) / number(e_u[c]) for c in range(C)]
        q = torch.tensor([v / sum(q) for v in q], dtype=torch.float64)
        if number(q.max()) >= c_tau:
            log_p = method.net(data.u[u : u + 1] + 0.1).log_softmax(1)[0]
            L_u, kept = L_u - (log_p[q.argmax()] if hard else (q * log_p).sum()) / 16, kept + 1
    assert 0 < kept < 16
    assert number(losses.stats["c_tau"]) == pytest.approx(c_tau, rel=1e-5)
    assert int(losses.unlabelled.kept.sum()) == kept
    assert number(losses.terms["L_x"]) == pytest.approx(number(L_x), rel=1e-5)
    assert number(losses.terms["L_u"]) == pytest.approx(0.7 * number(L_u), rel=1e-4)
    params = list(method.net.parameters())
    want = torch.autograd.grad(L_x + 0.7 * L_u, params)
    for g, w in zip(torch.autograd.grad(losses.total, params), want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-3, atol=1e-5)


def test_both_expectations_are_running_means():
    method = made(align_decay=0.9)
    e_x, e_u = [0.0] * C, [0.0] * C
    for t in range(1, 6):
        g = torch.Generator().manual_seed(t)
        p_x, p_u = (torch.randn(n, C, generator=g).softmax(1) for n in (5, 7))
        got = method.align(p_u, torch.zeros(5, dtype=torch.int64), labelled=p_x)
        for c in range(C):
            e_x[c] = 0.9 * e_x[c] + 0.1 * number(p_x[:, c].mean())
            e_u[c] = 0.9 * e_u[c] + 0.1 * number(p_u[:, c].mean())
        for row, mine in zip(p_u, got, strict=True):
            scaled = [number(row[c]) * e_x[c] / e_u[c] for c in range(C)]
            assert mine.tolist() == pytest.approx([v / sum(scaled) for v in scaled], rel=1e-4)


def test_labelled_logits_lie_between_the_two_forwards_each_at_its_own_place():
    method = made()
    joint, alone = torch.zeros(400, C), torch.ones(400, C)
    joint.requires_grad_()
    alone.requires_grad_()
    Z = method.interpolated(joint, alone)
    share = Z.detach()  # 1 - lambda
    assert ((share >= 0) & (share <= 1)).all()
    assert abs(number(share.mean()) - 0.5) < 0.03
    assert abs(number(share.var()) - 1 / 12) < 0.01
    assert len(share.unique()) > 1500  # every logit has a lambda of its own
    g_joint, g_alone = torch.autograd.grad(Z.sum(), (joint, alone))
    torch.testing.assert_close(g_joint + g_alone, torch.ones(400, C))
    torch.testing.assert_close(g_alone, share)


def test_the_labelled_rows_alone_move_no_running_statistics():
    """And the interpolated logits are what the loss sees: with batch norm the two forwards differ."""
    method, b = digits()
    other, _ = digits(interpolate=False)
    losses = [m.loss(b, LATE) for m in (method, other)]
    for mine, theirs in zip(method.net.buffers(), other.net.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)
    assert int(method.net.norm1.num_batches_tracked) == 1
    assert abs(number(losses[0].terms["L_x"].detach() - losses[1].terms["L_x"].detach())) > 1e-4


def test_mu_rises_to_one_in_the_middle_of_training():
    method = made()
    mus = [method.mu(Clock(step, 100, 10)) for step in range(100)]
    for step, mu in enumerate(mus):
        assert mu == pytest.approx(0.5 - math.cos(min(math.pi, 2 * math.pi * step / 100)) / 2)
    assert mus[0] == 0
    assert mus[25] == pytest.approx(0.5)
    assert mus[50:] == [1.0] * 50
    assert made(warm_up=False).mu(Clock(0, 100, 10)) == 1.0


def test_alignment_to_predictions_is_refused_where_there_are_none():
    with pytest.raises(UserError, match="align_to=labels"):
        FixMatch(FixMatchConfig(align=True, align_to="predictions"), tiny.task(C))
