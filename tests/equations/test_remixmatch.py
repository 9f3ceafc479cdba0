"""ReMixMatch against loops over rows: alignment, both mixed terms, the strong view's and the rotation's."""

import itertools

import pytest
import torch
from torch import nn

from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.method import Clock, Plan
from halfseen.methods.remixmatch import Config, ReMixMatch
from halfseen.parts.rotation import turned
from tests.equations import pair, tiny
from tests.equations.tiny import number

LATE = Clock(50, 100, 10)


class Strong:
    """Calls are told apart by their shift."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return x + 0.1 * self.calls


def made(**keys):
    task = tiny.task(weak=lambda x: x - 0.05, strong=Strong())
    torch.manual_seed(0)
    return ReMixMatch(Config(**keys), task)


def digits(shape=(1, 8, 8), **keys):
    task = pair.task(classes=3, shape=shape, net="small", width=4)
    return pair.made(ReMixMatch, Config(**keys), task), pair.batch(task, dtype=torch.float32)


def test_alignment_leaves_a_uniform_prior_unchanged():
    """Predictions that are uniform on average are what balanced labels ask for; others are moved."""
    method, y = made(), torch.arange(8) % 4
    p = torch.tensor(list(itertools.permutations([0.6, 0.25, 0.1, 0.05])))  # [24, 4], its mean is 1/4
    for _ in range(5):
        torch.testing.assert_close(method.align(p, y), p)
    leaning = torch.tensor([[0.6, 0.2, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1]])
    assert (made().align(leaning, y) - leaning).abs().max() > 0.1


@pytest.mark.parametrize(("K", "view"), [(1, "strong"), (2, "strong"), (2, "weak")])
def test_loss_and_gradient_are_those_of_a_loop(K, view):
    method, data = made(K=K, labelled_view=view, lambda_1=0.7), tiny.batch()
    B, U, C = 8, 16, 4
    losses = tiny.step(method, data, LATE)[0]

    draws = Draws.seeded(0)
    n = B + (K + 1) * U
    lam = draws.beta(0.75, 0.75, n)
    order = draws.uniform(n).argsort()
    first = 2 if view == "strong" else 1  # number of the call that makes the first strong view of u
    shift = 0.1 if view == "strong" else -0.05
    with torch.no_grad():
        p = method.net(data.u - 0.05).softmax(1)
    counts = torch.bincount(data.y, minlength=C)
    m, prior = p.mean(0), torch.tensor([(8 * number(c) / B + 1) / (8 + C) for c in counts])
    q = []
    for u in range(U):
        aligned = [number(p[u, c]) * number(prior[c]) / number(m[c]) for c in range(C)]
        squares = [(v / sum(aligned)) ** 2 for v in aligned]
        q.append(torch.tensor([v / sum(squares) for v in squares], dtype=torch.float64))
    rows = [(data.x[b] + shift, nn.functional.one_hot(data.y[b], C).double()) for b in range(B)]
    for k in range(K):
        rows += [(data.u[u] + 0.1 * (first + k), q[u]) for u in range(U)]
    rows += [(data.u[u] - 0.05, q[u]) for u in range(U)]
    L_x, L_u, L_1 = 0.0, 0.0, 0.0
    for i in range(n):
        w, j = max(number(lam[i]), 1 - number(lam[i])), int(order[i])
        x, t = (w * one + (1 - w) * two for one, two in zip(rows[i], rows[j], strict=True))
        loss = -(t * method.net(x.unsqueeze(0)).log_softmax(1)[0]).sum()
        if i < B:
            L_x = L_x + loss / B
        else:
            L_u = L_u + loss / ((K + 1) * U)
    for u in range(U):
        L_1 = L_1 - (q[u] * method.net(data.u[u : u + 1] + 0.1 * first).log_softmax(1)[0]).sum() / U
    want = {"L_x": L_x, "L_u": 1.5 * L_u, "L_1": 0.7 * L_1}
    assert {k: number(v) for k, v in losses.terms.items()} == pytest.approx(
        {k: number(v) for k, v in want.items()}, rel=1e-4
    )
    params = list(method.net.parameters())
    for g, w in zip(
        torch.autograd.grad(losses.total, params), torch.autograd.grad(sum(want.values()), params), strict=True
    ):
        torch.testing.assert_close(g, w, rtol=1e-3, atol=1e-5)


def test_two_terms_rise_and_the_rotation_does_not():
    method, b = digits(ramp=1 / 64)
    at = []
    for step in (0, 1, 2):
        method.task.draws.generator.manual_seed(0)
        method.align.mean.zero_()
        method.align.batches.zero_()
        method.align.labels.zero_()
        at.append(method.loss(b, Clock(step, 128, 10)).terms)
    for name in ("L_u", "L_1"):
        assert number(at[0][name].detach()) == 0
        assert number(at[1][name].detach()) == pytest.approx(number(at[2][name].detach()) / 2, rel=1e-4)
    assert number(at[0]["L_r"].detach()) == pytest.approx(number(at[2]["L_r"].detach()), rel=1e-4)
    assert number(at[0]["L_r"].detach()) > 0


def test_pictures_are_turned_by_quarters():
    x = torch.randn(8, 2, 5, 5)
    quarters = torch.arange(8) % 4
    got = turned(x, quarters)
    for i in range(8):
        assert torch.equal(got[i], torch.rot90(x[i], int(quarters[i]), (1, 2)))


def test_rotation_is_the_cross_entropy_of_a_head_on_the_features():
    method, b = digits(rotation=2.0)
    method.task.draws.generator.manual_seed(0)
    method.net.eval()  # running statistics, so that rows can be taken one by one
    before = [v.clone() for v in method.net.buffers()]
    term = method.turn(method.net.features, b.u, method.task.draws)
    method.task.draws.generator.manual_seed(0)
    quarters = method.task.draws.integers(0, 4, len(b.u))
    total = 0.0
    for i, r in enumerate(quarters.tolist()):
        logits = method.turn.head(method.net.features(torch.rot90(b.u[i : i + 1], r, (2, 3))))
        total += number(-logits.log_softmax(1)[0, r].detach()) / len(b.u)
    assert number(term.detach()) == pytest.approx(total, rel=1e-5)
    assert all(torch.equal(one, two) for one, two in zip(before, method.net.buffers(), strict=True))
    assert pair.reaches(term, method.turn)
    assert pair.reaches(term, method.net)
    stage = method.stages(Plan(10, 6, 34, (6, 9)))[0]
    assert sorted(stage.optim) == ["net", "turn"]


def test_what_cannot_be_turned_is_left_out_or_refused():
    assert "L_r" not in tiny.step(made(), tiny.batch(), LATE)[0].terms
    assert made(rotation=0.0).turn is None
    with pytest.raises(UserError, match="vectors"):
        made(rotation=0.5)
    with pytest.raises(UserError, match="8x10"):
        digits(shape=(1, 8, 10), rotation=0.5)
    assert digits(shape=(1, 8, 10))[0].turn is None
    with pytest.raises(UserError, match="K=0"):
        made(K=0)
