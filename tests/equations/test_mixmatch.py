"""MixMatch against loops over rows: guesses, sharpening, MixUp with lambda' >= 1/2, both losses, interleaving."""

import pytest
import torch
from torch import nn

from halfseen.augment.mix import mix_partners
from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.method import Clock
from halfseen.methods.mixmatch import Config, MixMatch
from halfseen.parts.forward import interleaved, together
from halfseen.parts.sharpen import sharpen
from tests.equations import tiny
from tests.equations.tiny import number

LATE = Clock(50, 100, 10)


class Shifts:
    """The i-th call returns its images plus a tenth of i: every view is another one."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return x + 0.1 * self.calls


def made(weak=None, **keys):
    task = tiny.task(weak=weak or Shifts())
    torch.manual_seed(0)
    return MixMatch(Config(**keys), task)


def test_sharpening_is_a_softmax_at_a_temperature():
    a = torch.randn(6, 5, dtype=torch.float64)
    for T in (0.1, 0.5, 1.0):
        got = sharpen(a.softmax(1), T)
        for i in range(6):
            powers = [number(a.softmax(1)[i, k]) ** (1 / T) for k in range(5)]
            assert got[i].tolist() == pytest.approx([v / sum(powers) for v in powers])
        torch.testing.assert_close(got, (a / T).softmax(1))
    many = torch.full((1, 1000), 1e-3)
    torch.testing.assert_close(sharpen(many, 0.05), many)  # powers of 1e-3 alone would vanish


def test_a_mixed_row_is_at_least_half_its_first_partner():
    """lambda' = max(lambda, 1 - lambda): the rows are unit vectors, so what is left of each can be read off."""
    method = made()
    rows, targets = method.mixed(torch.eye(40), torch.eye(40))
    own = rows.diagonal()
    assert (own >= 0.5).all()
    assert (own < 0.99).any()
    torch.testing.assert_close(rows.sum(1), torch.ones(40))
    torch.testing.assert_close(rows, targets)
    assert (rows > 0).sum(1).max() == 2


def test_partners_are_a_permutation_of_the_whole_batch_and_lambda_may_be_one_for_all():
    order = mix_partners(Draws.seeded(3), 50)
    assert sorted(order.tolist()) == list(range(50))
    assert order.tolist() != list(range(50))
    own = made(mix_per="batch").mixed(torch.eye(40), torch.eye(40))[0].diagonal()
    mixed = own[own < 1]  # a row may be its own partner
    assert len(mixed.unique()) == 1


@pytest.mark.parametrize("K", [1, 2, 3])
def test_loss_and_gradient_are_those_of_a_loop(K):
    method, data = made(K=K), tiny.batch()
    B, U, C = 8, 16, 4
    losses = tiny.step(method, data, LATE)[0]

    draws = Draws.seeded(0)
    n = B + K * U
    lam = draws.beta(0.75, 0.75, n)
    order = draws.uniform(n).argsort()
    p = torch.zeros(U, C, dtype=torch.float64)
    with torch.no_grad():
        for k in range(K):
            p += method.net(data.u + 0.1 * (2 + k)).softmax(1) / K
    rows = [(data.x[b] + 0.1, nn.functional.one_hot(data.y[b], C).double()) for b in range(B)]
    for k in range(K):
        for u in range(U):
            q = p[u] ** 2 / (p[u] ** 2).sum()
            rows.append((data.u[u] + 0.1 * (2 + k), q))
    L_x, L_u = 0.0, 0.0
    for i in range(n):
        w, j = max(number(lam[i]), 1 - number(lam[i])), int(order[i])
        x, t = (w * one + (1 - w) * two for one, two in zip(rows[i], rows[j], strict=True))
        log_p = method.net(x.unsqueeze(0)).log_softmax(1)[0]
        if i < B:
            L_x = L_x - (t * log_p).sum() / B
        else:
            L_u = L_u + (t - log_p.exp()).square().sum() / C / (K * U)
    assert number(losses.terms["L_x"]) == pytest.approx(number(L_x), rel=1e-5)
    assert number(losses.terms["L_u"]) == pytest.approx(10 * number(L_u), rel=1e-5)
    params = list(method.net.parameters())
    want = torch.autograd.grad(L_x + 10 * L_u, params)
    got = torch.autograd.grad(losses.total, params)
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-5)


def test_the_weight_rises_over_its_share_of_training():
    data = tiny.batch()
    at = [number(tiny.step(made(ramp=1 / 64), data, Clock(step, 640, 10))[0].terms["L_u"]) for step in (0, 5, 10, 600)]
    assert at[0] == 0
    assert at[1] == pytest.approx(at[2] / 2)
    assert at[2] == pytest.approx(at[3])


def test_interleaved_rows_are_normalised_in_groups_with_their_share_of_every_kind():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    a, b = torch.randn(6, 3), torch.randn(12, 3) + 2
    got = torch.cat(interleaved(net, 3, a, b))
    rows = torch.cat([a, b])
    for g in range(3):
        mine = list(range(g, 18, 3))
        assert sum(i < 6 for i in mine) == 2  # two of six, and four of twelve
        h = net[0](rows[mine])
        want = (h - h.mean(0)) / (h.var(0, unbiased=False) + 1e-5).sqrt()
        torch.testing.assert_close(got[mine], want)
    torch.testing.assert_close(net[1].running_mean, 0.1 * net[0](rows[::3]).mean(0))  # the first group's, once
    assert int(net[1].num_batches_tracked) == 1


def test_without_batch_norm_interleaving_changes_nothing():
    net, a, b = nn.Linear(3, 2), torch.randn(5, 3), torch.randn(9, 3)
    for got, want in zip(interleaved(net, 4, a, b), together(net, a, b), strict=True):
        torch.testing.assert_close(got, want)
    data = tiny.batch()
    one, two = (number(tiny.step(made(interleave=i), data, LATE)[0].total) for i in (False, True))
    assert one == pytest.approx(two)


@pytest.mark.parametrize("keys", [{"K": 0}, {"T": 0.0}, {"T": 1.5}, {"alpha": 0.0}])
def test_settings_without_meaning_are_refused(keys):
    with pytest.raises(UserError):
        tiny.step(made(**keys), tiny.batch())
