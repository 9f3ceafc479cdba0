"""Dropout, noise and mixing in several processes: a row has the numbers that one process draws for it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from halfseen.machine import distributed, shares
from halfseen.nets import make_net
from halfseen.nets.net import InputNoise
from halfseen.nets.shake_shake import Block
from halfseen.parts.forward import active_dropouts
from halfseen.parts.shared_dropout import SharedDropout, with_shared_dropout

WORLD = 3


def run_as(monkeypatch: pytest.MonkeyPatch, rank: int, work: Callable[[], Tensor]) -> Tensor:
    with monkeypatch.context() as patch:
        patch.setattr(distributed, "world", lambda: WORLD)
        patch.setattr(distributed, "rank", lambda: rank)
        torch.manual_seed(7)
        return work()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Dropout(0.3), (40,)),
        (nn.Dropout(0.3), (6, 5, 4)),
        (nn.Dropout2d(0.3), (6, 5, 4)),
        (nn.Dropout1d(0.3), (6, 5)),
        (InputNoise(0.2), (3, 5, 4)),
        (Block(4, 4, 1).requires_grad_(False), (4, 6, 6)),
    ],
)
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_row_has_the_mask_of_one_process(
    layer: nn.Module, shape: tuple[int, ...], channels_last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.rand(12, *shape) + 1
    if len(shape) == 3 and channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    for module in layer.modules():  # each process has batch norm of its own here
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    torch.manual_seed(7)
    one = layer(x)
    assert not torch.equal(one, x)
    shared = with_shared_dropout(nn.Sequential(layer))
    assert isinstance(shared[0], SharedDropout) == isinstance(layer, nn.Dropout | nn.Dropout1d | nn.Dropout2d)
    for rank in range(WORLD):
        mine = run_as(monkeypatch, rank, lambda rank=rank: shared(x[rank::WORLD]))
        torch.testing.assert_close(mine, one[rank::WORLD], rtol=1e-6, atol=1e-6)


def test_a_forward_of_two_kinds_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    net = with_shared_dropout(make_net("mlp", classes=3, shape=(8,), dropout=0.4))
    assert len(active_dropouts(net)) == 3
    x, u = torch.rand(6, 8), torch.rand(9, 8)
    torch.manual_seed(7)
    one = net(torch.cat([x, u]))
    for rank in range(WORLD):
        rows = torch.cat([x[rank::WORLD], u[rank::WORLD]])
        mine = run_as(monkeypatch, rank, lambda rows=rows: net(rows))
        torch.testing.assert_close(mine, one[rank::WORLD])


def test_where_every_process_has_all_rows_all_have_the_same_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = SharedDropout(nn.Dropout(0.5)), torch.ones(10, 4)

    def all_rows() -> Tensor:
        with shares.rows_are("alike"):
            return layer(x)

    masks = [run_as(monkeypatch, rank, all_rows) for rank in range(WORLD)]
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[0], masks[2])
    assert 0 < int((masks[0] == 0).sum()) < 40


@pytest.mark.parametrize("labelled", range(9))
@pytest.mark.parametrize("world", [2, 3, 4])
def test_shares_are_known_from_their_sizes(labelled: int, world: int) -> None:
    """24 rows dealt in a ring, the first of them labelled; each kind's share is found from how many rows who has."""
    rows = torch.arange(24)
    x, u = rows[:labelled], rows[labelled:]
    dealt = [rows[rank::world] for rank in range(world)]
    for kind, inside in ((x, lambda part: part < labelled), (u, lambda part: part >= labelled), (rows, lambda _: ...)):
        parts = [part[inside(part)] for part in dealt]
        for rank, part in enumerate(parts):
            whole, first = shares.spread([len(p) for p in parts], rank)
            assert whole == len(kind)
            assert torch.equal(kind[first::world], part.flatten())


def test_nothing_is_dropped_in_evaluation() -> None:
    layer = SharedDropout(nn.Dropout(0.5)).eval()
    x = torch.ones(3, 3)
    assert layer(x) is x
