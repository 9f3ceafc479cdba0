"""FreeMatch against loops over rows and steps: running means, thresholds of classes, fairness."""

import math

import pytest
import torch

from halfseen.errors import UserError
from halfseen.method import Clock
from halfseen.methods.freematch import Config, FreeMatch
from halfseen.parts.fairness import fairness
from tests.equations import tiny
from tests.equations.tiny import number

C = 4


def made(**keys):
    task = tiny.task(C)
    torch.manual_seed(0)
    return FreeMatch(Config(**keys), task)


def norm(values):
    return [v / sum(values) for v in values]


def fairness_by_loop(p, h, Q, kept):
    """(11) in lists."""
    mean = [sum(number(row[c]) for row, k in zip(Q, kept, strict=True) if k) / len(Q) for c in range(C)]
    said = [
        sum(k and max(range(C), key=lambda j, r=row: number(r[j])) == c for row, k in zip(Q, kept, strict=True))
        for c in range(C)
    ]
    if not sum(said):
        return 0.0
    a = norm([p[c] / h[c] for c in range(C)])
    b = norm([mean[c] / (said[c] / len(Q)) if said[c] else 0.0 for c in range(C)])
    return sum(a[c] * math.log(b[c] + 1e-12) for c in range(C))


@pytest.mark.parametrize("warm", [False, True])
def test_thresholds_over_steps_are_those_of_a_loop(warm):
    method = made(momentum=0.9, warm=warm)
    tau, p, h = 1 / C, [1 / C] * C, [1 / C] * C
    for t in range(6):
        q = (2 * torch.randn(16, C, generator=torch.Generator().manual_seed(t)) + torch.arange(C)).softmax(1)
        d = min((1 + t) / (10 + t), 0.9) if warm else 0.9
        best = [max(range(C), key=lambda c, r=row: number(r[c])) for row in q]
        tau = d * tau + (1 - d) * sum(number(row.max()) for row in q) / 16
        for c in range(C):
            p[c] = d * p[c] + (1 - d) * sum(number(row[c]) for row in q) / 16
            h[c] = d * h[c] + (1 - d) * best.count(c) / 16
        got = method.thresholds(q, t)
        assert got.tolist() == pytest.approx([p[c] / max(p) * tau for c in range(C)], rel=1e-4)
        assert method.h.value.tolist() == pytest.approx(h, rel=1e-4)
    assert number(got.max()) == pytest.approx(tau, rel=1e-4)


def test_the_first_threshold_is_near_chance_and_the_range_can_be_held():
    sure = torch.tensor([[1.0, 0, 0, 0]]).repeat(4, 1)
    assert number(made(warm=False).thresholds(sure, 0).max()) == pytest.approx(0.999 / C + 0.001)
    assert number(made(momentum=0.0, low=0.9, high=0.95).thresholds(sure, 0).max()) == pytest.approx(0.95)
    assert number(made(warm=False, low=0.9, high=0.95).thresholds(sure, 0).max()) == pytest.approx(0.9)


def test_loss_and_gradient_are_those_of_a_loop():
    method, data = made(w_f=0.3, w_u=0.8, warm=False), tiny.batch()
    with torch.no_grad():
        method.net.head.weight.mul_(3)
    method.tau.value.fill_(0.55)
    losses = tiny.step(method, data, Clock(40, 100, 10))[0]
    with torch.no_grad():
        q = method.net(data.u).softmax(1)
    T = (method.tau.value * method.p.value / method.p.value.max()).tolist()  # after they followed the batch
    kept, L_u = [], 0.0
    for u in range(16):
        c = int(q[u].argmax())
        kept.append(number(q[u, c]) >= T[c])
        if kept[-1]:
            L_u = L_u - method.net(data.u[u : u + 1] + 0.1).log_softmax(1)[0, c] / 16
    assert 0 < sum(kept) < 16
    assert losses.unlabelled.kept.tolist() == kept
    assert number(losses.terms["L_u"]) == pytest.approx(0.8 * number(L_u), rel=1e-5)
    Q = method.net(data.u + 0.1).softmax(1)
    p, h = method.p.value.tolist(), method.h.value.tolist()
    assert number(losses.terms["L_f"]) == pytest.approx(0.3 * fairness_by_loop(p, h, Q.detach(), kept), rel=1e-5)


@pytest.mark.parametrize("pattern", ["all", "some", "none", "one class"])
def test_fairness_is_that_of_a_loop_and_its_gradient_goes_through_the_mean_alone(pattern):
    a = 2 * torch.randn(12, C, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    if pattern == "one class":
        a[:, 2] += 20
    a.requires_grad_()
    kept = torch.full((12,), pattern != "none")
    if pattern == "some":
        kept[::3] = False
    p = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    h = torch.tensor([0.25, 0.25, 0.4, 0.1], dtype=torch.float64)
    got = fairness(p, h, a, kept)
    assert number(got) == pytest.approx(fairness_by_loop(p.tolist(), h.tolist(), a.detach().softmax(1), kept.tolist()))
    (gradient,) = torch.autograd.grad(got, a)
    assert torch.isfinite(gradient).all()
    assert (gradient[~kept] == 0).all()
    if pattern in ("all", "some"):  # the histogram is piecewise constant: differences see the mean's share only
        for i, k in ((1, 0), (4, 3), (7, 2)):
            step = torch.zeros_like(a)
            step[i, k] = 1e-6
            with torch.no_grad():
                slope = (fairness(p, h, a + step, kept) - fairness(p, h, a - step, kept)) / 2e-6
            assert number(gradient[i, k]) == pytest.approx(number(slope), rel=1e-4, abs=1e-9)
    if pattern in ("none", "one class"):
        assert gradient.abs().max() < 1e-6


def test_labelled_images_alone_come_first_if_wanted():
    method, data = made(labelled_first=0.5), tiny.batch()
    early, late = (tiny.step(method, data, Clock(step, 100, 10))[0].terms for step in (49, 50))
    assert number(early["L_u"]) == number(early["L_f"]) == 0
    assert number(late["L_u"]) > 0
    assert number(early["L_s"]) > 0


def test_a_range_without_meaning_is_refused():
    with pytest.raises(UserError, match="low"):
        made(low=0.9, high=0.5)
    with pytest.raises(UserError, match="decay"):
        made(momentum=1.0)
