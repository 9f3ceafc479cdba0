"""SoftMatch against loops over rows and steps: moments of the confidence, the truncated Gaussian, the alignment."""

import math

import pytest
import torch

from halfseen.errors import UserError
from halfseen.method import Clock
from halfseen.methods.softmatch import Config, SoftMatch
from tests.equations import tiny
from tests.equations.tiny import number

C = 4


def made(**keys):
    task = tiny.task(C)
    torch.manual_seed(0)
    return SoftMatch(Config(**keys), task)


@pytest.mark.parametrize("n", [1.0, 2.0])
@pytest.mark.parametrize("warm", [False, True])
def test_weights_over_steps_are_those_of_a_loop(n, warm):
    method = made(momentum=0.9, warm=warm, n=n, lambda_max=0.8)
    mu, var = 1 / C, 1.0
    for t in range(40):
        c = torch.rand(16, generator=torch.Generator().manual_seed(t)) ** 0.5
        got = method.weights(c, t).tolist()
        d = min((1 + t) / (10 + t), 0.9) if warm else 0.9
        mean = sum(c.tolist()) / 16
        mu = d * mu + (1 - d) * mean
        var = d * var + (1 - d) * 16 / 15 * sum((v - mean) ** 2 for v in c.tolist()) / 16
        want = [0.8 * (math.exp(-(n * n) * (v - mu) ** 2 / (2 * var)) if v < mu else 1.0) for v in c.tolist()]
        assert got == pytest.approx(want, rel=1e-4)
    assert max(got) == pytest.approx(0.8)
    assert min(got) < 0.7


def test_confidences_that_are_all_alike_have_full_weight():
    method = made(momentum=0.0)
    assert method.weights(torch.full((5,), 0.7), 100).tolist() == pytest.approx([1.0] * 5)


@pytest.mark.parametrize("labels", [False, True])
def test_loss_is_that_of_a_loop_and_the_alignment_touches_the_weights_alone(labels):
    method, data = made(align_labels=labels), tiny.batch()
    with torch.no_grad():
        method.net.head.bias.copy_(torch.tensor([1.0, 0.0, 0.0, -0.5]))  # so that alignment changes some argmax
    losses = tiny.step(method, data, Clock(50, 100, 10))[0]
    with torch.no_grad():
        p = method.net(data.u).softmax(1)
    m = p.mean(0)
    mu, var = method.gauss.value.tolist()
    L_u, changed = 0.0, 0
    for u in range(16):
        aligned = [number(p[u, c]) / C / number(m[c]) for c in range(C)]
        aligned = [v / sum(aligned) for v in aligned]
        weight = math.exp(-((max(aligned) - mu) ** 2) / (2 * var)) if max(aligned) < mu else 1.0
        best = max(range(C), key=lambda c, row=aligned: row[c])
        changed += best != int(p[u].argmax())
        taught = best if labels else int(p[u].argmax())
        L_u = L_u - weight * method.net(data.u[u : u + 1] + 0.1).log_softmax(1)[0, taught] / 16
    assert changed > 0
    assert number(losses.terms["L_u"]) == pytest.approx(number(L_u), rel=1e-4)
    params = list(method.net.parameters())
    want = torch.autograd.grad(L_u, params)
    for g, w in zip(torch.autograd.grad(losses.terms["L_u"], params), want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-3, atol=1e-6)


def test_mean_and_variance_begin_at_chance_and_one():
    mu, var = made().gauss.value.tolist()
    assert (mu, var) == (pytest.approx(1 / C), 1.0)


def test_a_gaussian_without_width_is_refused():
    with pytest.raises(UserError, match="above 0"):
        made(n=0.0)
