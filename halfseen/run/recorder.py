"""Who hears what the trainer reports: the progress display, log.jsonl, and TensorBoard where it was asked for."""

import importlib.util
from typing import Any

from halfseen.errors import UserError
from halfseen.machine import distributed
from halfseen.machine.progress import Display
from halfseen.run.folder import Folder
from halfseen.training.trainer import Watcher


class Recorder:
    """The watcher of a run with a folder; without one (a scratch run) only the display hears of it."""

    def __init__(self, display: Display, folder: Folder | None, tensorboard: bool = False) -> None:
        self.display = display
        self.folder = folder if distributed.rank() == 0 else None
        self.writer: Any = None
        if tensorboard and self.folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.folder.path / "tensorboard"))

    def logged(self, row: dict[str, Any]) -> None:
        self.display.logged(row)
        if self.folder is not None:
            self.folder.append(row)
        self.events(row["step"], row)

    def evaluated(self, row: dict[str, Any]) -> None:
        self.display.evaluated(row)
        if self.folder is not None:
            self.folder.append({"event": "evaluation", **row})
        for predictor, parts in row["predictors"].items():
            for part, scores in parts.items():
                self.events(row["step"], {f"{part}/{predictor}/{k}": v for k, v in scores.items()})

    def at(self, step: int, steps: int, stage: str) -> None:
        self.display.at(step, steps, stage)

    def events(self, step: int, numbers: dict[str, Any]) -> None:
        """The same numbers for TensorBoard."""
        if self.writer is not None:
            for key, value in numbers.items():
                if isinstance(value, float):
                    self.writer.add_scalar(key, value, step)
            self.writer.flush()


def need_tensorboard() -> None:
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError("--tensorboard needs its extra; run pip install 'halfseen[tensorboard]'")


class Everyone:
    """Several watchers, told in turn."""

    def __init__(self, *watchers: Watcher) -> None:
        self.watchers = watchers

    def logged(self, row: dict[str, Any]) -> None:
        for watcher in self.watchers:
            watcher.logged(row)

    def evaluated(self, row: dict[str, Any]) -> None:
        for watcher in self.watchers:
            watcher.evaluated(row)

    def at(self, step: int, steps: int, stage: str) -> None:
        for watcher in self.watchers:
            watcher.at(step, steps, stage)
