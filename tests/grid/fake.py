"""Runs that take no time, for what is around them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from halfseen.grid.work import Work


def work_in(place: Path, n: int) -> Work:
    return Work(place / f"fake-8-{n}", {"data": "blobs", "settings": {}}, "fake", 8, n)


def finish(work: Work) -> None:
    work.folder.mkdir(parents=True, exist_ok=True)
    (work.folder / "metrics.json").write_text(json.dumps({"headline": {"test": {"accuracy": 0.5}}}))


def half_way(work: Work, val: float) -> None:
    work.folder.mkdir(parents=True, exist_ok=True)
    (work.folder / "config.json").write_text(json.dumps({"steps": 200}))
    row = {"event": "evaluation", "step": 50, "seconds": 10.0, "predictors": {"net": {"val": {"accuracy": val}}}}
    later = {"step": 100, "stage": "train", "L_s": 0.1, "seconds": 20.0}
    (work.folder / "log.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(later)}\n" + '{"step": 1')


class Fake:
    """Does to each run what it is told, at once."""

    def __init__(self, room: int, does: Callable[[Work], str]) -> None:
        self.room, self.does = room, does
        self.begun: list[list[Work]] = []
        self.stopped = False

    def start(self, works: Sequence[Work]) -> None:
        self.begun.append(list(works))

    def ended(self) -> list[tuple[Work, str]]:
        return [(work, self.does(work)) for work in self.begun[-1]] if self.begun else []

    def stop(self) -> None:
        self.stopped = True
