"""What a resumed run takes over from its folder, and what it refuses to change."""

import dataclasses
import typing
from pathlib import Path
from typing import Any

from halfseen.config import check
from halfseen.errors import UserError
from halfseen.run import Folder
from halfseen.settings import Settings

MAY_CHANGE = ("threads", "save_every", "quiet", "report", "tensorboard", "root")  # without another result


NEEDED = {"data": str, "settings": dict, "steps": int, "passes_per_step": float, "fingerprint": str}


def began_with(folder: Folder) -> tuple[dict[str, Any], Settings]:
    """What config.json says of the beginning, if it says all that a resumed run needs."""
    config = folder.read("config.json")
    try:
        for key, kind in NEEDED.items():
            check(config[key], kind, key)
        settings = Settings.from_json(config["settings"])
        for name, kind in typing.get_type_hints(Settings).items():
            check(getattr(settings, name), kind, name)
    except (KeyError, TypeError, AttributeError, UserError) as e:
        raise UserError(
            f"{folder.path / 'config.json'} is damaged or of another version ({e}); restore the file, or start again in "
            "another folder"
        ) from e
    return config, settings


def resumed(folder: Folder, data: Any, asked: Settings) -> tuple[Any, Settings]:
    """The data and settings that a run began with; what was asked for now must not contradict them."""
    config, began = began_with(folder)
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
