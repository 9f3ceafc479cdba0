"""What is kept of a table's runs, small enough to be committed: metrics, what made them, and curves where asked for.

    PLACE/results.json        the table
    PLACE/ROW-LABELS-DRAW.json  metrics.json of each run
    PLACE/runs.json           data, settings, versions and machine of each, by which a kept run is known again
    PLACE/CURVES.json, .svg   test accuracy at every evaluation, of runs with --test-curve

A run's other files (weights, log, probabilities) stay where they are.
"""

import html
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from halfseen.errors import UserError
from halfseen.grid.work import Work
from halfseen.machine.files import write_bytes, write_json
from halfseen.run.folder import Folder
from halfseen.settings import MAY_CHANGE, Settings

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56606a", "#b8860b")  # told apart by the colour-blind too
OLDER = Settings(backbone="none").as_json()  # what a setting was before there was one
UNTOLD = (*MAY_CHANGE, "device")  # what the kept settings of a run may differ in from those asked for


def keep_table(runs: Path, place: Path, curves: bool = False) -> int:
    """All finished runs of a comparison, and its table; returns how many runs."""
    if not (runs / "results.json").is_file():
        raise UserError(f"{runs} has no results.json; name the folder that compare or reproduce was given as --out")
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(runs / "results.json", place / "results.json")
    found = sorted(metrics.parent for metrics in runs.glob("*/metrics.json"))
    for run in found:
        keep_run(run, place)
    if curves:
        drawn = {run.name: curve(Folder(run)) for run in found}
        write_json(place / "CURVES.json", drawn)
        write_bytes(place / "CURVES.svg", picture({name: rows for name, rows in drawn.items() if rows}).encode())
    return len(found)


def keep_run(run: Path, place: Path) -> None:
    """The metrics of a finished run and what made them."""
    folder = Folder(run)
    config, made_by = folder.read("config.json"), folder.read("environment.json")
    write_json(place / f"{run.name}.json", folder.read("metrics.json"))
    known = known_runs(place)
    known[run.name] = {"data": config["data"], "settings": config["settings"], "environment": made_by}
    write_json(place / "runs.json", dict(sorted(known.items())))


def known_runs(place: Path) -> dict[str, Any]:
    path = place / "runs.json"
    if not path.is_file():
        return {}
    found: dict[str, Any] = Folder(place).read("runs.json")
    return found


def kept_metrics(work: Work, place: Path, known: Mapping[str, Any]) -> dict[str, Any] | None:
    """Of a run that was kept, if it was of the same data with the same settings; `known` is what runs.json holds."""
    told, path = known.get(work.folder.name), place / f"{work.folder.name}.json"
    if told is None or not path.is_file() or told["data"] != work.order["data"]:
        return None
    asked = json.loads(json.dumps(work.order["settings"]))  # lists, as in the file
    then = OLDER | told["settings"]
    if any(then.get(k) != v for k, v in asked.items() if k not in UNTOLD):
        return None
    found: dict[str, Any] = Folder(place).read(path.name)
    return found


def curve(folder: Folder) -> list[dict[str, float]]:
    """Test accuracy of the predictors at every evaluation."""
    return [
        {"step": row["step"]} | {name: parts["test"]["accuracy"] for name, parts in row["predictors"].items()}
        for row in folder.rows()
        if any("test" in parts for parts in row.get("predictors", {}).values())
    ]


def picture(found: Mapping[str, list[dict[str, float]]]) -> str:
    """Test accuracy (of the first predictor) over the steps: a line for each run."""
    last = max((row["step"] for rows in found.values() for row in rows), default=1)
    drawn = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 360" font-family="sans-serif" font-size="12">']
    drawn.append('<rect width="640" height="360" fill="white"/>')
    for tenth in range(0, 11, 2):
        y = 320 - 30 * tenth
        drawn.append(
            f'<path d="M50 {y}H450" stroke="#ddd"/><text x="44" y="{y + 4}" text-anchor="end">{10 * tenth}%</text>'
        )
    drawn.append(f'<text x="50" y="340">step 0</text><text x="450" y="340" text-anchor="end">{last:g}</text>')
    for i, (name, rows) in enumerate(found.items()):
        places = [(50 + 400 * row["step"] / last, 320 - 300 * list(row.values())[1]) for row in rows]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        colour = COLOURS[i % len(COLOURS)]
        label = html.escape(name.removesuffix("-all-0").replace("_", " "))
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn.append(f'<text x="460" y="{40 + 20 * i}" fill="{colour}">{label}</text>')
    return "\n".join([*drawn, "</svg>"]) + "\n"
