"""UDA against loops over rows: the sharpened target, the mask, and training signal annealing."""

import math

import pytest
import torch

from halfseen.errors import UserError
from halfseen.method import Clock
from halfseen.methods.uda import UDA, Config
from tests.equations import tiny
from tests.equations.tiny import number


def made(**keys):
    task = tiny.task()
    torch.manual_seed(0)
    return UDA(Config(**keys), task)


@pytest.mark.parametrize("tsa", ["off", "linear", "log", "exp"])
@pytest.mark.parametrize("progress", [0, 30, 90])
def test_loss_and_gradient_are_those_of_a_loop(tsa, progress):
    method, data = made(tsa=tsa, beta=0.4), tiny.batch()
    with torch.no_grad():
        method.net.head.weight.mul_(3)  # from unsure to sure
    losses = tiny.step(method, data, Clock(progress, 100, 10))[0]
    t = progress / 100
    alpha = {"off": 1.0, "linear": t, "exp": math.exp(5 * (t - 1)), "log": 1 - math.exp(-5 * t)}[tsa]
    eta = alpha * (1 - 1 / 4) + 1 / 4
    total, released = 0.0, 0
    for b in range(8):
        log_p = method.net(data.x[b : b + 1]).log_softmax(1)[0, data.y[b]]
        if tsa == "off" or number(log_p.exp()) <= eta:
            total, released = total - log_p, released + 1
    L_s = total / max(1, released)
    L_u, kept = 0.0, 0
    for u in range(16):
        with torch.no_grad():
            z = method.net(data.u[u : u + 1])[0]
        if number(z.softmax(0).max()) >= 0.4:
            log_p = method.net(data.u[u : u + 1] + 0.1).log_softmax(1)[0]
            L_u, kept = L_u - ((z / 0.4).softmax(0) * log_p).sum() / 16, kept + 1
    assert 0 < kept < 16
    assert number(losses.terms["L_s"]) == pytest.approx(number(L_s), rel=1e-5)
    assert number(losses.terms["L_u"]) == pytest.approx(number(L_u), rel=1e-5)
    params = list(method.net.parameters())
    want = torch.autograd.grad(L_s + L_u, params)
    for g, w in zip(torch.autograd.grad(losses.total, params), want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-6)
    if tsa == "off":
        assert "released" not in losses.stats
    else:
        assert number(losses.stats["released"]) == pytest.approx(released / 8)


def test_annealing_begins_at_chance_and_ends_at_certainty():
    """exp holds the labels back longest, log lets them go soonest; linear is exact at both ends."""
    for tsa, start in (("linear", 0.25), ("exp", 0.25 + 0.75 * math.exp(-5)), ("log", 0.25)):
        method = made(tsa=tsa)
        assert method.eta(0.0) == pytest.approx(start)
        assert method.eta(1.0) == pytest.approx(1.0, abs=0.01)
        etas = [method.eta(t / 20) for t in range(21)]
        assert etas == sorted(etas)
    half = {tsa: made(tsa=tsa).eta(0.5) for tsa in ("exp", "linear", "log")}
    assert half["exp"] < half["linear"] < half["log"]


def test_a_label_that_is_known_already_is_left_out():
    method = made(tsa="linear")
    logits = torch.tensor([[9.0, 0, 0, 0], [0.0, 0, 0, 0], [0.0, 9, 0, 0]])
    y = torch.tensor([0, 0, 0])
    assert method.released(logits, y, 0.5).tolist() == [False, True, True]
    assert method.released(logits, y, 1.0).all()
    assert made().released(logits, y, 0.0).all()


def test_all_labels_known_is_no_loss_and_no_division_by_zero():
    method, data = made(tsa="linear"), tiny.batch()
    with torch.no_grad():
        method.net.head.weight.zero_()
        method.net.head.bias.zero_()
        method.net.head.bias[0] = 50.0
    data = type(data)(data.x, torch.zeros_like(data.y), data.u, data.x_ids, data.u_ids)
    assert number(tiny.step(method, data, Clock(0, 100, 10))[0].terms["L_s"]) == 0.0


def test_a_temperature_without_meaning_is_refused():
    with pytest.raises(UserError, match="above 0"):
        made(tau=0.0)
