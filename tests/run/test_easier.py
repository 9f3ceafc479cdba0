"""--minutes that are too few: what is taken instead, when, and what is said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import halfseen
from halfseen.run import budget, easier
from halfseen.run.easier import TooSlowError, need_enough
from halfseen.settings import Settings
from tests.run.test_start import photos

__all__ = ["photos"]  # a fixture

SLOW = Settings(method="fixmatch", backbone="none", minutes=8)
SHAPE = (3, 100, 100)


@pytest.mark.parametrize(
    ("steps", "changes", "shape", "taken"),
    [
        (79, {}, SHAPE, {"net": "small"}),
        (79, {"net": "small"}, SHAPE, {"size": easier.SIDE}),
        (79, {"net": "resnet18"}, SHAPE, {"size": easier.SIDE}),  # it was asked for, and stays
        (79, {"net": "resnet18", "size": 100}, SHAPE, None),
        (79, {}, (1, 28, 28), None),  # small already
        (79, {}, (20,), None),
        (79, {"minutes": None, "steps": 79}, SHAPE, None),
        (easier.FEW_STEPS, {}, SHAPE, None),
    ],
)
def test_what_is_taken_instead(steps: int, changes: dict[str, Any], shape: tuple[int, ...], taken: Any) -> None:
    asked = replace(SLOW, **changes)
    if taken is None:
        need_enough(steps, asked, shape)
        return
    with pytest.raises(TooSlowError, match=f"{steps} steps of .* fit into 8 minutes") as caught:
        need_enough(steps, asked, shape)
    assert caught.value.settings == replace(asked, **taken)


def test_a_run_begins_again_with_something_easier(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = iter((5, 7))
    monkeypatch.setattr(budget, "steps_that_fit", lambda seconds, scratch: next(steps))
    monkeypatch.setattr(easier, "FEW_STEPS", 6)
    made = halfseen.train(
        photos,
        method="supervised",
        backbone="none",
        labels_per_class=3,
        minutes=0.1,
        batch=4,
        out=tmp_path / "r",
        report=False,
    )
    assert "5 steps of resnet18 at 60 px fit into 0.1 minutes" in capsys.readouterr().err
    assert made.metrics["net"] == "small"
    assert made.metrics["steps"] == 7
