"""Near-duplicates: copies are found and nothing else, each pair once; of many pictures a part is looked at."""

import numpy as np
import pytest
import torch
from torch import Tensor

from halfseen.probes import twins
from halfseen.probes.twins import Kind, Twins


def pictures(n: int, seed: int = 0) -> Tensor:
    """Smooth random pictures, which differ at a glance."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 6, 6, generator=random)
    return (torch.nn.functional.interpolate(coarse, 40, mode="bilinear") * 200).round().to(torch.uint8)


def brighter(x: Tensor) -> Tensor:
    return (x.float() * 1.1).clamp(0, 255).to(torch.uint8)


def whole(x: Tensor, features: Tensor | None = None) -> Kind:
    return Kind.of(x, torch.arange(len(x)), None if features is None else lambda ids: features[ids])


def within(x: Tensor, rows: list[int] | None = None) -> Twins:
    return twins.within(Kind.of(x, torch.arange(len(x)) if rows is None else torch.tensor(rows, dtype=torch.int64)))


def test_a_brighter_copy_is_a_twin_and_no_other_picture_is() -> None:
    x = pictures(30)
    x[17] = brighter(x[4][None])[0]
    found = within(x)
    assert (found.pairs, found.pictures, found.looked) == (((4, 17),), 2, 30)


def test_rows_are_named_as_they_were_given() -> None:
    x = pictures(30)
    x[29] = x[8]
    assert within(x, [3, 8, 20, 29]).pairs == ((8, 29),)
    assert within(x, [3, 8, 20]).pairs == ()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, test = pictures(23), pictures(9, seed=1)
    x[11], x[22], test[7] = x[3], x[12], x[20]
    monkeypatch.setattr(twins, "BLOCK", 4)
    assert set(within(x).pairs) == {(3, 11), (12, 22)}
    assert twins.between(whole(x), whole(test)).pairs == ((20, 7),)


def test_three_of_a_kind_are_three_pictures() -> None:
    x = pictures(10)
    x[5] = x[6] = x[2]
    found = within(x)
    assert (set(found.pairs), found.pictures) == ({(2, 5), (2, 6), (5, 6)}, 3)


def test_test_images_with_a_twin_are_counted_once() -> None:
    x, test = pictures(20), pictures(10, seed=1)
    x[7], test[3] = x[6], brighter(x[6][None])[0]
    found = twins.between(whole(x), whole(test))
    assert found.pictures == 1
    assert {j for _, j in found.pairs} == {3}


def test_features_confirm_what_pixels_alone_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    x = pictures(12)
    x[9] = torch.roll(x[2], 2, 2)  # as of a picture that was cut
    near = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    far = near.clone()
    near[9] = near[2] + 0.01
    cosine = float(twins.tiny(x, torch.tensor([2])) @ twins.tiny(x, torch.tensor([9])).T)
    monkeypatch.setattr(twins, "ALIKE", cosine - 0.01)
    assert cosine < twins.SAME
    assert within(x).pairs == ()
    assert twins.within(whole(x, near)).pairs == ((2, 9),)
    assert twins.within(whole(x, far)).pairs == ()


def test_pictures_of_one_colour_are_like_nothing() -> None:
    assert within(torch.full((4, 1, 20, 20), 7, dtype=torch.uint8)).pairs == ()


def test_of_many_pictures_a_part_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "MOST", 10)
    x = pictures(25)
    found = twins.between(whole(x), whole(x))
    assert found.looked == len(np.arange(25)[::3])
    assert {i for i, _ in found.pairs} == set(range(0, 25, 3))


def test_nothing_is_no_mistake() -> None:
    x = pictures(3)
    assert within(x, []).looked == 0
    assert twins.between(whole(x), whole(x[:0])).pairs == ()
