"""One run as a process with a folder of its own: what is ordered, how far it has come, and how it ended.

Whether a run is finished is asked of its folder, which all machines see, and never of the process that made it: so what
was finished elsewhere is seen, and a run that was cut short goes on from its last checkpoint, wherever it began.
"""

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TAIL = 8192  # bytes of a log that are read for its last lines
WORDS = 300  # letters of the last line of a failed run that are said


@dataclass(frozen=True)
class Work:
    """A run to do. `order` is what `halfseen.commands.compare` is given in the run's own process."""

    folder: Path
    order: Mapping[str, Any] = field(compare=False)
    method: str = ""  # of the table that shows it
    labels: int | None = None
    draw: int = 0

    @property
    def finished(self) -> bool:
        return (self.folder / "metrics.json").is_file()

    @property
    def log(self) -> Path:
        """What its process says."""
        return self.folder.parent / f"{self.folder.name}.log"

    @property
    def words(self) -> list[str]:
        """The process, as this Python would start it."""
        return [sys.executable, "-m", "halfseen.commands.compare", json.dumps(dict(self.order))]

    def metrics(self) -> dict[str, Any] | None:
        """None where the run has not finished (or its file is being replaced on a slow disk)."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text())
        except (OSError, ValueError):
            return None
        return found

    def last_line(self) -> str:
        lines = tail(self.log).strip().splitlines()
        return lines[-1].removeprefix("halfseen: ")[:WORDS] if lines else "it said nothing"


@dataclass(frozen=True)
class Standing:
    """How far a run has come."""

    step: int = 0
    steps: int = 0
    seconds: float = 0.0  # of training so far
    val: float | None = None  # the best predictor's accuracy on the held-out labels

    @property
    def left(self) -> float | None:
        """Seconds, at the pace so far."""
        return self.seconds / self.step * (self.steps - self.step) if self.step else None


def standing(work: Work) -> Standing:
    """From the last lines of the run's log.jsonl; a run that has not begun stands at 0."""
    try:
        steps = int(json.loads((work.folder / "config.json").read_text())["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return Standing()
    step, seconds, val = 0, 0.0, None
    for line in tail(work.folder / "log.jsonl").splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):  # the first line may be cut
            row = json.loads(line)
            step, seconds = int(row["step"]), float(row["seconds"])
            held = [p["val"]["accuracy"] for p in row.get("predictors", {}).values() if "val" in p]
            val = max(held) if held else val
    return Standing(step, steps, seconds, val)


def tail(path: Path) -> str:
    try:
        with open(path, "rb") as f:
            f.seek(max(0, os.path.getsize(path) - TAIL))
            return f.read().decode(errors="replace")
    except OSError:
        return ""


def score(metrics: Mapping[str, Any]) -> str:
    """The headline of a finished run."""
    part = metrics["headline"].get("test")
    return f"{part['accuracy']:.2%}" if part else "no test images"
