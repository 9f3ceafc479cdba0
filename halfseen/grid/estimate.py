"""How long runs will take: from runs of the same settings that are finished, else from a few measured steps.

What was measured is kept in OUT/costs.json by settings, so that a queue that is started again begins at once.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from halfseen.errors import UserError
from halfseen.grid.work import Work, standing
from halfseen.machine.files import write_json
from halfseen.run.budget import length_of, pace_of
from halfseen.run.session import Session
from halfseen.settings import Settings

UNLIKE = (
    "seed",
    "split_seed",
    "num_labels",
    "quiet",
    "report",
    "root",
    "tensorboard",
)  # what a run's length does not hang on


def alike(work: Work) -> str:
    """A name for all runs that take as long."""
    told = {k: v for k, v in work.order["settings"].items() if k not in UNLIKE}
    return hashlib.sha256(json.dumps([work.order["data"], told], sort_keys=True).encode()).hexdigest()[:16]


def measure(work: Work) -> float:
    """Seconds of the whole run, at the speed of a few steps of a scratch run that is thrown away."""
    settings = dataclasses.replace(Settings.from_json(dict(work.order["settings"])), quiet=True)
    if settings.minutes is not None:
        return 60 * settings.minutes
    session = Session(work.order["data"], settings, None)
    scratch = session.scratch
    assert scratch is not None
    steps, _ = length_of(settings, scratch, session.plan(1), session.passes, session.method.epoch)
    step, judging = pace_of(scratch)
    return steps * step + judging


def estimate(
    works: Sequence[Work],
    done: Mapping[Work, Mapping[str, Any]],
    memory: Path,
    say: Callable[[str], None],
) -> dict[Work, float | None]:
    """Seconds that each unfinished run has left; None where it could not be measured, which is said.

    done: the metrics of the finished runs.
    """
    known: dict[str, float | None] = read(memory)
    for work, metrics in done.items():
        known[alike(work)] = float(metrics["seconds"])
    found: dict[Work, float | None] = {}
    for work in works:
        if work in done:
            continue
        name = alike(work)
        if name not in known:
            try:
                known[name] = round(measure(work), 1)
                write_json(memory, {k: v for k, v in known.items() if v is not None})
            except UserError as e:
                say(f"{work.folder.name} cannot be measured: {e}")
                known[name] = None
        whole, at = known[name], standing(work)
        found[work] = whole if whole is None or not at.steps else whole * (1 - at.step / at.steps)
    return found


def read(memory: Path) -> dict[str, float | None]:
    """What was measured before; a file that is no such thing is measured anew."""
    try:
        told = json.loads(memory.read_text())
        return {str(k): float(v) for k, v in told.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def duration(seconds: float) -> str:
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h"
