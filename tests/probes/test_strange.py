"""Strangeness: distances and energies against loops, the bound against counts, and what a stranger would give."""

import math

import numpy as np
import pytest
import torch

from halfseen.errors import UserError
from halfseen.probes import strange
from halfseen.probes.strange import Familiar, energy, evenly, of_features, of_logits
from halfseen.training.metrics import auroc


def features(n: int, seed: int, centre: float = 3.0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(n, 16, generator=random) + centre * torch.eye(16)[0]


def test_distance_is_to_the_nearest_labelled_picture() -> None:
    h, x = features(9, 0), features(5, 1)
    found = of_features(h, torch.zeros(9, dtype=torch.int64))
    assert found is not None
    for i, s in enumerate(found.distance(x).tolist()):
        cosines = [float(x[i] @ row / (x[i].norm() * row.norm())) for row in h]
        assert math.isclose(s, 1 - max(cosines), abs_tol=2e-3)  # rows are kept in half precision
    assert found.distance(x[:0]).shape == (0,)


def test_those_that_belong_are_measured_by_the_others() -> None:
    h = features(7, 2)
    found = of_features(h, torch.zeros(7, dtype=torch.int64))
    assert found is not None
    one_by_one = [1 - max(float(torch.cosine_similarity(h[i], h[j], 0)) for j in range(7) if j != i) for i in range(7)]
    np.testing.assert_allclose(found.belong.numpy(), sorted(one_by_one), atol=2e-3)
    assert of_features(h[:1], torch.zeros(1, dtype=torch.int64)) is None


def test_the_bound_loses_about_the_share_that_was_asked_for() -> None:
    lost: dict[float, list[float]] = {0.05: [], 0.2: []}
    for seed in range(40):
        found = of_features(features(60, seed), torch.zeros(60, dtype=torch.int64))
        assert found is not None
        new = found.distance(features(500, 1000 + seed))
        for share, losses in lost.items():
            losses.append(1 - float(found.known(new, share).double().mean()))
    assert 0.02 < np.mean(lost[0.05]) < 0.07
    assert 0.14 < np.mean(lost[0.2]) < 0.23


def test_the_bound_does_not_hang_on_strangers() -> None:
    found = of_features(features(60, 0), torch.zeros(60, dtype=torch.int64))
    assert found is not None
    far, near = found.distance(features(300, 1, -3.0)), found.distance(features(300, 2))
    assert not found.known(far, 0.05).any()
    assert float(found.known(near, 0.05).double().mean()) > 0.85
    assert auroc(near, far) == 1.0


@pytest.mark.parametrize(("n", "share", "place"), [(12, 0.05, 11), (12, 0.5, 6), (99, 0.05, 94), (1, 0.5, 0)])
def test_which_of_the_scores_is_the_bound(n: int, share: float, place: int) -> None:
    scores = torch.arange(float(n))
    assert Familiar("energy", "validation", scores).bound(share) == scores[place]


def test_energy_against_a_loop() -> None:
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    expected = [-math.log(sum(math.exp(v) for v in row)) for row in z.tolist()]
    np.testing.assert_allclose(energy(z).numpy(), expected, rtol=1e-5)
    assert of_logits(z, "validation").belong.tolist() == sorted(energy(z).tolist())


def test_of_many_scores_quantiles_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strange, "KEPT", 11)
    assert strange.kept(torch.randperm(101).float()).tolist() == list(range(0, 101, 10))


def test_of_many_labels_every_class_keeps_some() -> None:
    y = torch.tensor([0] * 50 + [1] * 2 + [2] * 5)
    assert torch.bincount(y[evenly(y, 10)]).tolist() == [4, 2, 4]
    assert evenly(y, 100).tolist() == list(range(57))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 5, math.nan])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(UserError, match=r"a share of .* more than 0 and less than 1"):
        strange.checked(share)


def test_auroc_against_pairs() -> None:
    random = torch.Generator().manual_seed(0)
    low, high = (torch.randint(0, 8, (n,), generator=random).double() for n in (30, 20))
    pairs = [(1.0 if b > a else 0.5 if a == b else 0.0) for a in low.tolist() for b in high.tolist()]
    assert math.isclose(auroc(low, high), sum(pairs) / len(pairs))
    assert math.isnan(auroc(low, high[:0]))
