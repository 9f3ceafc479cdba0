"""Files that are whole or not there: each is written beside its place, flushed to disk, then renamed onto it."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import torch

from halfseen.errors import UserError

ZIP = b"PK\x03\x04"  # what a file of torch begins with


def write_bytes(path: Path, payload: bytes) -> None:
    """Write, fsync, rename; so that a reader, or a crash, never meets half a file."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as f:
            f.write(payload)
            f.flush()
            os.fsync(f.fileno())
        os.replace(beside, path)
    except OSError as e:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise UserError(
            f"{path} could not be written ({e.strerror or e}); free some space or choose another --out"
        ) from e
    with contextlib.suppress(OSError):  # some systems cannot flush a folder; the file itself is whole
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: Path, thing: Any) -> None:
    write_bytes(path, (json.dumps(thing, indent=1) + "\n").encode())


def save(path: Path, state: dict[str, Any]) -> None:
    """One file with everything in `state`: tensors, numbers, strings, lists and dicts."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as f:
            torch.save(state, f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(beside, path)
    except (OSError, RuntimeError) as e:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
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
