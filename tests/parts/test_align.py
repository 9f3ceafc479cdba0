"""Alignment against a loop of numbers, and what it does to every method that has it."""

import math

import numpy as np
import pytest
import torch

from halfseen import methods
from halfseen.errors import UserError
from halfseen.parts.align import LEAST, Align, Aligned, S
from halfseen.training import checkpoint
from tests.contract.cases import aligned, case, is_aligned
from tests.equations.tiny import task
from tests.toy import assert_same, make_trainer, stop_after

K, L = 4, 8


def made(to="uniform", decay=0.9, teachers=1):
    return Align(Aligned(align=True, align_to=to, align_decay=decay), task(K, labelled=L), teachers)


def reference(batches, labels, to, d):
    """The aligned last batch, one number at a time."""
    m, r, counts = np.zeros(K), np.zeros(K), np.zeros(K)
    for p, y in zip(batches, labels, strict=True):
        for k in range(K):
            m[k] = d * m[k] + (1 - d) * sum(row[k] for row in p) / len(p)
            r[k] = d * r[k] + (1 - d) * sum(int(np.argmax(row) == k) for row in p) / len(p)
            counts[k] += sum(int(c == k) for c in y)
    t = len(batches)
    prior_l = np.array([(L * c / counts.sum() + 1) / (L + K) for c in counts])
    estimate = np.array([(r[k] + d**t * prior_l[k] + S * prior_l[k]) / (1 + S) for k in range(K)])
    prior = {"uniform": np.full(K, 1 / K), "labels": prior_l, "estimate": estimate}[to]
    out = [[row[k] * prior[k] / max(m[k] / (1 - d**t), LEAST) for k in range(K)] for row in batches[-1]]
    return np.array([[v / sum(row) for v in row] for row in out]), prior


def stream(n=5, rows=6, seed=0, bias=(2.0, 0.0, 0.0, -2.0)):
    g = torch.Generator().manual_seed(seed)
    ps = [(torch.randn(rows, K, generator=g) + torch.tensor(bias)).softmax(1) for _ in range(n)]
    return ps, [torch.tensor([0, 0, 1, 2, 3, 0])[torch.randperm(6, generator=g)] for _ in range(n)]


@pytest.mark.parametrize("to", ["uniform", "labels", "estimate"])
def test_against_a_loop(to):
    align, (ps, ys) = made(to), stream()
    for t, (p, y) in enumerate(zip(ps, ys, strict=True)):
        got = align(p, y)
        expected, prior = reference(
            [q.double().numpy() for q in ps[: t + 1]], [v.numpy() for v in ys[: t + 1]], to, 0.9
        )
        np.testing.assert_allclose(got.numpy(), expected, rtol=2e-4)
        np.testing.assert_allclose(align.prior(0).numpy(), prior, rtol=1e-5)
        assert float(align.prior(0).sum()) == pytest.approx(1)


def test_the_prior_of_labels_is_their_frequencies_smoothed():
    align = made("labels")
    align(torch.full((2, K), 0.25), torch.tensor([0, 0, 0, 0, 1, 1, 2, 2]))
    torch.testing.assert_close(align.prior(0), torch.tensor([5, 3, 3, 1]) / 12)


def test_the_mean_of_targets_tends_to_the_prior():
    """With one prediction for all rows exactly; with several it is closer than before."""
    align, p = made(), torch.tensor([[0.7, 0.2, 0.09, 0.01]]).repeat(5, 1)
    torch.testing.assert_close(align(p, torch.zeros(0, dtype=torch.int64)), torch.full((5, K), 0.25))
    align, (ps, ys) = made(decay=0.99), stream(200, rows=64)
    targets = torch.cat([align(p, y) for p, y in zip(ps, ys, strict=True)])
    apart, before = (targets.mean(0) - 0.25).abs().max(), (torch.cat(ps).mean(0) - 0.25).abs().max()
    assert apart < 0.3 * before


def test_a_class_that_nobody_predicts_stays_finite_and_the_estimate_does_not_forget_it():
    align = made("estimate")
    p = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(4, 1)
    for _ in range(300):
        out = align(p, torch.arange(4))
    assert torch.isfinite(out).all()
    torch.testing.assert_close(out.sum(1), torch.ones(4))
    assert float(align.prior(0)[3]) == pytest.approx(0.25 * S / (1 + S), rel=1e-3)
    assert math.isfinite(float(align.stats()["align_gap"]))
    nearly = torch.tensor([[0.98, 0.0, 0.0, 0.02]])
    assert int(align.by(nearly).argmax()) == 3  # what looks a little like the lost class becomes it


def test_no_gradient_passes_and_off_is_the_identity():
    logits = torch.randn(3, K, requires_grad=True)
    assert not made()(logits.softmax(1), torch.zeros(1, dtype=torch.int64)).requires_grad
    off = Align(Aligned(), task(K))
    p = logits.softmax(1)
    assert off(p, torch.zeros(1, dtype=torch.int64)) is p
    assert off.by(p) is p
    assert not off.state_dict()
    assert not off.stats()
    assert off.shift() == 0.0


def test_logits_and_probabilities_are_changed_alike():
    align, (ps, ys) = made("labels", teachers=2), stream()
    for p, y in zip(ps, ys, strict=True):
        out = align(p, y, 1)
    torch.testing.assert_close((ps[-1].log() + align.shift(1)).softmax(1), out)
    assert not align.mean[0].any()
    assert sorted(align.stats()) == ["1/align_gap", "2/align_gap"]


def test_a_decay_of_one_is_refused():
    with pytest.raises(UserError, match="align_decay"):
        made(decay=1.0)


@pytest.mark.parametrize("name", [name for name in methods.names() if is_aligned(name)])
@pytest.mark.parametrize("to", ["uniform", "labels"])
def test_every_method_with_a_teacher_teaches_aligned_targets(name, to):
    """They differ from those without, and the log says how far the pool is from the prior."""
    logs = []
    plain = case(name, steps=12)
    plain["settings"] = {**plain.get("settings", {}), "align": False}  # some methods align by default
    for given in (aligned(name, to), plain):
        trainer = make_trainer(name, **given)
        trainer.run()
        logs.append((trainer.watcher.log[-1], trainer.method.state_dict()))
    assert any("align_gap" in key for key in logs[0][0])
    assert all(math.isfinite(v) for v in logs[0][0].values() if isinstance(v, float))
    assert not any("align" in key for key in (*logs[1][0], *logs[1][1]))
    assert any(not torch.equal(logs[0][1][key], v) for key, v in logs[1][1].items())


@pytest.mark.parametrize("name", ["fixmatch", "dnll"])
def test_resume_is_exact(name, tmp_path):
    straight = make_trainer(name, **aligned(name))
    straight.run()
    stopped = make_trainer(name, **aligned(name), folder=tmp_path)
    stop_after(stopped, 7)
    stopped.save("last", 0.0)
    again = make_trainer(name, **aligned(name), folder=tmp_path)
    again.load(checkpoint.load(tmp_path / "checkpoints" / "last.pt"))
    again.run()
    assert_same(straight.method.state_dict(), again.method.state_dict())


def test_the_host_of_an_add_on_is_aligned_by_its_settings():
    trainer = make_trainer(
        "on_discarded", **case("on_discarded", steps=6, settings={"settings": "align=true optim.lr=0.03"})
    )
    trainer.run()
    assert any("align_gap" in key for key in trainer.watcher.log[-1])


@pytest.mark.parametrize("to", ["uniform", "labels", "estimate"])
def test_a_whole_pool_is_aligned_by_itself(to):
    """Whatever was aligned before, and its mean is then nearer to the prior than it was."""
    align, fresh = made(to), made(to)
    (p,), (y,) = stream(n=1, rows=50)
    align(p.flip(1), y)
    found = align.pool(p, y)
    torch.testing.assert_close(found, fresh(p, y))
    prior = align.prior(0)
    assert (found.mean(0) - prior).abs().sum() < (p.mean(0) - prior).abs().sum()
    off = Align(Aligned(), task(K, labelled=L))
    assert off.pool(p, y) is p
