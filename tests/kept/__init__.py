"""What an earlier version of the code has left: a run stopped in its middle, how it would have ended, and its model.

`python -m tests.kept` makes it anew; CONTRIBUTING says when that is allowed.
"""

import json
import shutil
import signal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import halfseen
from halfseen.data import open_data
from halfseen.errors import Stopped
from halfseen.training.trainer import Trainer

HERE = Path(__file__).parent
STOP = 22
SETTINGS: dict[str, Any] = {
    "method": "dnll",
    "steps": 40,
    "labels_per_class": 4,
    "val": "none",
    "batch": 16,
    "unlabelled_batch": 16,
    "threads": 1,
    "report": False,
    "quiet": True,
    "device": "cpu",
    "overrides": ("net.width=4",),
    "weak": "none",
    "strong": "affine",
    "log_every": 5,
    "eval_every": 10,
}


def end_of(run: Path) -> dict[str, float]:
    """The last line of a run's log, without what a clock says."""
    row = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    return {k: v for k, v in row.items() if isinstance(v, float) and k != "seconds"}


def probabilities_of(model: Path) -> list[list[float]]:
    images = open_data("digits", progress=False)
    assert images.test_x is not None
    found: list[list[float]] = halfseen.load(model).probabilities(images.test_x[:5]).tolist()
    return found


def main() -> None:
    for made in ("begun", "model"):
        shutil.rmtree(HERE / made, ignore_errors=True)
    with TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        halfseen.train("digits", out=whole, **SETTINGS)
        shutil.copytree(whole / "model", HERE / "model")
        expected = {"log": end_of(whole), "probabilities": probabilities_of(HERE / "model")}
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    step = Trainer.train_step

    def stopped(self: Trainer, *given: Any) -> None:
        step(self, *given)
        if self.folder is not None and self.step == STOP:
            self.signum = int(signal.SIGINT)

    Trainer.train_step = stopped  # type: ignore[method-assign]
    try:
        halfseen.train("digits", out=HERE / "begun", **SETTINGS)
    except Stopped as e:
        print(e)
