"""A run that was begun, and a model that was saved, by an earlier version of the code go on and load."""

import json
import shutil
from pathlib import Path

import pytest

import halfseen
from tests.kept import HERE, end_of, probabilities_of

EXPECTED = json.loads((HERE / "expected.json").read_text())


def test_a_run_begun_earlier_goes_on_to_the_same_end(tmp_path: Path) -> None:
    shutil.copytree(HERE / "begun", tmp_path / "run")
    halfseen.train(out=tmp_path / "run", resume=True, quiet=True)
    end = end_of(tmp_path / "run")
    found = {name: end[name] for name in EXPECTED["log"]}  # more is logged now
    assert found == pytest.approx(EXPECTED["log"], rel=1e-2, abs=1e-3)  # processors differ


def test_a_model_saved_earlier_loads() -> None:
    found = probabilities_of(HERE / "model")
    for now, then in zip(found, EXPECTED["probabilities"], strict=True):
        assert now == pytest.approx(then, rel=1e-3, abs=1e-5)
