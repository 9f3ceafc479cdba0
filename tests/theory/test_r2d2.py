"""Theorems 1 and 2 of R2-D2: the closed form is the optimum, a network goes there, and the identity holds per class."""

import math
from pathlib import Path

import pytest
import torch

from halfseen.errors import UserError
from halfseen.theory import r2d2

CASES = [(2, 0.1, 0.03), (10, 0.1, 0.03), (10, 0.5, 0.4), (100, 0.1, 0.05)]


@pytest.mark.parametrize(("K", "alpha", "beta"), CASES)
def test_the_closed_form_is_the_least_loss(K: int, alpha: float, beta: float) -> None:
    ytil = r2d2.random_labels(K)
    phat, L = r2d2.optimum(ytil, alpha, beta)
    e = alpha / (alpha - beta)
    for b in range(len(ytil)):
        powers = [math.exp(v) ** e for v in ytil[b].log_softmax(0).tolist()]
        assert phat[b].tolist() == pytest.approx([v / sum(powers) for v in powers])
        assert L[b].item() == pytest.approx(-(alpha - beta) * math.log(sum(powers)))
    best = phat.log().requires_grad_()
    at_best = r2d2.loss(best, ytil, alpha, beta)
    torch.testing.assert_close(at_best.detach(), L)
    (gradient,) = torch.autograd.grad(at_best.sum(), best)
    assert gradient.abs().max() < 1e-12
    random = torch.Generator().manual_seed(1)
    for size in (0.01, 0.3, 3.0):
        other = best.detach() + size * torch.randn(ytil.shape, generator=random, dtype=torch.float64)
        assert (r2d2.loss(other, ytil, alpha, beta) > L).all()


@pytest.mark.parametrize(("K", "alpha", "beta"), CASES)
def test_both_theorems_at_the_closed_form(K: int, alpha: float, beta: float) -> None:
    ytil = r2d2.random_labels(K)
    phat, L = r2d2.optimum(ytil, alpha, beta)
    ptil = ytil.softmax(1)
    torch.testing.assert_close(ptil, torch.exp(-L / alpha)[:, None] * phat ** (1 - beta / alpha))
    assert (ptil.amax(1) <= phat.amax(1) + 1e-15).all()
    assert (ptil.argmax(1) == phat.argmax(1)).all()


@pytest.mark.parametrize(("K", "alpha", "beta"), [(3, 0.1, 0.03), (10, 0.5, 0.03)])
def test_a_network_arrives_there_by_gradient_descent(K: int, alpha: float, beta: float) -> None:
    row = r2d2.row(K, alpha, beta, steps=800)
    assert row.gradient < 1e-6
    assert row.phat_gap < 1e-4
    assert row.L_gap < 1e-6
    assert row.theorem1_gap < 1e-3
    assert row.theorem1_gap_before > 0.1
    assert row.theorem2 > 0
    early = r2d2.row(K, alpha, beta, steps=3)
    assert early.phat_gap > 10 * row.phat_gap
    assert early.theorem1_gap > 10 * row.theorem1_gap


def test_with_labels_that_move_only_a_uniform_phat_stands_still() -> None:
    """ptil = phat and the network's gradient 0: the theorems are not about a joint fixed point."""
    for p, still in (([0.5, 0.3, 0.2], False), ([0.25] * 4, True)):
        yhat = torch.tensor([p], dtype=torch.float64).log().requires_grad_()
        (gradient,) = torch.autograd.grad(r2d2.loss(yhat, yhat.detach(), 0.1, 0.03).sum(), yhat)
        assert (gradient.abs().max().item() < 1e-12) == still


def test_the_optimum_needs_alpha_above_beta() -> None:
    with pytest.raises(UserError, match="needs alpha > beta"):
        r2d2.optimum(torch.zeros(1, 3), 0.03, 0.03)


def test_table_and_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(r2d2, "CASES", r2d2.CASES[:2])
    rows = r2d2.table(steps=20)
    assert [(r.K, r.beta) for r in rows] == [(3, 0.03), (10, 0.0)]
    assert rows[1].exponent == 1.0
    path = r2d2.plot(tmp_path / "r2d2.html", steps=20)
    text = path.read_text()
    assert "Theorem 1" in text
    assert "beta = 0.03, e = 1.43" in text
