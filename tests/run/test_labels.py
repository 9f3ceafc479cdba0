"""What is counted as unlabelled, and what stands beside a run that was told of uneven labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import halfseen
from halfseen.probes import probe
from halfseen.run.beside import config_of
from tests.run.test_session import QUICK, arrays
from tests.run.test_uneven import SHORT, tail


@pytest.mark.parametrize("method", ["fixmatch", "pseudo_label"])
def test_labelled_images_are_not_counted_as_unlabelled_too(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether the method uses them without their labels, as FixMatch does, or not."""
    data = arrays(60)
    hidden = len(data["y"]) - 60
    found = halfseen.train(
        data, out=tmp_path / "r", method=method, val="none", **{**QUICK, "steps": 1, "quiet": False, "report": True}
    )
    said = capsys.readouterr().err
    assert f"60 labelled, {hidden} unlabelled, 0 validation images of 10 classes" in said
    assert found.metrics["images"] == {"labelled": 60, "unlabelled": hidden, "validation": 0}
    assert f"60 labelled, {hidden:,} unlabelled, 0 validation" in (tmp_path / "r" / "report.html").read_text()


@pytest.mark.parametrize("given", [{}, {"class_weight": "balanced"}, {"logit_adjust": 1.0}])
def test_the_labels_alone_are_told_as_the_run_was(given: dict[str, Any], tmp_path: Path) -> None:
    """Weighed and adjusted alike, or the verdict would compare two things at once."""
    data = tail()
    told = halfseen.train(data, out=tmp_path / "a", method="supervised", **given, **SHORT).metrics["probes"]["probe"]
    x, y, shown = data["x"], data["y"], data["y"] >= 0
    cfg = probe.Config(balanced="class_weight" in given)
    p = probe.fit(x[shown], y[shown], x, cfg, classes=3).predict_proba(data["test_x"])
    p = p / (np.array([30, 6, 3]) / 39) ** given.get("logit_adjust", 0.0)
    assert told["test"] == pytest.approx((p.argmax(1) == data["test_y"]).mean())


def test_nearest_means_are_left_as_they_are() -> None:
    assert config_of("probe", True).balanced
    assert not config_of("probe", False).balanced
    assert config_of("prototype", True) == config_of("prototype", False)


@pytest.mark.parametrize("method", ["fixmatch", "supervised"])
def test_the_pool_is_scored_by_class_too(method: str, tmp_path: Path) -> None:
    data = tail()
    data["y"] = np.repeat(np.arange(3), 50)
    found = halfseen.train(data, out=tmp_path / "a", method=method, labels_per_class=5, **SHORT).metrics["unlabelled"]
    assert found["balanced_accuracy"] == pytest.approx(found["accuracy"])  # as many of each class
