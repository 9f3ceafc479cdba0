"""Deep Co-Training: Jensen-Shannon and the adversarial difference against loops, who gets a gradient, what FGSM touches."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from halfseen.errors import UserError
from halfseen.method import Plan
from halfseen.methods.deep_co_training import Config, DeepCoTraining
from halfseen.nets import make_net
from halfseen.parts.adversarial import fgsm, usual_fgsm
from halfseen.parts.losses import jensen_shannon
from halfseen.parts.ramps import exp_rampup
from tests.equations.pair import MID, batch, gradients, made, reaches, task


def test_jensen_shannon_against_entropies() -> None:
    a, b = (torch.randn(7, 4, generator=torch.Generator().manual_seed(s), dtype=torch.float64) * 3 for s in (0, 1))
    H = lambda p: -sum(v * math.log(v) for v in p if v > 0)  # noqa: E731
    for value, p, q in zip(jensen_shannon(a, b).tolist(), a.softmax(1).tolist(), b.softmax(1).tolist(), strict=True):
        m = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
        assert value == pytest.approx(H(m) - H(p) / 2 - H(q) / 2)
    assert jensen_shannon(a, a).abs().max() < 1e-12
    far = torch.tensor([[200.0, 0.0]]), torch.tensor([[0.0, 200.0]])
    assert jensen_shannon(*far).item() == pytest.approx(math.log(2))


def test_the_attack_is_a_step_up_the_loss_and_touches_nothing() -> None:
    torch.manual_seed(0)
    net = make_net("small", classes=3, shape=(1, 8, 8), width=8, dropout=0.5)
    x, y = torch.randn(6, 1, 8, 8), torch.arange(6) % 3
    net(x)
    before, random = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    moved = fgsm(net, x, y, 0.1)
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in before.items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert all(m.training for m in net.modules())
    assert torch.equal(random, torch.get_rng_state())  # no mask was drawn
    assert not moved.requires_grad
    still = net.eval()
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(still(leaf), y), leaf)
    torch.testing.assert_close(moved, x + 0.1 * g.sign())
    assert F.cross_entropy(still(moved), y) > F.cross_entropy(still(x), y)


@pytest.mark.parametrize("detach", [False, True])
def test_the_loss_against_a_loop_and_its_gradients(detach: bool) -> None:
    t = task()
    method = made(DeepCoTraining, Config(ramp=0.8, eps=0.3, detach_target=detach), t)
    b = batch(t)
    losses = method.loss(b, MID)
    one, two = method.nets
    w = exp_rampup(0.5, 0.8)
    for i, net in enumerate((one, two)):
        assert losses.terms[f"{i + 1}/CE"].item() == pytest.approx(F.cross_entropy(net(b.x), b.y).item())
    assert losses.terms["L_cot"].item() == pytest.approx(10 * w * jensen_shannon(one(b.u), two(b.u)).mean().item())
    rows = torch.cat([b.x, b.u])
    for i, (own, other) in enumerate(((one, two), (two, one))):
        y = torch.cat([b.y, own(b.u).argmax(1)])
        adversarial = fgsm(own, rows, y, 0.3)
        p, log_q = own(rows).softmax(1), other(adversarial).log_softmax(1)
        expected = 0.5 * w * -(p * log_q).sum(1).mean()
        name = f"{2 - i}/L_dif"
        assert losses.terms[name].item() == pytest.approx(expected.item())
        assert reaches(losses.terms[name], other)
        assert reaches(losses.terms[name], own) == (not detach)
        if not detach:
            for g, wanted in zip(gradients(losses.terms[name], own), gradients(expected, own), strict=True):
                torch.testing.assert_close(g, wanted)


def test_networks_differ_and_share_one_optimiser() -> None:
    t = task()
    method = made(DeepCoTraining, Config(), t)
    one, two = (next(net.parameters()) for net in method.nets)
    assert not torch.equal(one, two)
    (stage,) = method.stages(Plan(10, 6, 34, (6, 9)))
    assert list(stage.optim) == ["nets"]
    assert list(method.predictors()) == ["net1", "net2"]


def test_the_usual_change_is_the_paper_s() -> None:
    assert usual_fgsm((1, 28, 28)) == pytest.approx(0.02 / 0.31)
    assert usual_fgsm((3, 32, 32)) == usual_fgsm((7,)) == pytest.approx(0.08)
    assert made(DeepCoTraining, Config(), task()).eps == pytest.approx(0.08)
    with pytest.raises(UserError, match="eps=0"):
        made(DeepCoTraining, Config(eps=0.0), task())
