"""Splits: disjoint, balanced, repeatable, and folds that part the labelled rows."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from halfseen.data import Split, choose_split
from halfseen.data.split import stable_seed
from halfseen.errors import UserError


def rows(per_class: list[int], hidden: int = 0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels of a set with so many rows of each class, shuffled, and `hidden` rows whose label nobody knows."""
    y = torch.cat([torch.full((n,), k) for k, n in enumerate(per_class)] + [torch.full((hidden,), -1)])
    y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))]
    return y, y >= 0


def ids(split: Split) -> tuple[set[int], set[int], set[int]]:
    return tuple(set(part.tolist()) for part in (split.labelled, split.unlabelled, split.val))


def test_20_labels_of_10_classes_are_two_of_each_and_the_rest_is_unlabelled():
    y, shown = rows([50] * 10)
    split = choose_split(y, shown, num_labels=20, seed=1)
    assert y[split.labelled].bincount().tolist() == [2] * 10
    assert len(split.unlabelled) == 480
    assert len(split.val) == 0


def test_the_remainder_goes_to_random_classes():
    y, shown = rows([50] * 10)
    who = set()
    for seed in range(30):
        counts = y[choose_split(y, shown, num_labels=23, seed=seed).labelled].bincount(minlength=10)
        assert sorted(counts.tolist()) == [2] * 7 + [3] * 3
        who |= set((counts == 3).nonzero().flatten().tolist())
    assert len(who) == 10


def test_few_labels_are_a_part_of_many_with_the_same_seed():
    y, shown = rows([50] * 4)
    few, many = (choose_split(y, shown, labels_per_class=n, seed=3, val="none") for n in (2, 9))
    assert ids(few)[0] < ids(many)[0]


def test_proportional_quotas_follow_the_class_sizes_and_leave_no_class_out():
    y, shown = rows([600, 300, 95, 5])
    counts = y[choose_split(y, shown, num_labels=100, balanced=False, seed=0, val="none").labelled].bincount()
    assert counts.tolist() in ([60, 30, 9, 1], [60, 30, 10, 1], [60, 29, 10, 1], [59, 30, 10, 1])
    assert counts.sum() == 100


def test_auto_holds_out_a_fifth_only_when_every_class_has_ten_labels():
    y, shown = rows([40] * 3)
    assert len(choose_split(y, shown, labels_per_class=9, seed=0).val) == 0
    split = choose_split(y, shown, labels_per_class=10, seed=0)
    assert y[split.val].bincount().tolist() == [2, 2, 2]
    assert y[split.labelled].bincount().tolist() == [8, 8, 8]


def test_a_share_and_a_number_are_held_out_of_each_class():
    y, shown = rows([40] * 3)
    assert y[choose_split(y, shown, labels_per_class=8, seed=0, val=0.25).val].bincount().tolist() == [2, 2, 2]
    assert y[choose_split(y, shown, labels_per_class=8, seed=0, val=3).val].bincount().tolist() == [3, 3, 3]


def test_the_papers_protocol_draws_validation_images_that_are_in_neither_part():
    y, shown = rows([100] * 10)
    split = choose_split(y, shown, labels_per_class=10, seed=0, extra_val_per_class=20)
    assert y[split.val].bincount().tolist() == [20] * 10
    assert y[split.labelled].bincount().tolist() == [10] * 10  # none of these was held out besides
    assert len(split.unlabelled) == 1000 - 100 - 200


def test_labelled_images_may_also_be_learned_from_without_their_label_but_never_the_held_out():
    y, shown = rows([40] * 2)
    split = choose_split(y, shown, labels_per_class=10, seed=0, include_labelled_in_unlabelled=True)
    labelled, unlabelled, val = ids(split)
    assert labelled < unlabelled
    assert not val & unlabelled


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=6),
    hidden=st.integers(1, 20),
    seed=st.integers(0, 10**9),
    share=st.floats(0, 1),
    balanced=st.booleans(),
    fold=st.integers(0, 4),
)
def test_any_split_is_disjoint_complete_repeatable_and_of_the_asked_size(sizes, hidden, seed, share, balanced, fold):
    y, shown = rows(sizes, hidden)
    wanted = len(sizes) + int(share * (sum(sizes) - len(sizes)))
    asked = {"num_labels": wanted, "balanced": balanced, "seed": seed, "val_fold": fold}
    split = choose_split(y, shown, **asked)
    labelled, unlabelled, val = ids(split)
    assert not labelled & unlabelled
    assert not labelled & val
    assert not unlabelled & val
    assert len(labelled) + len(unlabelled) + len(val) == len(y)
    assert len(labelled) + len(val) == wanted
    assert all(y[i] >= 0 for i in labelled | val)
    assert y[split.labelled].unique().tolist() == list(range(len(sizes)))
    again = choose_split(y, shown, **asked)
    assert ids(again) == (labelled, unlabelled, val)
    if balanced:
        both = torch.cat([split.labelled, split.val])
        counts = y[both].bincount(minlength=len(sizes)).tolist()
        most = max(counts)
        assert all(count >= most - 1 or count == size for count, size in zip(counts, sizes, strict=True))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(10, 33), min_size=2, max_size=5), st.integers(2, 8), st.integers(0, 99))
def test_the_folds_part_the_labelled_rows(sizes, folds, seed):
    y, shown = rows(sizes, hidden=3)
    splits = [choose_split(y, shown, seed=seed, val_folds=folds, val_fold=f) for f in range(folds)]
    held = torch.cat([s.val for s in splits])
    assert held.sort().values.tolist() == shown.nonzero().flatten().tolist()
    assert max(len(s.val) for s in splits) - min(len(s.val) for s in splits) <= len(sizes)
    assert all(torch.equal(s.unlabelled, splits[0].unlabelled) for s in splits)


def test_a_split_survives_json():
    y, shown = rows([20, 20], hidden=4)
    split = choose_split(y, shown, labels_per_class=10, seed=0)
    back = Split.from_json(json.loads(json.dumps(split.as_json())))
    assert all(torch.equal(getattr(back, part), getattr(split, part)) for part in ("labelled", "unlabelled", "val"))
    with pytest.raises(UserError, match="damaged"):
        Split.from_json({"labelled": [1], "val": []})


def test_a_thousand_classes_with_one_label_each():
    y, shown = rows([2] * 1000)
    split = choose_split(y, shown, labels_per_class=1, seed=0)
    assert y[split.labelled].sort().values.tolist() == list(range(1000))


def test_seeds_do_not_depend_on_the_process():
    assert stable_seed("lap", 3, 4) == 1045632382373940506
    assert stable_seed(1, 23) != stable_seed(12, 3)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"num_labels": 2}, "too few for 3 classes"),
        ({"num_labels": 100}, "100 labels were asked for and 35 are there"),
        ({"labels_per_class": 6}, "Class 'rare' has 5 labelled images"),
        ({"labels_per_class": 0}, "at least 1"),
        ({"labels_per_class": 1, "num_labels": 3}, "not both"),
        ({"labels_per_class": 2, "val": 2}, "No labelled image of class 'cat' is left"),
        ({"labels_per_class": 2, "val": -1}, "cannot be held out"),
        ({"labels_per_class": 2, "val": 1.5}, "cannot be held out"),
        ({"labels_per_class": 2, "val": "half"}, "no way to hold out"),
        ({"labels_per_class": 2, "val_fold": 5}, "does not exist"),
        ({"labels_per_class": 1, "extra_val_per_class": 5}, "Class 'rare' has 5 labels, too few to hold out"),
        ({}, "Every image is labelled"),
    ],
)
def test_what_cannot_be_chosen_is_said_in_words(asked, words):
    y, shown = rows([20, 10, 5])
    with pytest.raises(UserError, match=words):
        choose_split(y, shown, seed=0, classes=["cat", "dog", "rare"], **asked)


def test_no_labels_and_a_class_without_labels_are_said_in_words():
    y, shown = rows([20, 10])
    with pytest.raises(UserError, match="No image has a label"):
        choose_split(y, torch.zeros_like(shown), seed=0)
    with pytest.raises(UserError, match="Class 'dog' has no labelled image"):
        choose_split(y, shown & (y != 1), seed=0, classes=["cat", "dog"])


def test_all_labelled_is_fine_when_nothing_unlabelled_is_needed():
    y, shown = rows([20, 10])
    assert len(choose_split(y, shown, seed=0, val="none", need_unlabelled=False).labelled) == 30
