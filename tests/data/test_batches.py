"""Streams: every image once a lap, the same at a step whenever it is asked for, and shards that make up the whole."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from halfseen.data import MixedStream, Stream
from halfseen.errors import UserError


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 40), batch=st.integers(1, 50), seed=st.integers(0, 2**40), laps=st.integers(1, 4))
def test_endless_streams_show_every_image_once_in_each_lap(n, batch, seed, laps):
    ids = torch.arange(100, 100 + n)
    stream = Stream(ids, batch, seed, whole_laps=False)
    seen = torch.cat([stream.at(t) for t in range(-(-laps * n // batch))])
    for lap in range(laps):
        assert seen[lap * n : (lap + 1) * n].sort().values.tolist() == ids.tolist()


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 60), batch=st.integers(1, 20), seed=st.integers(0, 99))
def test_whole_laps_hold_full_batches_of_different_images(n, batch, seed):
    stream = Stream(torch.arange(n), batch, seed, whole_laps=True)
    assert stream.laps == max(1, n // batch)
    for lap in range(3):
        lap_ids = torch.cat([stream.at(lap * stream.laps + t) for t in range(stream.laps)])
        assert len(lap_ids) == stream.laps * batch
        if n >= batch:
            assert len(lap_ids.unique()) == len(lap_ids)


def test_a_resumed_stream_goes_on_where_the_other_stood():
    ids = torch.arange(50)
    for whole in (True, False):
        one = Stream(ids, 7, seed=5, whole_laps=whole)
        going = [one.at(t) for t in range(40)]
        for step in (39, 0, 20, 8):  # any order, with and without what is remembered
            assert torch.equal(Stream(ids, 7, seed=5, whole_laps=whole).at(step), going[step])
            assert torch.equal(one.at(step), going[step])


def test_laps_and_seeds_differ():
    ids = torch.arange(30)
    stream = Stream(ids, 30, seed=0, whole_laps=True)
    assert not torch.equal(stream.at(0), stream.at(1))
    assert not torch.equal(stream.at(0), Stream(ids, 30, seed=1, whole_laps=True).at(0))


def test_mixed_batches_have_a_fixed_sum_and_pass_over_all():
    labelled, unlabelled = torch.tensor([3, 8]), torch.tensor([0, 1, 2, 4, 5, 6, 7, 9])
    stream = MixedStream(labelled, unlabelled, batch=5, seed=0)
    assert stream.laps == 2
    sizes = set()
    for lap in range(20):
        x, u = zip(*(stream.at(lap * 2 + t) for t in range(2)), strict=True)
        assert sorted(torch.cat(x).tolist()) == [3, 8]
        assert sorted(torch.cat(u).tolist()) == unlabelled.tolist()
        assert all(len(a) + len(b) == 5 for a, b in zip(x, u, strict=True))
        sizes |= {len(a) for a in x}
    assert len(sizes) > 1


def test_empty_streams_are_refused_in_words():
    with pytest.raises(UserError, match="no images to draw"):
        Stream(torch.arange(0), 4, 0, True)
    with pytest.raises(UserError, match="batch of 0"):
        Stream(torch.arange(4), 0, 0, True)
