"""SNTG: its loss against a loop over pairs, whose features and classes these are, hosts and their weights."""

import pytest
import torch

from halfseen.errors import UserError
from halfseen.method import Plan
from halfseen.methods.sntg import SNTG, Config, neighbour_loss
from halfseen.parts.ramps import exp_rampup
from tests.equations.pair import MID, gradients
from tests.equations.tiny import batch, task
from tests.toy import make_trainer

HOSTS = ("pi_model", "temporal_ensembling", "vat")


@pytest.mark.parametrize("offset", [3, 6, 11])
def test_the_loss_against_a_loop(offset: int) -> None:
    g = torch.Generator().manual_seed(offset)
    h = torch.randn(12, 5, generator=g, dtype=torch.float64) * 0.8
    yhat = torch.randint(0, 3, (12,), generator=g)
    known = torch.arange(12) != 4
    terms = []
    for i in range(12):
        j = (i + offset) % 12
        if not (known[i] and known[j]):
            continue
        d2 = sum((a - b) ** 2 for a, b in zip(h[i].tolist(), h[j].tolist(), strict=True)) / 5
        terms.append(d2 if yhat[i] == yhat[j] else max(0, 1 - d2**0.5) ** 2)
    assert len(terms) == 10
    assert neighbour_loss(h, yhat, known, 1.0, offset).item() == pytest.approx(sum(terms) / len(terms))


def test_pairs_half_a_batch_apart_are_the_release_s_halves() -> None:
    g = torch.Generator().manual_seed(0)
    h, yhat = torch.randn(10, 5, generator=g), torch.randint(0, 2, (10,), generator=g)
    d2 = (h[:5] - h[5:]).square().mean(1)
    W = (yhat[:5] == yhat[5:]).float()
    expected = (W * d2 + (1 - W) * (1 - d2.sqrt()).clamp_min(0).square()).mean()
    found = neighbour_loss(h, yhat, torch.ones(10, dtype=torch.bool), 1.0, 5)
    torch.testing.assert_close(found, expected)


def test_equal_features_of_different_classes_have_a_finite_gradient() -> None:
    h = torch.ones(4, 3, requires_grad=True)
    loss = neighbour_loss(h, torch.tensor([0, 1, 0, 1]), torch.ones(4, dtype=torch.bool), 1.0, 1)
    loss.backward()
    assert torch.isfinite(h.grad).all()
    nothing = neighbour_loss(h, torch.tensor([0, 1, 0, 1]), torch.zeros(4, dtype=torch.bool), 1.0, 1)
    assert nothing.item() == 0


@pytest.mark.parametrize("host", HOSTS)
def test_its_features_are_the_host_s_of_labelled_and_unlabelled_rows(host: str) -> None:
    method, b = SNTG(Config(host=host, ramp=0.8, ratio=0.3), task()), batch()
    if host == "temporal_ensembling":
        method.loss(b, MID)  # targets are there from the second visit on
    losses = method.loss(b, MID)
    assert set(losses.terms) > {"L_S"}
    net = method.host.net
    h = net.features(torch.cat([b.x, b.u]))
    told = losses.unlabelled
    assert told.kept.all()
    yhat = torch.cat([b.y, told.target.argmax(1)])
    usual = {"pi_model": 10.0, "temporal_ensembling": 30.0, "vat": 1.0}[host]
    w = usual * exp_rampup(0.5, 0.8) * 0.3
    expected = w * neighbour_loss(h, yhat, torch.ones(24, dtype=torch.bool), 1.0, 6)
    assert losses.terms["L_S"].item() == pytest.approx(expected.item(), rel=1e-6)
    for g, wanted in zip(gradients(losses.terms["L_S"], net), gradients(expected, net), strict=True):
        torch.testing.assert_close(g, wanted)


def test_images_without_a_target_are_in_no_pair() -> None:
    method, b = SNTG(Config(host="temporal_ensembling"), task()), batch(B=8, U=16)
    losses = method.loss(b, MID)
    assert not losses.unlabelled.kept.any()
    h = method.host.net.features(torch.cat([b.x, b.u]))
    known = torch.arange(24) < 8
    yhat = torch.cat([b.y, torch.zeros(16, dtype=torch.int64)])
    expected = 30 * 0.4 * neighbour_loss(h, yhat, known, 1.0, 6)  # the ramp is over in the middle
    assert losses.terms["L_S"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_weights() -> None:
    t = task()
    assert SNTG(Config(host="pi_model", settings="weight=100 ce_norm=batch"), t).w_max == pytest.approx(100 * 8 / 40)
    assert SNTG(Config(host="pi_model", settings="weight=100"), t).w_max == 100
    assert SNTG(Config(weight=3.0), t).w_max == 3


@pytest.mark.parametrize("host", HOSTS)
def test_it_learns_beside_each_host(host: str) -> None:
    # the paper's rates and VAT's are for batch norm; an mlp without it takes its time
    settings = {"host": host, "weight": 1.0, "settings": "optim.lr=0.003" if host == "vat" else ""}
    trainer = make_trainer("sntg", steps=150, settings=settings)
    assert list(trainer.stages[0].optim) == ["host.net"]
    trainer.run()
    for name, scores in trainer.judge.at_end(trainer.method, 4).items():
        assert scores["test"]["accuracy"] > 0.7, name


def test_hosts_and_settings_that_cannot_be() -> None:
    for settings, said in (
        ({"host": "sntg"}, "another method than sntg"),
        ({"host": "r2d2"}, "stages of its own"),
        ({"offset": 0.0}, "sntg needs"),
        ({"margin": 0.0}, "sntg needs"),
    ):
        with pytest.raises(UserError, match=said):
            SNTG(Config(**settings), task())
    alone = SNTG(Config(host="supervised"), task())
    with pytest.raises(UserError, match="supervised does not show"):
        alone.stages(Plan(10, 8, 32, (8, 16)))[0].loss(batch(), MID)


def test_a_head_on_features_that_stay_as_they_are_is_refused() -> None:
    """A linear network has no features of its own: the term would train nothing."""
    with pytest.raises(UserError, match="take --net mlp"):
        make_trainer("sntg", net="linear")
