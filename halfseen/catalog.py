"""Methods by name or file: `load("fixmatch")` imports halfseen/methods/fixmatch.py, `load("mine.py")` any other file."""

import importlib
import importlib.util
import inspect
import sys
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import halfseen.methods
from halfseen.errors import UserError, nearest
from halfseen.method import Method

FOLDER = Path(halfseen.methods.__file__).parent


@dataclass(frozen=True)
class Entry:
    """A method's file: its Config, its one Method, its text."""

    name: str
    config: type[Any]
    method: type[Method[Any]]
    source: Path

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
    return Entry(Path(name).stem, config, found[0], Path(str(module.__file__)))


def _from_package(name: str) -> ModuleType:
    stem = name.replace("-", "_")
    if stem not in names():
        raise UserError(f"there is no method {name!r}; {nearest(name, names())}")
    return importlib.import_module(f"halfseen.methods.{stem}")


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(
            f"there is no file {path}; name a Python file with a Config and a Method, or one of `halfseen list`"
        )
    name = f"halfseen_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as e:
        del sys.modules[name]
        raise UserError(f"{path} cannot be imported: {type(e).__name__}: {e}; mend the file") from e
    return module
