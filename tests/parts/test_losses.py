"""Losses against closed forms, finite differences and the cases in which the obvious formula fails."""

import math

import pytest
import torch
import torch.nn.functional as F

from halfseen.parts.losses import cross_entropy, entropy, kl, log1m_softmax, mean_of, negative, squared, weighted_mean


def logits_of(n, K, scale=2.0, seed=0):
    return torch.randn(n, K, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * scale


def gradient(loss, *inputs):
    inputs = [x.clone().requires_grad_() for x in inputs]
    return torch.autograd.grad(loss(*inputs).sum(), inputs)


def some_negatives(n, K, seed=1):
    return torch.rand(n, K, generator=torch.Generator().manual_seed(seed)) < 0.4


CASES = {
    "cross_entropy": lambda a, b: cross_entropy(a, torch.arange(len(a)) % a.shape[1]),
    "soft cross_entropy": lambda a, b: cross_entropy(a, b.softmax(1)),
    "entropy": lambda a, b: entropy(a),
    "kl": lambda a, b: kl(a, b),
    "squared": lambda a, b: squared(a.softmax(1), b.softmax(1)),
    "negative": lambda a, b: negative(some_negatives(*a.shape), a),
    "negative, mean": lambda a, b: negative(some_negatives(*a.shape), a, per_label="mean"),
    "negative, eps": lambda a, b: negative(some_negatives(*a.shape), a, form="add_eps"),
    "log1m_softmax": lambda a, b: log1m_softmax(a),
}


@pytest.mark.parametrize("K", [2, 5, 100])
@pytest.mark.parametrize("name", CASES)
def test_gradients_equal_finite_differences(name, K):
    a, b = (logits_of(3, K, seed=s).requires_grad_() for s in (0, 1))
    assert torch.autograd.gradcheck(CASES[name], (a, b), atol=1e-7)


def test_each_loss_gives_a_value_per_row_and_float64_stays():
    a, b = logits_of(4, 5), logits_of(4, 5, seed=1)
    for name, loss in CASES.items():
        out = loss(a, b)
        assert out.shape == ((4, 5) if name == "log1m_softmax" else (4,)), name
        assert out.dtype == torch.float64


def test_values_by_definition():
    a, b = logits_of(6, 5), logits_of(6, 5, seed=1)
    p, q = a.softmax(1), b.softmax(1)
    y, N = torch.tensor([0, 1, 2, 3, 4, 0]), some_negatives(6, 5)
    torch.testing.assert_close(cross_entropy(a, y), -p[range(6), y].log())
    torch.testing.assert_close(cross_entropy(a, q), -(q * p.log()).sum(1))
    torch.testing.assert_close(entropy(a), -(p * p.log()).sum(1))
    torch.testing.assert_close(kl(a, b), (p * (p / q).log()).sum(1))
    torch.testing.assert_close(squared(p, q), ((p - q) ** 2).sum(1) / 5)
    exact = -(N * (1 - p).log()).sum(1)
    torch.testing.assert_close(negative(N, a), exact)
    torch.testing.assert_close(negative(N, a, per_label="mean"), exact / N.sum(1).clamp_min(1))
    torch.testing.assert_close(negative(N, a, form="add_eps", eps=1e-3), -(N * (1 - p + 1e-3).log()).sum(1))
    torch.testing.assert_close(log1m_softmax(a), (1 - p).log())


def test_closed_form_gradients():
    a, b = logits_of(6, 5), logits_of(6, 5, seed=1)
    p, q, N = a.softmax(1), b.softmax(1), some_negatives(6, 5)
    y = torch.tensor([0, 1, 2, 3, 4, 0])
    torch.testing.assert_close(gradient(lambda x: cross_entropy(x, y), a)[0], p - F.one_hot(y, 5))
    torch.testing.assert_close(gradient(entropy, a)[0], -p * (p.log() + entropy(a)[:, None]))
    to_p, to_q = gradient(kl, a, b)
    torch.testing.assert_close(to_q, q - p)  # of the student: p_student - p_teacher
    torch.testing.assert_close(to_p, p * ((p / q).log() - kl(a, b)[:, None]))
    r = p / (1 - p)
    got = gradient(lambda x: negative(N, x), a)[0]
    torch.testing.assert_close(got, N * r - p * (N * r).sum(1, keepdim=True))
    torch.testing.assert_close(got.sum(1), torch.zeros(6, dtype=torch.float64))


def test_negative_of_one_class_has_gradient_p_minus_q():
    a = logits_of(8, 6)
    k = torch.arange(8) % 6
    got = gradient(lambda x: negative(F.one_hot(k, 6), x), a)[0]
    q = a.masked_fill(F.one_hot(k, 6).bool(), -math.inf).softmax(1)
    torch.testing.assert_close(got, a.softmax(1) - q)
    assert got.abs().max() <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_saturated_wrong_class_is_still_pushed_down_by_the_exact_form(dtype):
    a, N = torch.tensor([[60.0, 0.0, -1.0]], dtype=dtype), torch.tensor([[True, False, False]])
    (exact,) = gradient(lambda x: negative(N, x), a)
    assert exact[0, 0] == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(exact[0, 1:], -a[0, 1:].softmax(0))
    assert negative(N, a).item() == pytest.approx(60 - math.log(1 + math.exp(-1)), rel=1e-6)
    (eps,) = gradient(lambda x: negative(N, x, form="add_eps"), a)
    assert eps.abs().max() < 1e-15


@pytest.mark.parametrize("K", [2, 100])
@pytest.mark.parametrize("scale", [1e-3, 1, 30, 1e4])
def test_float32_is_as_exact_as_float64_at_every_scale(K, scale):
    a = logits_of(50, K, scale)
    a = a.float().double()  # the same numbers in both
    narrow, wide = log1m_softmax(a.float()), log1m_softmax(a)
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-5, atol=1e-30)
    everything = torch.ones(50, K)
    (g32,), (g64,) = (gradient(lambda x: negative(everything, x), t) for t in (a.float(), a))
    assert g32.isfinite().all()
    torch.testing.assert_close(g32.double(), g64, rtol=1e-3, atol=1e-4)


def test_ties_of_the_largest_class():
    a = torch.zeros(3, 4, dtype=torch.float64)
    torch.testing.assert_close(log1m_softmax(a), torch.full((3, 4), math.log(3 / 4), dtype=torch.float64))
    (g,) = gradient(lambda x: negative(torch.ones(3, 4), x), a)
    torch.testing.assert_close(g, torch.zeros_like(g))


def test_half_precision_is_widened_also_under_autocast():
    a, b = logits_of(3, 4).bfloat16(), logits_of(3, 4, seed=1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for name, loss in CASES.items():
            if name != "squared":
                assert loss(a, b).dtype == torch.float32, name
        assert squared(a, b).dtype == torch.float32


def test_no_rows_give_no_values_and_no_nan():
    a = torch.zeros(0, 4, requires_grad=True)
    empty = torch.zeros(0, 4)
    for out in (
        cross_entropy(a, torch.zeros(0, dtype=torch.int64)),
        cross_entropy(a, empty),
        entropy(a),
        kl(a, empty),
        squared(a, empty),
        negative(empty.bool(), a),
    ):
        assert out.shape == (0,)
        (g,) = torch.autograd.grad(out.sum(), a)
        assert g.shape == (0, 4)
    none = mean_of(torch.zeros(0, dtype=torch.bool), entropy(a))
    none.backward()
    assert none.item() == 0


def test_no_negatives_cost_nothing():
    a = torch.tensor([[60.0, 0.0, -1.0]], requires_grad=True)
    for per_label in ("sum", "mean"):
        loss = negative(torch.zeros(1, 3, dtype=torch.bool), a, per_label=per_label).sum()
        (g,) = torch.autograd.grad(loss, a)
        assert loss.item() == 0
        assert (g == 0).all()


def test_mean_of_divides_by_the_selected_rows():
    l = torch.tensor([1.0, 2.0, 6.0], requires_grad=True)  # noqa: E741
    mask = torch.tensor([True, False, True])
    mean = mean_of(mask, l)
    assert mean.item() == 3.5
    assert torch.autograd.grad(mean, l)[0].tolist() == [0.5, 0, 0.5]
    nothing = mean_of(torch.zeros(3, dtype=torch.bool), l)
    assert nothing.item() == 0
    assert torch.autograd.grad(nothing, l)[0].tolist() == [0, 0, 0]


def test_mean_of_counts_the_rows_of_all_processes(monkeypatch):
    """Averaged over two processes with 1 and 3 selected rows, it is the mean over the 4 rows."""
    from halfseen.parts import losses

    monkeypatch.setattr(losses, "mean_count", lambda count: torch.tensor(2.0))
    one = mean_of(torch.tensor([True, False, False]), torch.tensor([8.0, 100, 100]))
    three = mean_of(torch.tensor([True, True, True]), torch.tensor([1.0, 2.0, 5.0]))
    assert ((one + three) / 2).item() == pytest.approx((8 + 1 + 2 + 5) / 4)
    monkeypatch.setattr(losses, "mean_count", lambda count: torch.tensor(0.5))
    lonely = mean_of(torch.tensor([True, False, False]), torch.tensor([8.0, 100, 100]))
    assert (lonely / 2).item() == pytest.approx(8)


@pytest.mark.parametrize("wrong", [{"form": "clamp"}, {"per_label": "max"}])
def test_an_unknown_form_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong.values()))):
        negative(torch.ones(1, 2), torch.zeros(1, 2), **wrong)


def test_a_weighted_mean() -> None:
    w, values = torch.tensor([1.0, 0.0, 3.0]), torch.tensor([2.0, 100.0, 4.0])
    assert weighted_mean(w, values).item() == pytest.approx((2 + 12) / 4)
    assert weighted_mean(torch.zeros(3), values).item() == 0
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert weighted_mean(torch.tensor([[1.0, 0.0], [0.5, 0.5]]), rows).item() == pytest.approx((1 + 1.5 + 2) / 2)
