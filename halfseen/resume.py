"""What a resumed run takes over from its folder, and what it refuses to change."""

import dataclasses
from pathlib import Path
from typing import Any

from halfseen.errors import UserError
from halfseen.run import Folder
from halfseen.settings import Settings

MAY_CHANGE = ("threads", "save_every", "quiet", "report", "tensorboard", "root")  # without another result


def resumed(folder: Folder, data: Any, asked: Settings) -> tuple[Any, Settings]:
    """The data and settings that a run began with; what was asked for now must not contradict them."""
    config = folder.read("config.json")
    began = Settings.from_json(config["settings"])
    if data is None or isinstance(data, str | Path):
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
