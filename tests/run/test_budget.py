"""The budget in network passes: counted where it can be counted by hand."""

from pathlib import Path

import pytest

import halfseen
from halfseen.run.budget import counted, passes_per_step
from tests.toy import make_trainer


@pytest.mark.parametrize(
    ("method", "settings", "expected"),
    [
        ("supervised", {}, 3 * 16),
        ("fixmatch", {}, 3 * (16 + 32) + 32),  # the weak view goes forward only
        ("fixmatch", {"weak_pass": "joint"}, 3 * (16 + 32 + 32)),
        ("mean_teacher", {}, 3 * (16 + 32) + (16 + 32)),
    ],
)
def test_a_step_counts_what_goes_through_the_networks(method: str, settings: dict, expected: int) -> None:
    assert passes_per_step(make_trainer(method, settings=settings)) == expected


def test_counting_leaves_the_network_as_it_was() -> None:
    method = make_trainer("fixmatch").method
    with counted(method):
        pass
    assert "features" not in vars(method.net)


def test_a_budget_in_passes_gives_every_method_its_steps(tmp_path: Path) -> None:
    quick = {"batch": 16, "unlabelled_batch": 32, "num_labels": 20, "report": False, "quiet": True, "passes": 4800}
    steps = {
        m: halfseen.train("blobs", method=m, out=tmp_path / m, **quick).metrics["steps"]
        for m in ("supervised", "fixmatch")
    }
    assert steps == {"supervised": 100, "fixmatch": round(4800 / 176)}
