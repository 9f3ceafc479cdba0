"""Deep mutual learning: losses against loops, the peer's constancy, and both orders of update."""

import math

import pytest
import torch

from halfseen.method import Plan
from halfseen.methods.dml import DML, Config
from halfseen.parts.mutual import mutual, read
from tests.equations.pair import MID, batch, descend, first, gradients, made, one_step, reaches, task


@pytest.mark.parametrize("rows", ["unlabelled", "all"])
@pytest.mark.parametrize("k", [2, 100])
def test_losses_against_a_loop(k: int, rows: str) -> None:
    t = task(classes=k)
    method, b = made(DML, Config(lambda_ml=0.7, dml_on=rows), t), batch(t)
    terms = first(method.loss(b, MID)).terms
    images = b.u if rows == "unlabelled" else torch.cat([b.x, b.u])
    for i, own, peer in (("1", method.net1, method.net2), ("2", method.net2, method.net1)):
        log_p = own(b.x).log_softmax(1)
        assert terms[f"{i}/L_CE"].item() == pytest.approx(-sum(log_p[n, y].item() for n, y in enumerate(b.y)) / 6)
        q, p = peer(images).softmax(1).tolist(), own(images).softmax(1).tolist()
        KL = sum(a * math.log(a / c) for rq, rp in zip(q, p, strict=True) for a, c in zip(rq, rp, strict=True))
        assert terms[f"{i}/L_KL"].item() == pytest.approx(0.7 * KL / len(images))
    assert set(terms) == {"1/L_CE", "1/L_KL", "2/L_CE", "2/L_KL"}


def test_the_peer_is_constant_and_the_gradient_is_the_difference() -> None:
    method, b = made(DML, Config(), task()), batch(task())
    for name, value in first(method.loss(b, MID)).terms.items():
        assert reaches(value, method.net1) == (name[0] == "1"), name
        assert reaches(value, method.net2) == (name[0] == "2"), name
    one, two = read(method.net1, b.x, b.u), read(method.net2, b.x, b.u)
    (gradient,) = torch.autograd.grad(mutual(one, two, "unlabelled"), one.g_u)
    torch.testing.assert_close(gradient, (one.g_u.softmax(1) - two.g_u.softmax(1)) / 9)


@pytest.mark.parametrize("update", ["snapshot", "original"])
def test_order_of_the_updates(update: str) -> None:
    """original: Net 2 learns from Net 1 after its step."""
    b, rate = batch(task()), 0.3
    by_hand = made(DML, Config(), task())

    def direction(i: str) -> list[torch.Tensor]:
        terms = first(by_hand.loss(b, MID)).terms
        return gradients(terms[f"{i}/L_CE"] + terms[f"{i}/L_KL"], by_hand.get_submodule(f"net{i}"))

    both = {i: direction(i) for i in "12"}
    for i in "12":
        descend(by_hand.get_submodule(f"net{i}"), both[i] if update == "snapshot" else direction(i), rate)
    method = made(DML, Config(update=update), task())
    one_step(method, b, method.stages(Plan(1, 6, 34, (6, 9)))[0], rate)
    for mine, theirs in zip(method.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)
    other = made(DML, Config(update={"snapshot": "original", "original": "snapshot"}[update]), task())
    one_step(other, b, other.stages(Plan(1, 6, 34, (6, 9)))[0], rate)
    assert torch.equal(next(method.net1.parameters()), next(other.net1.parameters()))
    assert not torch.equal(next(method.net2.parameters()), next(other.net2.parameters()))


@pytest.mark.parametrize("update", ["snapshot", "original"])
def test_on_pictures_a_network_that_teaches_keeps_its_running_statistics(update: str) -> None:
    t = task(classes=4, shape=(1, 8, 8), net="small", width=8)
    method, b = made(DML, Config(update=update), t), batch(t, dtype=torch.float32)
    one_step(method, b, method.stages(Plan(1, 6, 34, (6, 9)))[0], 0.01)
    for net in (method.net1, method.net2):
        assert net.norm1.num_batches_tracked.item() == 2  # labelled rows, unlabelled rows


def test_what_is_taught_and_evaluated() -> None:
    b = batch(task())
    for update, learner, teacher in (("snapshot", "net1", "net2"), ("original", "net2", "net1")):
        method = made(DML, Config(update=update), task())
        found = method.loss(b, MID)
        losses = found if update == "snapshot" else list(found)[-1]
        torch.testing.assert_close(losses.unlabelled.target, method.get_submodule(teacher)(b.u).softmax(1))
        torch.testing.assert_close(losses.unlabelled.logits, method.get_submodule(learner)(b.u))
        agree = (method.net1(b.u).argmax(1) == method.net2(b.u).argmax(1)).double().mean()
        assert losses.stats["agreement"] == agree
        assert list(method.predictors()) == ["net1", "net2"]
