"""VAdD: which entries of the mask are flipped, the loss and its gradient through both predictions, what it leaves alone."""

import math

import pytest
import torch

from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.methods.vadd import Config, VAdD
from halfseen.parts.adversarial import adversarial, noise_state
from halfseen.parts.adversarial_dropout import adversarial_mask, flipped
from halfseen.parts.losses import kl
from halfseen.parts.ramps import exp_rampup
from tests.equations.pair import MID, batch, gradients, made, task

CPU = torch.device("cpu")


@pytest.mark.parametrize("seed", range(3))
def test_only_entries_that_raise_the_divergence_are_flipped(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    mask = (torch.rand(20, 16, generator=g) < 0.6).float()
    J = torch.randn(20, 16, generator=g)
    J[0] = J[0].abs() * (2 * mask[0] - 1)  # no flip of this row raises it
    found = flipped(mask, J, 4)
    for e, j, new in zip(mask.tolist(), J.tolist(), found.tolist(), strict=True):
        raising = [i for i in range(16) if (e[i] == 1 and j[i] < 0) or (e[i] == 0 and j[i] > 0)]
        best = sorted(raising, key=lambda i: -abs(j[i]))[:4]
        assert new == [1 - v if i in best else v for i, v in enumerate(e)]
    assert torch.equal(found[0], mask[0])


def test_the_mask_drops_those_whose_absence_raises_the_divergence_most_and_keeps_the_sum() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(20, 3).double()
    f, other = torch.randn(6, 20).double(), torch.randn(6, 3).double()
    D = lambda features: kl(head(features), other)  # noqa: E731
    mask = adversarial_mask(f, D, 0.2)
    h = 1e-6
    for row in range(6):
        J = []
        for k in range(20):
            e = torch.ones(6, 20).double()
            e[row, k] -= h
            J.append((D(f * e)[row] - D(f)[row]).item() / -h)
        dropped = sorted((k for k in range(20) if J[k] < 0), key=lambda k: J[k])[:4]
        assert sorted(dropped) == (mask[row] == 0).nonzero().squeeze(1).tolist()
        assert mask[row].sum().item() == pytest.approx(20)
    assert all(p.grad is None for p in head.parameters())
    assert D(f * mask).mean() > D(f).mean()


def with_second_view(t, b):
    """The second look at u is another one."""
    calls: list[int] = []

    def weak(x):
        calls.append(1)
        return x + 0.5 if len(calls) % 3 == 2 else x  # the method looks at u, u again, then x

    object.__setattr__(t, "weak", weak)
    return t


@pytest.mark.parametrize("divergence", ["kl", "qe"])
def test_the_loss_against_a_loop_and_its_gradient(divergence: str) -> None:
    t = task(width=40)
    b = batch(t)
    method = made(VAdD, Config(divergence=divergence, delta=0.1, ramp=0.8, entmin=0.25), with_second_view(t, b))
    losses = method.loss(b, MID)
    net = method.net
    w = exp_rampup(0.5, 0.8) * (1 if divergence == "kl" else 25)
    f = net.features(b.u + 0.5)
    mask = adversarial_mask(f, lambda h: kl(net.head(h), net(b.u).detach()), 0.1)
    assert ((mask == 0).sum(1) <= 4).all()
    assert losses.stats["dropped"].item() == pytest.approx((mask == 0).float().mean().item())
    p, q = net(b.u).softmax(1), net.head(f * mask).softmax(1)
    D = (p * (p / q).log()).sum(1) if divergence == "kl" else (p - q).square().mean(1)
    assert losses.terms["L_add"].item() == pytest.approx(w * D.mean().item(), rel=1e-6)
    H = -sum(v * math.log(v) for row in p.tolist() for v in row) / 9
    assert losses.terms["L_ent"].item() == pytest.approx(0.25 * H)
    log_x = net(b.x).log_softmax(1)
    assert losses.terms["L_s"].item() == pytest.approx(-sum(log_x[i, y].item() for i, y in enumerate(b.y)) / 6)
    for g, wanted in zip(gradients(losses.terms["L_add"], net), gradients(w * D.mean(), net), strict=True):
        torch.testing.assert_close(g, wanted)  # through both predictions; the mask is constant


def test_with_vat() -> None:
    t = task(width=40)
    method, b = made(VAdD, Config(vat=True, alpha=0.5, eps=0.7, xi=0.07), t), batch(t)
    losses = method.loss(b, MID)
    r = adversarial(method.net, b.u, method.net(b.u), Draws.seeded(7), 0.7, 0.07, noise_state(CPU))
    LDS = kl(method.net(b.u), method.net(b.u + r)).mean().item()
    assert losses.terms["L_lds"].item() == pytest.approx(0.5 * LDS, rel=1e-6)
    assert "L_lds" not in made(VAdD, Config(), t).loss(b, MID).terms


def test_the_search_leaves_statistics_and_gradients_alone() -> None:
    t = task(shape=(1, 8, 8), net="small", width=8)
    method, b = made(VAdD, Config(), t), batch(t, dtype=torch.float32)
    losses = method.loss(b, MID)
    assert method.net.norm1.num_batches_tracked.item() == 1  # the labelled rows'
    assert all(p.grad is None and p.requires_grad for p in method.net.parameters())
    losses.total.backward()
    assert method.net.conv1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("delta", "said"), [(0.0, "between 0 and 1"), (1.0, "between 0 and 1"), (0.05, "less than one")]
)
def test_a_delta_that_drops_nothing(delta: float, said: str) -> None:
    with pytest.raises(UserError, match=said):
        made(VAdD, Config(delta=delta), task(width=8))
