"""VAT: the direction of a linear model, the divergence and its gradient, what the inner passes may not touch, settings."""

import copy
import math

import pytest
import torch
from torch import nn

from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.methods.vat import VAT, Config
from halfseen.nets import make_net
from halfseen.parts.adversarial import (
    RADII,
    XI_SHARE,
    adversarial,
    lengths,
    network_eps,
    noise_state,
    same_noise,
    unit,
    usual_eps,
    virtual_adversarial,
)
from halfseen.parts.forward import frozen_batchnorm
from halfseen.parts.losses import kl
from tests.equations.pair import MID, batch, gradients, made, task

CPU = torch.device("cpu")


def vectors(n: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("k", [2, 3, 100])
def test_r_of_a_linear_model_is_parallel_to_Hd(k: int) -> None:
    torch.manual_seed(k)
    net = nn.Linear(7, k).double()
    x = vectors(5, 7)
    r = adversarial(net, x, net(x), Draws.seeded(1), eps=2.5, xi=1e-5, state=noise_state(CPU))
    d = Draws.seeded(1).normal(5, 7).double()
    for i in range(5):
        p = net(x[i]).softmax(0).detach()
        W = net.weight.detach().T  # logits W^T x
        Hd = W @ (torch.diag(p) - torch.outer(p, p)) @ W.T @ d[i]
        torch.testing.assert_close(r[i], 2.5 * Hd / Hd.norm(), rtol=1e-3, atol=1e-4)
        assert r[i].norm().item() == pytest.approx(2.5, rel=1e-9)


def test_r_changes_the_prediction_more_than_chance() -> None:
    torch.manual_seed(0)
    net = make_net("mlp", classes=4, shape=(10,), width=30).double()
    x = vectors(40, 10)
    r = adversarial(net, x, net(x), Draws.seeded(1), eps=0.5, xi=0.05, state=noise_state(CPU))
    random = 0.5 * unit(vectors(40, 10, seed=9))
    worst, usual = (kl(net(x), net(x + change)).mean().item() for change in (r, random))
    assert worst > 2 * usual


def test_A_and_its_gradient_against_loops_and_finite_differences() -> None:
    """p(x) and r are constant: only the second p moves with the weights."""
    net = made(VAT, Config(), task(net="mlp")).net
    x = vectors(5, 4)
    A = virtual_adversarial(net, x, net(x), Draws.seeded(2), eps=0.7, xi=0.07, state=noise_state(CPU))
    r = adversarial(net, x, net(x), Draws.seeded(2), eps=0.7, xi=0.07, state=noise_state(CPU))
    p, q = net(x).softmax(1).tolist(), net(x + r).softmax(1).tolist()
    for value, pi, qi in zip(A.tolist(), p, q, strict=True):
        assert value == pytest.approx(sum(a * math.log(a / b) for a, b in zip(pi, qi, strict=True)), rel=1e-9)

    clean, h = net(x).detach(), 1e-6
    found = gradients(A.sum(), net)
    for parameter, gradient in zip(net.parameters(), found, strict=True):
        flat, at = parameter.data.view(-1), parameter.numel() // 2
        values = []
        for step in (h, -h):
            flat[at] += step
            values.append(kl(clean, net(x + r)).sum().item())
            flat[at] -= step
        assert gradient.view(-1)[at].item() == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-5, abs=1e-8)


def test_inner_passes_leave_statistics_gradients_and_modes_alone() -> None:
    torch.manual_seed(0)
    net = make_net("small", classes=3, shape=(1, 8, 8), width=8, dropout=0.3)
    x = torch.randn(6, 1, 8, 8)
    before = copy.deepcopy(net.state_dict())
    start = noise_state(CPU)
    logits = net(x)
    assert not torch.equal(before["norm1.running_mean"], net.state_dict()["norm1.running_mean"])  # it can move
    torch.rand(7)  # another network's masks, say: afterwards the random numbers go on from here
    before, random = copy.deepcopy(net.state_dict()), noise_state(CPU)
    adversarial(net, x, logits, Draws.seeded(0), 1.0, 0.1, start)
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    virtual_adversarial(net, x, logits, Draws.seeded(0), 1.0, 0.1, start).sum().backward()
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in before.items())
    assert all(m.training for m in net.modules())
    assert torch.equal(random, noise_state(CPU))


def test_all_passes_share_their_dropout_masks() -> None:
    """Else KL(p(x) || p(x)) > 0, and the direction is that of the masks' difference."""
    torch.manual_seed(0)
    net = make_net("mlp", classes=3, shape=(5,), width=40, dropout=0.5).double()
    x = vectors(20, 5)
    start = noise_state(CPU)
    logits = net(x)
    draws = Draws.seeded(0)
    assert virtual_adversarial(net, x, logits, draws, 1e-7, 1e-8, start).max() < 1e-10
    assert virtual_adversarial(net, x, logits, draws, 1e-7, 1e-8, noise_state(CPU)).max() > 1e-4
    with same_noise(start, CPU):
        assert torch.equal(net(x), logits)


def test_nothing_to_change_is_zero_and_not_nan() -> None:
    net = nn.Linear(4, 3)
    nn.init.zeros_(net.weight)
    x = torch.randn(5, 4)
    A = virtual_adversarial(net, x, net(x), Draws.seeded(0), 1.0, 0.1, noise_state(CPU))
    assert torch.equal(A, torch.zeros(5))
    empty = virtual_adversarial(net, x[:0], net(x[:0]), Draws.seeded(0), 1.0, 0.1, noise_state(CPU))
    assert empty.shape == (0,)


def test_the_length_of_tiny_gradients_is_not_lost() -> None:
    d = torch.full((1, 10), 1e-30)
    assert unit(d).norm().item() == pytest.approx(1.0, rel=1e-5)
    assert torch.equal(unit(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_the_usual_xi_finds_the_direction_in_float32_and_the_references_does_not() -> None:
    torch.manual_seed(0)
    net = make_net("small", classes=10, shape=(1, 28, 28), width=8)
    exact = copy.deepcopy(net).double()
    x = torch.randn(24, 1, 28, 28)

    def direction(net: nn.Module, x: torch.Tensor, xi: float) -> torch.Tensor:
        with frozen_batchnorm(net):
            logits = net(x)
        return adversarial(net, x, logits, Draws.seeded(1), 1.0, xi, noise_state(CPU)).flatten(1).double()

    true = direction(exact, x.double(), 1e-4)
    usual, reference = (
        (true * direction(net, x, xi)).sum(1).median().item() for xi in (XI_SHARE * usual_eps((1, 28, 28)), 1e-6)
    )
    assert usual > 0.8
    assert reference < 0.5


def test_lengths_by_data_set_and_scale() -> None:
    """Spec 2.5: 2 on [0, 1] is 6.5 on normalised MNIST, 3.5 on x/255 - .5 is 20 on normalised SVHN."""
    assert network_eps(RADII["mnist"], 0.3081) == pytest.approx(6.5, abs=0.02)
    assert network_eps(RADII["svhn"], 0.1751) == pytest.approx(20, abs=0.02)
    assert network_eps(RADII["svhn"], 1.0) == 3.5
    assert network_eps(RADII["cifar10"], 0.25) == 6
    assert network_eps(RADII["cifar-zca"], 1.0) == 8
    assert network_eps(RADII["two-spirals"], 0.5) == usual_eps((2,)) == 0.1
    assert usual_eps((1, 28, 28)) == 6.5
    assert usual_eps((3, 32, 32)) == 6.0
    assert usual_eps((3, 64, 64)) == 12.0
    assert lengths(None, None, (3, 32, 32)) == pytest.approx((6.0, 0.6))
    assert lengths(2.0, None, (3, 32, 32)) == pytest.approx((2.0, 0.2))
    assert lengths(2.0, 1e-6, (3, 32, 32)) == (2.0, 1e-6)
    with pytest.raises(UserError, match="eps=-1"):
        lengths(-1.0, None, (2,))
    with pytest.raises(UserError, match="xi=0"):
        lengths(None, 0.0, (2,))


@pytest.mark.parametrize("k", [2, 100])
def test_the_loss_against_a_loop(k: int) -> None:
    t = task(classes=k)
    method = made(VAT, Config(weight=0.5, entmin=0.25, ramp=0.8, eps=0.7), t)
    b = batch(t)
    losses = method.loss(b, MID)
    w = 0.5 / 0.8  # halfway through training
    log_x, p = method.net(b.x).log_softmax(1), method.net(b.u).softmax(1).tolist()
    assert losses.terms["L_s"].item() == pytest.approx(-sum(log_x[i, y].item() for i, y in enumerate(b.y)) / 6)
    H = -sum(v * math.log(v) for row in p for v in row) / 9
    assert losses.terms["L_ent"].item() == pytest.approx(w * 0.25 * H)
    r = adversarial(method.net, b.u, method.net(b.u), Draws.seeded(7), 0.7, 0.07, noise_state(CPU))
    q = method.net(b.u + r).softmax(1).tolist()
    LDS = sum(a * math.log(a / c) for pi, qi in zip(p, q, strict=True) for a, c in zip(pi, qi, strict=True)) / 9
    assert losses.terms["L_lds"].item() == pytest.approx(w * 0.5 * LDS, rel=1e-6)
    assert losses.unlabelled.kept.all()


def test_settings_do_what_they_say() -> None:
    t, b = task(), batch(task())

    def terms(**settings: float) -> dict[str, float]:
        t.draws.generator.manual_seed(7)
        return {k: v.item() for k, v in made(VAT, Config(**settings), t).loss(b, MID).terms.items()}

    usual = terms()
    assert "L_ent" not in terms(entmin=0.0)
    assert terms(entmin=2.0)["L_ent"] == pytest.approx(2 * usual["L_ent"])
    assert terms(weight=3.0)["L_lds"] == pytest.approx(3 * usual["L_lds"])
    assert terms(eps=1.0)["L_lds"] > 5 * usual["L_lds"]  # the square of a length of .14
    assert terms(xi=3.0)["L_lds"] != usual["L_lds"]
    assert terms(ramp=1.0)["L_lds"] == pytest.approx(0.5 * usual["L_lds"])


def test_running_statistics_follow_the_labelled_rows_unless_told_otherwise() -> None:
    t = task(shape=(1, 8, 8), net="small", width=8)
    b = batch(t, dtype=torch.float32)
    for rows, forwards in (("labelled", 1), ("all", 2)):
        method = made(VAT, Config(running_stats=rows), t)
        method.loss(b, MID).total.backward()
        assert method.net.norm1.num_batches_tracked.item() == forwards
        alone = made(VAT, Config(), t)
        alone.net(b.x)
        same = torch.equal(alone.net.norm1.running_mean, method.net.norm1.running_mean)
        assert same == (rows == "labelled")
