"""FineSSL: margins from counts, the margin softmax and the smoothed targets against loops, what each head is taught."""

import math

import pytest
import torch

from halfseen.errors import UserError
from halfseen.methods.finessl import NEVER, Config, FineSSL, smoothed, with_margin
from tests.equations.tiny import batch, finite_difference, number, step, task

K = 4


def made(**settings) -> FineSSL:
    # two strong views that differ, so that a loop can tell them apart
    turn = iter(range(10**6))
    return FineSSL(Config(**settings), task(strong=lambda x: x + 0.1 * (1 + next(turn) % 2)))


def counted(method: FineSSL, *counts: int) -> FineSSL:
    """So many images were last confident of each class."""
    said = torch.cat([torch.full((n,), k) for k, n in enumerate(counts)])
    method.last.values[: len(said)] = said
    return method


def test_margins_are_those_of_a_loop() -> None:
    method = counted(made(alpha=8.0), 10, 5, 2, 0)
    c = [1.0, 0.5, 0.2, 0.0]
    want = [8 * (1.0 - 0.0) * (1 - v) / (1 + v) for v in c]
    assert method.margins().tolist() == pytest.approx(want)
    assert method.margins()[0] == 0  # the class that most are taken for has none
    assert counted(made(alpha=8.0), 6, 6, 6, 6).margins().tolist() == [0.0] * 4
    assert made().margins().tolist() == [0.0] * 4  # nobody was confident yet


def test_the_margin_softmax_is_a_loop_and_a_wider_margin_costs_more() -> None:
    z = torch.randn(5, K, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y, D = torch.tensor([0, 1, 2, 3, 1]), torch.tensor([0.0, 1.0, 2.5, 4.0])
    got = with_margin(z, y, D)
    for i in range(5):
        k = int(y[i])
        below = math.exp(z[i, k]) + sum(math.exp(z[i, j] + D[k]) for j in range(K) if j != k)
        assert got[i].item() == pytest.approx(math.log(below) - z[i, k].item())
    assert (with_margin(z, y, D + 1) > got).all()
    torch.testing.assert_close(
        with_margin(z, y, torch.zeros(K)), torch.nn.functional.cross_entropy(z, y, reduction="none")
    )


def test_a_margin_draws_the_gradient_to_its_class() -> None:
    """d M/d z_y = p_y - 1 with p of the shifted logits: a margin makes p_y smaller, so the pull larger."""
    z = torch.zeros(1, K, dtype=torch.float64, requires_grad=True)
    for D, p_y in ((0.0, 1 / 4), (math.log(3.0), 1 / 10)):
        (g,) = torch.autograd.grad(with_margin(z, torch.tensor([2]), torch.full((K,), D)).sum(), z)
        assert g[0, 2].item() == pytest.approx(p_y - 1)


def test_targets_of_the_second_head() -> None:
    assert smoothed(torch.tensor([1]), 5, 0.4)[0].tolist() == pytest.approx([0.1, 0.6, 0.1, 0.1, 0.1])
    assert smoothed(torch.tensor([1]), 5, 0.0)[0].tolist() == [0, 1, 0, 0, 0]


def test_the_losses_are_those_of_a_loop() -> None:
    method = counted(made(tau=0.5, count_from=0.5, lambda_u=3.0, smoothing=0.3), 9, 4, 4, 1)
    with torch.no_grad():
        method.both.second.weight.mul_(1.5)  # heads that differ
        method.both.net.head.weight.mul_(2)
    b, D = batch(scale=1.5), method.margins()
    terms = step(method, b)[0].terms
    net, second = method.both.net, method.both.second

    def both(x):
        h = net.features(x.unsqueeze(0))
        return net.head(h)[0].detach(), second(h)[0].detach()

    def margin(z, k):
        return math.log(math.exp(z[k]) + sum(math.exp(z[j] + D[k]) for j in range(K) if j != k)) - number(z[k])

    L_x = L_x2 = L_u = L_u2 = 0.0
    sure = 0
    for i in range(8):
        z, own = both(b.x[i])
        L_x += margin(z, int(b.y[i])) / 8
        L_x2 -= number(own.log_softmax(0)[b.y[i]]) / 8
    for i in range(16):
        z, own = both(b.u[i])
        confidence, k = z.softmax(0).max(0)
        for shift in (0.1, 0.2):
            z_s, own_s = both(b.u[i] + shift)
            L_u += 3 * number(own.softmax(0).max()) * margin(z_s, int(k)) / 32
            if confidence >= 0.5:
                sure += 1
                target = [0.7 if j == int(k) else 0.1 for j in range(K)]
                L_u2 -= sum(t * number(v) for t, v in zip(target, own_s.log_softmax(0), strict=True))
    assert 0 < sure < 32
    got = {name: number(term) for name, term in terms.items()}
    assert got == pytest.approx({"L_x": L_x, "L_x2": L_x2, "L_u": L_u, "L_u2": L_u2 / sure}, rel=1e-5)


def test_the_second_head_does_not_change_the_features() -> None:
    method, b = made(tau=0.0), batch()
    terms = step(method, b)[0].terms
    body, first, second = (
        list(m.parameters()) for m in (method.both.net.body, method.both.net.head, method.both.second)
    )
    parts = {"features": [*body, *first], "second": second}
    for name, taught in (("L_x", "features"), ("L_u", "features"), ("L_x2", "second"), ("L_u2", "second")):
        for part, parameters in parts.items():
            grads = torch.autograd.grad(terms[name], parameters, retain_graph=True, materialize_grads=True)
            assert all(bool(g.any()) == (part == taught) for g in grads), (name, part)


def test_gradients_by_finite_differences_of_the_first_head() -> None:
    """The weights and what is taught are constants, and no difference may move them: the second head's weights are 0."""
    method = made(weighted=False, count_from=2.0)
    b = batch()
    total = step(method, b)[0].total
    weight = method.both.net.head.weight
    (g,) = torch.autograd.grad(total, weight)
    for at in (0, 7, 13):
        assert finite_difference(method, b, 0, weight, at) == pytest.approx(
            g.reshape(-1)[at].item(), rel=1e-4, abs=1e-7
        )


def test_confident_predictions_are_remembered_after_the_batch() -> None:
    method = made(count_from=0.5)
    b = batch(scale=2.0)
    with torch.no_grad():
        method.both.net.head.weight.mul_(3)
        q = method.both.net(b.u).softmax(1)
    step(method, b)
    confidence, yhat = q.max(1)
    want = torch.where(confidence >= 0.5, yhat, NEVER)
    assert torch.equal(method.last[b.u_ids], want)
    assert (want == NEVER).any()
    assert (want != NEVER).any()


def test_the_second_head_begins_as_a_copy_of_the_first() -> None:
    method = made()
    torch.testing.assert_close(method.both.second.weight, method.both.net.head.weight)
    assert method.both.second.weight is not method.both.net.head.weight


def test_without_confident_images_the_second_head_learns_the_labels_alone() -> None:
    assert number(step(made(tau=1.1), batch())[0].terms["L_u2"]) == 0


@pytest.mark.parametrize("settings", [{"smoothing": 1.0}, {"alpha": -1.0}, {"lambda_u": -0.1}])
def test_settings_that_cannot_be(settings: dict) -> None:
    with pytest.raises(UserError, match="finessl needs"):
        made(**settings)
