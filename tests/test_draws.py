"""Random numbers for rows: their distributions, and that processes share the numbers of one."""

import pytest
import torch

from halfseen.draws import Draws


@pytest.mark.parametrize(
    "draw",
    [
        lambda d, n: d.uniform(n, 3),
        lambda d, n: d.normal(n),
        lambda d, n: d.integers(0, 9, n, 2),
        lambda d, n: d.gumbel(n, 4),
        lambda d, n: d.beta(0.75, 0.75, n),
    ],
)
def test_two_processes_share_the_rows_of_one(draw) -> None:
    whole = draw(Draws.seeded(3), 10)
    for rank in (0, 1):
        assert torch.equal(draw(Draws.seeded(3, rank=rank, world=2), 5), whole[rank::2])


def test_gumbel_noise_draws_in_proportion() -> None:
    """The largest of log-weight + noise is class k with probability weight k; the mean of the noise is Euler's gamma."""
    noise = Draws.seeded(0).gumbel(200_000, 3)
    assert torch.isfinite(noise).all()
    assert noise.mean() == pytest.approx(0.5772, abs=0.01)
    drawn = (torch.tensor([0.2, 0.3, 0.5]).log() + noise).argmax(1).bincount() / len(noise)
    torch.testing.assert_close(drawn, torch.tensor([0.2, 0.3, 0.5]), atol=0.01, rtol=0)


def test_ranges_and_moments() -> None:
    d = Draws.seeded(1)
    u = d.uniform(100_000, low=-2, high=3)
    assert u.min() >= -2
    assert u.max() < 3
    assert u.mean() == pytest.approx(0.5, abs=0.03)
    assert set(d.integers(2, 5, 1000).tolist()) == {2, 3, 4}
    assert d.normal(100_000).std() == pytest.approx(1, abs=0.02)
    b = d.beta(2.0, 5.0, 100_000)
    assert b.mean() == pytest.approx(2 / 7, abs=0.01)
    assert b.var() == pytest.approx(10 / (49 * 8), abs=0.003)
