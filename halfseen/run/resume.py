"""What a resumed run takes over from its folder, and what it refuses to change."""

import dataclasses
from pathlib import Path
from typing import Any

from halfseen.errors import UserError
from halfseen.machine.progress import Display
from halfseen.run.beginning import began_with, need_data
from halfseen.run.folder import Folder
from halfseen.settings import MAY_CHANGE, Settings
from halfseen.training import checkpoint
from halfseen.training.trainer import Trainer


def resumed(folder: Folder, data: Any, asked: Settings) -> tuple[Any, Settings]:
    """The data and settings that a run began with; what was asked for now must not contradict them."""
    config, began = began_with(folder)
    if config.get("from_python"):
        if not folder.finished:
            need_data(folder, data)
    elif data is None or isinstance(data, str | Path):
        if data is not None and str(data) != config["data"]:
            raise UserError(
                f"{folder.path} was trained on {config['data']}, not {data}; leave the data out, or use --out"
            )
        data = config["data"]
    default = Settings()
    for f in dataclasses.fields(Settings):
        now, then = getattr(asked, f.name), getattr(began, f.name)
        if now != then and now != getattr(default, f.name) and f.name not in MAY_CHANGE:
            flag = f.name.replace("_", "-")
            raise UserError(
                f"{folder.path} was started with --{flag} {then}, not {now}; leave it out, or choose another --out"
            )
    changed = {n: getattr(asked, n) for n in MAY_CHANGE if getattr(asked, n) != getattr(default, n)}
    return data, dataclasses.replace(began, **changed)


def load_last(trainer: Trainer, folder: Folder, what: str, display: Display) -> None:
    """The state of the last checkpoint, where the run had come to one."""
    last = folder.path / "checkpoints" / "last.pt"
    if not last.is_file():
        display.say("no checkpoint had been saved yet, so the run starts at its beginning")
        return
    try:
        state = checkpoint.load(last)
    except UserError as e:
        best = last.with_name("best.pt")
        raise UserError(f"{e}, or copy {best.name} over it to go on from there" if best.is_file() else str(e)) from e
    try:
        trainer.load(state)
        if not 0 <= trainer.total <= trainer.total_steps:
            raise ValueError(f"step {trainer.total} of {trainer.total_steps}")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as e:
        raise UserError(
            f"the checkpoint {last} is of another run, not of {what}: put the right "
            "one back, or remove it to start at the beginning"
        ) from e
