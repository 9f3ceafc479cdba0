"""The sums that steps leave on the device: means over steps, names shared by updates, terms that stopped being finite."""

import math

import pytest
import torch

from halfseen.method import Losses, Unlabelled
from halfseen.training.tally import Tally


def losses(**terms: float) -> Losses:
    return Losses({name: torch.tensor(value) for name, value in terms.items()})


def test_a_name_that_two_updates_of_a_step_share_is_one_mean() -> None:
    tally = Tally()
    for step in range(3):
        tally.add_losses(losses(L_s=1.0, L_u=10.0), step)
        tally.add_losses(losses(L_s=4.0), step)
    assert tally.read() == ({"L_s": 2.5, "L_u": 10.0}, None)


def test_numbers_of_all_kinds_are_averaged_together() -> None:
    tally = Tally()
    stats = {"count": torch.tensor(3), "any": torch.tensor(True), "wide": torch.tensor(0.1, dtype=torch.float64)}
    tally.add_losses(Losses({"L": torch.tensor(2.0, requires_grad=True)}, stats), 0)
    means, _ = tally.read()
    assert means == pytest.approx({"L": 2.0, "count": 3.0, "any": 1.0, "wide": 0.1})


def test_the_first_step_that_was_not_finite_is_remembered() -> None:
    tally = Tally()
    for step, value in enumerate([1.0, 1.0, math.nan, 1.0, math.inf]):
        tally.add_losses(losses(a=value if step > 2 else 1.0, b=value), step)
        assert tally.spoiled == (step >= 2)
    assert tally.read()[1] == ("b", 2)
    assert not tally.spoiled


def test_what_cannot_be_scored_has_no_mean() -> None:
    tally = Tally()
    kept = torch.tensor([True, False])
    tally.add_scores(Unlabelled(torch.zeros(2, 3), torch.eye(3)[:2], kept), torch.tensor([-1, 1]))
    assert tally.read() == (
        {"mask_rate": 0.5, "rarest": 0.0, "rarest_class": 2.0},
        None,
    )  # the kept image's label is known to nobody


def test_a_state_is_not_changed_by_what_follows() -> None:
    tally, other = Tally(), Tally()
    tally.add_losses(losses(a=1.0), 0)
    state = tally.state()
    tally.add_losses(losses(a=5.0), 1)
    other.load(state, torch.device("cpu"))
    assert other.read() == ({"a": 1.0}, None)
    assert tally.read() == ({"a": 3.0}, None)
