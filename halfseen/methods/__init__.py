"""One file = one paper: `load("fixmatch")` imports fixmatch.py beside this file, `load("mine.py")` any other file."""

import importlib
import inspect
import sys
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from halfseen.errors import UserError, nearest
from halfseen.machine.files import import_file
from halfseen.method import Method
from halfseen.probes import PROBES

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """A method's file: its Config, its one Method, its text."""

    name: str
    config: type[Any]
    method: type[Method[Any]]
    source: Path
    given: str  # what it was asked for by

    @property
    def doc(self) -> str:
        return inspect.cleandoc(sys.modules[self.method.__module__].__doc__ or "")

    @property
    def summary(self) -> str:
        return self.doc.partition("\n")[0]


def names() -> list[str]:
    return sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_"))


def load(name: str) -> Entry:
    """The method of this name, or of this file."""
    module = _from_file(Path(name)) if name.endswith(".py") else _from_package(name)
    found = [
        c
        for c in vars(module).values()
        if inspect.isclass(c)
        and issubclass(c, Method)
        and c.__module__ == module.__name__
        and not inspect.isabstract(c)
    ]
    config = getattr(module, "Config", None)
    if len(found) != 1 or not (inspect.isclass(config) and is_dataclass(config)):
        raise UserError(
            f"{module.__file__} must hold one dataclass Config and one subclass of Method, not {len(found)}"
        )
    bare = [f.name for f in fields(config) if f.default is MISSING and f.default_factory is MISSING]
    if bare:
        raise UserError(f"{module.__file__}: Config.{bare[0]} has no default; give every setting one")
    return Entry(Path(name).stem, config, found[0], Path(str(module.__file__)), name)


def _from_package(name: str) -> ModuleType:
    stem = name.replace("-", "_")
    if stem not in names():
        raise UserError(f"there is no method {name!r}; {nearest(name, (*names(), *PROBES))}")
    return importlib.import_module(f"halfseen.methods.{stem}")


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(
            f"there is no file {path}; name a Python file with a Config and a Method, or one of `halfseen list`"
        )
    try:
        return import_file(path, "halfseen_user")
    except Exception as e:
        raise UserError(f"{path} cannot be imported: {type(e).__name__}: {e}; mend the file") from e
