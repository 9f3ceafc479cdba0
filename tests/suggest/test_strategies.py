"""The strategies against scikit-activeml, closed forms and what each promises."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from halfseen.errors import UserError
from halfseen.suggest.strategies import (
    STRATEGIES,
    TWIN,
    Seen,
    apart,
    at_random,
    chosen,
    clusters,
    core_set,
    disagreement,
    divergence,
    least_sure,
    loneliness,
    margin,
    margins,
    spread,
    strongest,
    typical,
)

NONE = np.array([], dtype=np.int64)


@pytest.fixture(scope="module")
def skpool() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        return pytest.importorskip("skactiveml.pool")


def probabilities(n: int = 60, k: int = 4, members: int = 1, seed: int = 0) -> NDArray[np.float64]:
    p = np.random.default_rng(seed).dirichlet(np.ones(k), (members, n))
    return p if members > 1 else p[0]


def blobs(
    sizes: tuple[int, ...] = (12, 30, 20, 8), seed: int = 0, d: int = 8
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Far apart, so that every k-means finds the same clusters."""
    random = np.random.default_rng(seed)
    centres = 50 * np.eye(len(sizes), d)
    of = np.repeat(np.arange(len(sizes)), sizes)
    return centres[of] + random.normal(size=(len(of), d)), of


def unit(n: int, d: int = 6, seed: int = 0) -> NDArray[np.float64]:
    x = np.random.default_rng(seed).normal(size=(n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


# ---- against scikit-activeml ---------------------------------------------------------------------------------------------


def test_least_sure_and_margin(skpool: Any) -> None:
    p = probabilities()
    for ours, method in ((least_sure(p), "least_confident"), (margin(p), "margin_sampling")):
        theirs = skpool.uncertainty_scores(p, method=method)
        np.testing.assert_array_equal(ours, np.argsort(-theirs, kind="stable"))
    np.testing.assert_allclose(1 - margins(p), skpool.uncertainty_scores(p, method="margin_sampling"), atol=1e-12)


def test_disagreement(skpool: Any) -> None:
    committee = probabilities(members=3)
    theirs = skpool.average_kl_divergence(committee)
    np.testing.assert_allclose(divergence(committee), theirs, atol=1e-9)
    np.testing.assert_array_equal(disagreement(committee), np.argsort(-theirs, kind="stable"))


@pytest.mark.parametrize("labelled", [[3], [3, 40, 41]])
def test_core_set(skpool: Any, labelled: list[int]) -> None:
    x = unit(80)
    y = np.full(80, np.nan)
    y[labelled] = 0
    theirs, _ = skpool.k_greedy_center(x, y, batch_size=10, random_state=0)
    np.testing.assert_array_equal(core_set(x, 10, np.array(labelled)), theirs)


@pytest.mark.parametrize("labelled", [[], [13, 14]])  # two of the largest blob
def test_typical(skpool: Any, labelled: list[int]) -> None:
    x, of = blobs()
    y = np.full(len(x), np.nan)
    y[labelled] = 0
    num = 4 - len(labelled) if not labelled else 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = skpool.TypiClust(random_state=0, k=5).query(x, y, batch_size=num)
    ours = typical(x, num, np.array(labelled, dtype=np.int64), neighbours=5)
    assert {int(of[i]) for i in ours[:num]} == {int(of[i]) for i in theirs}
    if not labelled:  # as many clusters as blobs: then also the same pictures in the same order
        np.testing.assert_array_equal(ours[:num], theirs)


# ---- closed forms --------------------------------------------------------------------------------------------------------


def test_loneliness_is_the_mean_distance_to_the_nearest() -> None:
    x = np.array([[0.0], [1], [3], [7], [20]])
    rows = np.array([0, 2, 4])
    found = loneliness(x, rows, np.array([0, 1, 2, 3]), 2)  # row 4 is compared with the others only
    np.testing.assert_allclose(found, [(1 + 3) / 2, (2 + 3) / 2, (13 + 17) / 2])


def test_divergence_of_two_that_contradict_each_other() -> None:
    committee = np.array([[[1.0, 0.0], [0.7, 0.3]], [[0.0, 1.0], [0.7, 0.3]]])
    np.testing.assert_allclose(divergence(committee), [math.log(2), 0], atol=1e-9)


def test_core_set_begins_in_the_middle_and_goes_to_the_ends() -> None:
    x = np.array([[0.0], [1], [4.9], [9], [10]])
    assert core_set(x, 3, NONE).tolist() == [2, 4, 0]
    assert sorted(core_set(x, 9, np.array([4])).tolist()) == [0, 1, 2, 3]


def test_typical_takes_large_clusters_before_small_and_unlabelled_before_labelled() -> None:
    x, of = blobs()
    first = typical(x, 4, NONE)
    assert of[first[:4]].tolist() == [1, 2, 0, 3]  # of 30, 20, 12 and 8
    after = typical(x, 1, np.flatnonzero(of == 1)[:1])
    assert of[after[0]] != 1
    assert set(first.tolist()) == set(range(len(x)))  # then the second of each, and so on


def test_strongest_directions_keep_distances_where_there_are_few() -> None:
    x = np.random.default_rng(0).normal(size=(300, 3)) @ np.random.default_rng(1).normal(size=(3, 100))
    short = strongest(x, 5)
    assert short.shape == (300, 5)
    np.testing.assert_allclose((short[:40] ** 2).sum(1), (x[:40] ** 2).sum(1), rtol=1e-6)
    np.testing.assert_array_equal(strongest(x, 100), x)


def test_clusters_of_as_many_as_there_are_rows() -> None:
    assert clusters(unit(5), 5, 0).tolist() == [0, 1, 2, 3, 4]


def test_spread_takes_unsure_ones_that_differ() -> None:
    x, of = blobs((40, 40, 40))
    unsure = np.random.default_rng(0).random(120) * 0.1
    unsure[of == 0] += 0.5
    unsure[of == 1] += 0.4  # a blob apart that is nearly as unsure
    picks = spread(x, unsure, 4, NONE)[:4]
    assert set(of[picks].tolist()) == {0}  # of the 40 most unsure, which are all of the first blob
    picks = spread(x, unsure, 8, NONE)[:8]
    assert set(of[picks].tolist()) == {0, 1}  # of the 80 most unsure
    assert len(set(picks.tolist())) == 8
    assert not np.isin(spread(x, unsure, 4, np.arange(40)), np.arange(40)).any()


# ---- what all promise ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STRATEGIES)
def test_each_gives_as_many_as_asked_without_a_label_and_without_twins(name: str) -> None:
    x = unit(90, 12)
    x[60:] = x[:30]  # each of the first 30 is there twice
    labelled = np.array([0, 1, 31])
    committee = probabilities(90, members=2)
    seen = Seen(x, labelled, committee.mean(0), committee)
    found = chosen(name, seen, 20, seed=1)
    assert len(set(found.tolist())) == 20
    assert not np.isin(found, [0, 1, 31, 60, 61]).any()  # neither the labelled ones nor their twins
    cosines = x[found] @ x[found].T - np.eye(20)
    assert cosines.max() <= TWIN
    np.testing.assert_array_equal(found, chosen(name, seen, 20, seed=1))
    assert len(chosen(name, seen, 200)) == 87  # all that is left: twins too, when nothing else is


def test_apart_falls_back_to_twins() -> None:
    x = np.array([[1.0, 0], [1, 0], [0, 1]])
    assert apart(x, np.array([0, 1, 2]), 2, NONE).tolist() == [0, 2]
    assert apart(x, np.array([0, 1, 2]), 3, NONE).tolist() == [0, 2, 1]
    assert apart(x, np.array([1, 2]), 1, np.array([0])).tolist() == [2]


def test_random_is_by_its_seed() -> None:
    assert at_random(50, 3).tolist() == at_random(50, 3).tolist() != at_random(50, 4).tolist()
    assert sorted(at_random(50).tolist()) == list(range(50))


def test_mistakes() -> None:
    seen = Seen(unit(9), NONE)
    with pytest.raises(UserError, match="there is no strategy 'margins'; did you mean 'margin'"):
        chosen("margins", seen, 2)
    for name in ("least-sure", "margin", "spread"):
        with pytest.raises(UserError, match="asks what a model says: take --strategy typical"):
            chosen(name, seen, 2)
    alone = Seen(unit(9), NONE, probabilities(9), probabilities(9)[None])
    with pytest.raises(UserError, match="between the networks of a run that has two or more"):
        chosen("disagreement", alone, 2)
