"""Files: written whole or not at all (beside their place, flushed, then renamed onto it); and a user's Python files."""

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import IO, Any, cast

from halfseen.errors import UserError, nearest


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write, fsync, rename; so that a reader, or a crash, never meets half a file. What the system refuses is raised."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as f:
            write(f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # some systems cannot flush a folder; the file itself is whole
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_bytes(path: Path, payload: bytes) -> None:
    try:
        write_whole(path, lambda f: f.write(payload))
    except OSError as e:
        raise UserError(
            f"{path} could not be written ({e.strerror or e}); free some space or choose another --out"
        ) from e


def write_json(path: Path, thing: Any) -> None:
    write_bytes(path, (json.dumps(thing, indent=1) + "\n").encode())


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """One process at a time, the others wait; False where there are no locks (Windows, some network disks)."""
    with open(path, "w") as lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        except (ImportError, OSError):
            yield False
        else:
            yield True


def import_file(path: Path, prefix: str) -> ModuleType:
    """A user's Python file as a module; what goes wrong in it is raised as it is."""
    name = f"{prefix}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def callable_in(name: str, what: str) -> Callable[..., Any]:
    """The function or class that "FILE.py:factory" names; `what` it makes is for the sentences."""
    path, _, attribute = name.rpartition(":")
    if not path or not attribute or not path.endswith(".py"):
        raise UserError(f"say which function of {name.rstrip(':')} makes the {what}: {name.rstrip(':')}:factory")
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"there is no file {path}: the {what} {name!r} cannot be loaded")
    try:
        module = import_file(file, f"halfseen_user_{what}")
    except Exception as error:
        raise UserError(f"{path} fails when it is imported: {type(error).__name__}: {error}") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        here = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        end = nearest(attribute, here) if here else "it defines no function or class"
        raise UserError(f"{path} has no function or class {attribute!r}: {end}")
    return cast(Callable[..., Any], factory)
