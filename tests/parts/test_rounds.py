"""Rounds: their lengths, fresh weights, random numbers that processes share, what a network is asked, and who is chosen."""

import numpy as np
import pytest
import torch
from torch import nn

from halfseen.draws import Draws
from halfseen.nets import make_net
from halfseen.parts.rounds import ask, begin_anew, lengths, shared_random
from halfseen.parts.select import balanced, most_sure


@pytest.mark.parametrize(("steps", "rounds"), [(100, 6), (6, 6), (4, 6), (1, 3), (1000, 7)])
def test_lengths_are_alike_and_sum_up(steps: int, rounds: int) -> None:
    found = lengths(steps, rounds)
    assert len(found) == rounds
    assert sum(found) == steps
    assert max(found) - min(found) <= 1


def test_processes_share_random_numbers_within_the_block_only() -> None:
    torch.manual_seed(1)
    went_on = torch.rand(3)
    seen = []
    for rank in (0, 1):
        torch.manual_seed(1 + 0 * rank)
        draws = Draws.seeded(5, rank=rank, world=2)
        with shared_random(draws):
            seen.append(torch.rand(4))
            assert not torch.equal(seen[-1][:3], went_on)
        assert torch.equal(torch.rand(3), went_on)  # as if nothing had been drawn
        with shared_random(draws):
            assert not torch.equal(torch.rand(4), seen[-1])  # the next block has others
    assert torch.equal(*seen)


def test_a_network_begun_anew_is_a_fresh_one() -> None:
    make = lambda: make_net("small", classes=3, shape=(1, 8, 8), width=8)  # noqa: E731
    net = make()
    net(torch.randn(9, 1, 8, 8))
    parameters = [p for p in net.parameters()]  # noqa: C416
    old = [p.clone() for p in parameters]
    begin_anew(net, make, Draws.seeded(0))
    assert not torch.equal(old[0], parameters[0])
    assert all(a is b for a, b in zip(parameters, net.parameters(), strict=True))  # what an optimiser holds
    assert net.norm1.num_batches_tracked == 0
    assert net.norm1.running_mean.abs().max() == 0
    other = make()
    begin_anew(other, make, Draws.seeded(0))
    assert torch.equal(other.conv1.weight, net.conv1.weight)
    begin_anew(other, make, Draws.seeded(1))
    assert not torch.equal(other.conv1.weight, net.conv1.weight)


class Set:
    def __init__(self, x: torch.Tensor) -> None:
        self.x, self.labelled, self.unlabelled = x, torch.arange(4), torch.arange(4, len(x))

    def sweep(self, ids: torch.Tensor | None = None):
        for part in torch.arange(len(self.x)).split(5) if ids is None else ids.split(5):
            yield part, self.x[part]


def test_a_network_is_asked_in_evaluation_mode_with_measured_statistics() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2))
    data = Set(torch.randn(20, 3) * 4 + 2)
    ids = torch.tensor([7, 3, 19, 4, 5, 6])
    net.train()
    p = ask(net, data, ids, lambda x: x, "measured")
    assert net.training
    assert net[0].running_mean.abs().max() == 0
    z = (data.x[ids] - data.x.mean(0)) / (data.x.var(0) + net[0].eps).sqrt()
    torch.testing.assert_close(p, net[2](z).softmax(1).detach(), rtol=1e-4, atol=1e-5)
    running = ask(net, data, ids, lambda x: x, "copied")
    torch.testing.assert_close(running, net[2](data.x[ids] / (1 + net[0].eps) ** 0.5).softmax(1).detach())


@pytest.mark.parametrize("share", [0.0, 0.2, 0.37, 0.8, 1.0])
def test_the_most_sure_are_those_above_the_percentile(share: float) -> None:
    confidence = torch.rand(41, generator=torch.Generator().manual_seed(0))
    expected = confidence.numpy() >= np.percentile(confidence.numpy(), 100 * (1 - share)) - 1e-7
    assert torch.equal(most_sure(confidence, share), torch.from_numpy(expected))


def test_the_most_sure_of_none_and_of_equals() -> None:
    assert most_sure(torch.empty(0), 0.2).shape == (0,)
    assert most_sure(torch.ones(5), 0.2).all()


def test_every_class_keeps_as_many_as_the_smallest_those_that_deviate_least() -> None:
    g = torch.Generator().manual_seed(3)
    c = torch.tensor([0] * 9 + [1] * 4 + [2] * 12)
    kept = torch.ones(25, dtype=torch.bool)
    kept[[0, 10, 24]] = False
    deviation = torch.rand(25, generator=g)
    deviation[0] = 0  # not kept, so it does not count
    found = balanced(kept, c, 3, deviation, 1)
    for k in range(3):
        rows = [i for i in range(25) if kept[i] and c[i] == k]
        best = sorted(rows, key=lambda i: deviation[i].item())[:3]  # the class 1 has three
        assert sorted(best) == [i for i in range(25) if found[i] and c[i] == k]
    assert [int(balanced(kept, c, 3, deviation, 5)[c == k].sum()) for k in range(3)] == [5, 3, 5]
    none_of_3 = balanced(kept, c, 4, deviation, 2)
    assert [int(none_of_3[c == k].sum()) for k in range(3)] == [2, 2, 2]
