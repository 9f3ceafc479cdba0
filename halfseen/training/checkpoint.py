"""All that decides what comes next, in one file that is whole or not there."""

from pathlib import Path
from typing import Any

import torch

from halfseen.errors import UserError
from halfseen.machine.files import write_whole

ZIP = b"PK\x03\x04"  # what a file of torch begins with


def save(path: Path, state: dict[str, Any]) -> None:
    """One file with everything in `state`: tensors, numbers, strings, lists and dicts."""
    try:
        write_whole(path, lambda f: torch.save(state, f))
    except (OSError, RuntimeError) as e:
        raise UserError(
            f"the checkpoint {path} could not be written ({_system_says(e)}); free some space and add --resume"
        ) from e


def _system_says(e: BaseException) -> str:
    """The system's own words; torch hides a full disk behind an error of its archive writer."""
    at: BaseException | None = e
    while at is not None:
        if isinstance(at, OSError) and at.strerror:
            return at.strerror
        at = at.__cause__ or at.__context__
    return str(e).split("\n")[0] or type(e).__name__


def load(path: Path) -> dict[str, Any]:
    """What `save` wrote; only tensors and plain values are accepted, never code."""
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}; start the run without --resume")
    try:
        with open(path, "rb") as f:
            if f.read(len(ZIP)) != ZIP:  # torch would try its older formats, whose readers trust every length
                raise ValueError("no archive")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch's readers raise almost anything
        raise UserError(f"the checkpoint {path} is damaged and cannot be read; start again in another folder") from e
    if not isinstance(state, dict):
        raise UserError(f"{path} is no checkpoint of halfseen; name a file that a run wrote")
    return state
