"""The run folder: everything that a sceptic needs to believe a number, and all that a resumed run needs to go on.

config.json        every setting, as resolved     environment.json   versions, machine, git revision, command
split.json         ids of the labelled, unlabelled and validation images
log.jsonl          a line every --log-every steps and a line for every evaluation
metrics.json       last, averaged and best-on-validation scores, apart
method.py          a copy of the method's source  checkpoints/       last.pt, best.pt
model/             the exported model: weights (safetensors) and how to use them (json)
whitening.npz      of a run with --zca: its mean and matrix
outputs.npz        probabilities on the test and the unlabelled images
"""

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from halfseen.data.arrays import read_npz
from halfseen.errors import UserError, quoted
from halfseen.machine.files import write_bytes, write_json

WHITENING_FILE = "whitening.npz"


class Folder:
    """One run's files. Making one never touches a folder that already holds something."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def vacant(cls, path: Path) -> None:
        """A sentence if a run could not be made here; nothing is touched."""
        try:
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise UserError(f"{path} exists already; choose another --out, or add --resume to go on with that run")
            above = next(p for p in (path, *path.parents) if p.exists())
        except OSError as e:
            raise UserError(
                f"the folder {quoted(str(path))} cannot be made ({e.strerror}); choose another --out"
            ) from e
        if not above.is_dir():
            raise UserError(f"the folder {path} cannot be made ({above} is a file); choose another --out")
        if not os.access(above, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise UserError(f"the folder {path} cannot be made ({above} may not be written to); choose another --out")

    @classmethod
    def create(cls, path: Path) -> "Folder":
        cls.vacant(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise UserError(f"the folder {path} cannot be made ({e.strerror}); choose another --out") from e
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "Folder":
        if not (path / "config.json").is_file():
            raise UserError(f"{path} is not the folder of a run: it has no config.json; name what --out named")
        return cls(path)

    def read(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_text())
        except FileNotFoundError:
            if name == "metrics.json":
                raise UserError(f"{self.path} has no {name}: the run has not finished; go on with --resume") from None
            raise UserError(f"{self.path} has no {name}; restore the file, or start again in another folder") from None
        except OSError as e:
            raise UserError(f"{self.path / name} could not be read ({e.strerror}); check its permissions") from e
        except (ValueError, RecursionError) as e:  # no JSON, or no text
            where = f" (line {e.lineno})" if isinstance(e, json.JSONDecodeError) else ""
            raise UserError(f"{self.path / name} is damaged{where}; restore the file or run again") from e

    def write(self, name: str, thing: Any) -> None:
        write_json(self.path / name, thing)

    def read_arrays(self, name: str, how_to_mend: str) -> dict[str, np.ndarray[Any, Any]]:
        try:
            return read_npz(self.path / name)
        except UserError as e:
            raise UserError(f"{self.path / name} is missing or damaged; {how_to_mend}") from e

    def write_arrays(self, name: str, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
        import io

        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy types **kwds as its own flag
        write_bytes(self.path / name, buffer.getvalue())

    def copy_source(self, source: Path) -> None:
        write_bytes(self.path / "method.py", source.read_bytes())

    def abandon(self) -> None:
        """Remove what `describe` wrote of a run that cannot begin, so that the same command can be given again."""
        for name in ("config.json", "method.py", "split.json", "environment.json", WHITENING_FILE):
            (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()

    @property
    def finished(self) -> bool:
        return (self.path / "metrics.json").is_file()

    def append(self, row: dict[str, Any]) -> None:
        path = self.path / "log.jsonl"
        try:
            with open(path, "a") as f:
                f.write(json.dumps(row) + "\n")
        except OSError as e:
            raise UserError(f"{path} could not be written ({e.strerror or e}); free some space and add --resume") from e

    def rows(self) -> list[dict[str, Any]]:
        path = self.path / "log.jsonl"
        found = []
        for line in path.read_text(errors="replace").splitlines() if path.is_file() else []:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):  # a kill in the middle of a line; what follows is written again
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                found.append(row)
        return found

    def forget_after(self, step: int) -> None:
        """Drop the lines later than a checkpoint, so that a resumed log reads as an uninterrupted one."""
        kept = [row for row in self.rows() if row["step"] <= step]
        write_bytes(self.path / "log.jsonl", "".join(json.dumps(r) + "\n" for r in kept).encode())


def fresh_place(under: Path, data: str, method: str) -> Path:
    """A folder that is not there yet, named after the data, the method and the hour."""
    stem = f"{Path(data).stem}-{Path(method).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, n = under / stem, 2
    while path.exists():
        path, n = under / f"{stem}-{n}", n + 1
    return path
