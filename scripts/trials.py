"""Rows of a file of results/, one JSON object a line: what is in it is not made again; and the runs that rows are of."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from halfseen.commands import train
from halfseen.settings import Settings

Row = dict[str, Any]


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def has(rows: Sequence[Row], about: Mapping[str, Any]) -> bool:
    return any(about.items() <= row.items() for row in rows)


def keep(path: Path, rows: list[Row], row: Row) -> None:
    """Add it to the file and to the rows, and say it."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)
    rows.append(row)


def trained(data: Any, method: str, keys: str, common: Settings, **changes: Any) -> tuple[Row, Row]:
    """Metrics and probabilities of a run with a recipe's common settings and these changes; its folder goes again."""
    own = tuple(f"method.{key}" for key in keys.split(",") if key)
    settings = replace(
        common, method=method, overrides=(*common.overrides, *own), root=Path("data"), report=False, quiet=True
    )
    folder = Path(tempfile.mkdtemp()) / "run"
    try:
        metrics = train.run(data, replace(settings, **changes), folder, resume=False).metrics
        with np.load(folder / "outputs.npz") as outputs:
            return metrics, dict(outputs)
    finally:
        shutil.rmtree(folder.parent)
