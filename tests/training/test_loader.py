"""Batches: what each meaning of an epoch puts into them, and what a process gets of them."""

import pytest
import torch

from halfseen.data import Split, open_data
from halfseen.method import Plan
from halfseen.training.loader import Loader

ROWS = (4, 12)


def loader(rank: int = 0, world: int = 1) -> Loader:
    images = open_data("blobs", progress=False)
    ids = torch.arange(len(images.x))
    return Loader(images, Split(ids[:40], ids[40:240], ids[:0]), torch.device("cpu"), rank, world)


def plan(data: Loader) -> Plan:
    return Plan(100, len(data.labelled), len(data.unlabelled), ROWS)


def test_a_batch_holds_the_rows_of_its_ids_and_no_hidden_label() -> None:
    data = loader()
    batch = data.batch(data.streams(plan(data), 10, 0, None), 3)
    assert torch.equal(batch.x, data.x[batch.x_ids])
    assert torch.equal(batch.u, data.x[batch.u_ids])
    assert (batch.y >= 0).all()
    assert (data.y[batch.u_ids] == -1).all()


@pytest.mark.parametrize("epoch", [10, "unlabeled_pass", "labeled_pass", "selected_pass"])
def test_two_processes_share_the_rows_of_a_batch(epoch) -> None:
    whole = loader()
    one = whole.batch(whole.streams(plan(whole), epoch, 0, None), 2)
    for rank in (0, 1):
        half = loader(rank, 2)
        part = half.batch(half.streams(plan(half), epoch, 0, None), 2)
        assert torch.equal(part.x_ids, one.x_ids[rank::2])
        assert torch.equal(part.u_ids, one.u_ids[rank::2])


def test_a_mixed_pass_goes_once_through_all_images() -> None:
    data = loader()
    streams, steps = data.streams(plan(data), "mixed_pass", 0, None), plan(data).epoch_steps("mixed_pass")
    batches = [data.batch(streams, step) for step in range(steps)]
    assert {len(b.x) + len(b.u) for b in batches} == {16}
    assert len({len(b.x) for b in batches}) > 1
    seen = torch.cat([torch.cat([b.x_ids, b.u_ids]) for b in batches])
    assert len(seen.unique()) == len(seen) == steps * 16


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_a_mixed_pass_evenly(world: int) -> None:
    """However many rows of a batch are labelled; laid end to end they are dealt in a ring."""
    whole, parts = loader(), [loader(rank, world) for rank in range(world)]
    odd = 0
    for step in range(12):
        one = whole.batch(whole.streams(plan(whole), "mixed_pass", 0, None), step)
        odd += len(one.x) % world > 0
        ids = torch.cat([one.x_ids, one.u_ids])
        for rank, half in enumerate(parts):
            part = half.batch(half.streams(plan(half), "mixed_pass", 0, None), step)
            assert torch.equal(torch.cat([part.x_ids, part.u_ids]), ids[rank::world])
            assert torch.equal(part.x_ids, one.x_ids[rank::world])
    assert odd


def test_a_selected_pass_holds_the_labelled_and_the_selected_rows() -> None:
    data = loader()
    streams = data.streams(plan(data), "selected_pass", 0, torch.arange(100, 108))
    seen = torch.cat([torch.cat([b.x_ids, b.u_ids]) for b in (data.batch(streams, s) for s in range(3))])
    assert set(seen.tolist()) == set(range(40)) | set(range(100, 108))


def test_a_sweep_is_every_image_once_in_order() -> None:
    data = loader()
    ids, x = zip(*data.sweep(), strict=True)
    assert torch.equal(torch.cat(ids), torch.arange(len(data.x)))
    assert torch.equal(torch.cat(x), data.x)
