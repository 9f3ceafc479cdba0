"""CTAugment's bookkeeping, views of feature vectors, and mixup."""

import pytest
import torch
from torch import Tensor

from halfseen.augment import CTAugment, make_policy, mixing_weights, mixup
from halfseen.augment.ctaugment import BINS, OPS_CTA
from halfseen.draws import Draws
from halfseen.errors import UserError


def cta(seed: int = 0, **options) -> CTAugment:
    from halfseen.augment.steps import Finish

    return CTAugment(draws=Draws.seeded(seed), finish=Finish(torch.tensor([0.5]), torch.tensor([0.25])), **options)


NAMES = [name for name, _, _ in OPS_CTA]


def test_cta_starts_with_every_bin_equally_likely() -> None:
    weights = cta().weights()
    for row, (_, _, bins) in zip(weights, OPS_CTA, strict=True):
        assert torch.equal(row, (torch.arange(BINS) < bins).float())


def test_cta_weights_by_the_formula() -> None:
    augment = cta()
    rotate = NAMES.index("rotate")
    augment.rates[rotate] = torch.linspace(0, 0.9, BINS)
    p = augment.rates[rotate] + 0.01
    p = p / p.max()
    p[p < 0.8] = 0
    assert torch.allclose(augment.weights()[rotate], p)
    assert 0 < (p > 0).sum() < BINS


def test_cta_strong_views_stay_within_the_rates() -> None:
    """With only the brightest bin of brightness and the identity alive, a white image stays white but for the hole."""
    augment = cta(depth=1)
    augment.rates.zero_()
    for row, (name, _, bins) in enumerate(OPS_CTA):
        augment.rates[row, bins - 1 if name == "brightness" else 0] = 1.0
    augment.bins.fill_(1)
    augment.bins[NAMES.index("brightness")] = BINS
    x = torch.full((600, 1, 16, 16), 120, dtype=torch.uint8)
    seen: list[Tensor] = []
    view = augment._view
    augment._view = lambda x, op, chosen, after: (seen.extend((op, chosen)), view(x, op, chosen, after))[1]
    augment.strong(x)
    op, chosen = seen
    bright = op == NAMES.index("brightness")
    assert bright.any()
    assert (chosen[bright] == BINS - 1).all()
    assert (chosen[~bright] == 0).all()


def test_cta_probe_draws_all_bins_and_records_them() -> None:
    augment = cta()
    _, record = augment.probe(torch.zeros(4000, 1, 4, 4, dtype=torch.uint8))
    assert record.shape == (4000, 2)
    op, chosen = record // BINS, record % BINS
    limits = torch.tensor([bins for _, _, bins in OPS_CTA])
    assert (chosen < limits[op]).all()
    assert len(record.unique()) == int(limits.sum())
    share = torch.bincount(chosen[op == 0], minlength=BINS).float() / (op == 0).sum()
    assert (share - 1 / BINS).abs().max() < 0.04


def test_cta_update_by_hand() -> None:
    augment = cta()
    record = torch.tensor([[3, 20], [3, 20], [40, 41]])  # bins 3 and 20 twice
    augment.update(record, torch.tensor([0.5, 0.5, 0.1]))
    flat = augment.rates.flatten()
    twice = 0.99 * (0.99 * 1 + 0.01 * 0.5) + 0.01 * 0.5
    assert flat[[3, 20]].tolist() == pytest.approx([twice, twice])
    assert flat[[40, 41]].tolist() == pytest.approx([0.99 + 0.01 * 0.1] * 2)
    rest = torch.ones_like(flat, dtype=torch.bool)
    rest[[3, 20, 40, 41]] = False
    assert (flat[rest] == 1).all()


def test_cta_one_image_using_a_bin_twice_counts_twice() -> None:
    augment = cta()
    augment.update(torch.tensor([[7, 7]]), torch.tensor([0.0]))
    assert float(augment.rates.flatten()[7]) == pytest.approx(0.99**2)


def test_cta_update_of_two_processes_is_that_of_one() -> None:
    record = torch.randint(0, 60, (32, 2), generator=torch.Generator().manual_seed(0))
    omega = torch.rand(32, generator=torch.Generator().manual_seed(1))
    one, two = cta(), cta()
    one.update(record, omega)
    total = two.tally(record[0::2], omega[0::2]) + two.tally(record[1::2], omega[1::2])
    two.update(record[0::2], omega[0::2], add_up=lambda mine: total)
    assert torch.allclose(one.rates, two.rates, atol=1e-7)
    shuffled = cta()
    shuffled.update(record.flip(0), omega.flip(0))
    assert torch.allclose(one.rates, shuffled.rates, atol=1e-7)


def test_cta_learns_to_leave_out_what_hurts() -> None:
    """Probes of strong rotations are never recognised: their bins drop out, mild ones stay."""
    augment = cta()
    rotate = NAMES.index("rotate")
    mild = torch.tensor([BINS // 2])
    for _ in range(300):
        strong = torch.tensor([0, BINS - 1])
        record = rotate * BINS + torch.cat((strong, mild))[:, None]
        augment.update(record, torch.tensor([0.0, 0.0, 1.0]))
    weights = augment.weights()[rotate]
    assert weights[[0, BINS - 1]].tolist() == [0, 0]
    assert weights[BINS // 2] == 1


def test_cta_refuses_what_makes_no_sense() -> None:
    with pytest.raises(UserError, match="threshold"):
        cta(threshold=1.0)


def vectors(name: str = "vector", draws: Draws | None = None, **options):
    mean, std = torch.tensor([1.0, -2.0, 10.0]), torch.tensor([0.5, 2.0, 5.0])
    draws = draws or Draws.seeded(0)
    return make_policy(name, shape=(3,), flip=False, mean=mean, std=std, draws=draws, **options)


def test_vectors_are_standardised() -> None:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    expected = (x - torch.tensor([1.0, -2.0, 10.0])) / torch.tensor([0.5, 2.0, 5.0])
    assert torch.allclose(vectors("none")(x), expected)
    away = vectors()(x.repeat(2000, 1)) - expected.repeat(2000, 1)
    assert float(away.std()) == pytest.approx(0.15, rel=0.02)
    assert vectors()(x[:0]).shape == (0, 3)


def test_swapped_features_are_values_of_the_reference() -> None:
    reference = torch.arange(12.0).view(4, 3)
    x = torch.full((3000, 3), 100.0)
    view = vectors(reference=reference, noise_sd=0.0)(x) * torch.tensor([0.5, 2.0, 5.0]) + torch.tensor(
        [1.0, -2.0, 10.0]
    )
    swapped = (view - 100).abs() > 0.01
    assert float(swapped.float().mean()) == pytest.approx(0.2, abs=0.015)
    for feature in range(3):
        values = view[swapped[:, feature], feature].round().unique()
        assert torch.equal(values, reference[:, feature])
    assert not torch.equal(swapped[:, 0], swapped[:, 1])


def test_vectors_of_two_processes() -> None:
    reference = torch.randn(10, 3)
    x = torch.randn(20, 3)
    whole = vectors(reference=reference)(x)
    for rank in range(2):
        part = vectors(reference=reference, draws=Draws.seeded(0, rank=rank, world=2))(x[rank::2])
        assert torch.equal(part, whole[rank::2])


def test_vector_mistakes() -> None:
    with pytest.raises(UserError, match="3 features"):
        vectors(reference=torch.zeros(4, 2))
    with pytest.raises(UserError, match="probability"):
        vectors(swap=1.5)


def test_mixup() -> None:
    x, y = torch.randn(4, 3, 2, 2), torch.eye(4)
    partner = torch.tensor([1, 0, 3, 2])
    lam = torch.tensor([1.0, 0.25, 0.5, 0.0])
    mixed, target = mixup(x, y, lam, partner)
    for i in range(4):
        assert torch.allclose(mixed[i], lam[i] * x[i] + (1 - lam[i]) * x[partner[i]], atol=1e-6)
        assert torch.allclose(target[i], lam[i] * y[i] + (1 - lam[i]) * y[partner[i]])
    assert torch.allclose(target.sum(1), torch.ones(4))


def test_mixing_weights() -> None:
    lam = mixing_weights(Draws.seeded(0), 0.75, 20000)
    assert float(lam.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(lam.var()) == pytest.approx(1 / (4 * (2 * 0.75 + 1)), abs=0.003)
    near = mixing_weights(Draws.seeded(0), 0.75, 20000, near_first=True)
    assert torch.equal(near, torch.maximum(lam, 1 - lam))
    one = [mixing_weights(Draws.seeded(0, rank=rank, world=2), 0.75, 6, per_image=False) for rank in range(2)]
    assert torch.equal(*one)
    assert len(one[0].unique()) == 1
    parts = [mixing_weights(Draws.seeded(0, rank=rank, world=2), 0.75, 10000) for rank in range(2)]
    assert torch.equal(torch.stack(parts, 1).flatten(), lam)
    with pytest.raises(UserError, match="above 0"):
        mixing_weights(Draws.seeded(0), 0.0, 3)
