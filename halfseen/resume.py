"""What a resumed run takes over from its folder, and what it refuses to change."""

import dataclasses
import shlex
import typing
from pathlib import Path
from typing import Any

from halfseen.config import check
from halfseen.data import ImageSet
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


def need_data(folder: Folder, data: Any) -> None:
    """A run on what a Python program had in hand goes on only with the same."""
    if data is None or isinstance(data, str | Path):
        raise UserError(
            f"{folder.path} was trained on data from a Python program, which are in no file: give them again, "
            f"{how_to_go_on(folder, from_python=True)}"
        )


def need_same(folder: Folder, images: ImageSet, name: str) -> None:
    """The images and labels must be those that the run began with."""
    if folder.read("config.json")["fingerprint"] != images.fingerprint():
        raise UserError(
            f"the images or labels of {name} have changed since {folder.path} began, so it cannot go on; "
            "put them back, or start anew with another --out"
        )


def how_to_go_on(folder: Folder, from_python: bool) -> str:
    """What continues a run."""
    if from_python:
        return f"halfseen.train(<the same data>, out={str(folder.path)!r}, resume=True)"
    return shlex.join(["halfseen", "train", "--out", str(folder.path), "--resume"])
