"""Suggestions as files to fill in, and filled-in files as labels: a table in the form of labels.csv, or Label Studio's JSON.

Label Studio shows `$image` with <Choices name="choice" toName="image">; its "local files" storage has the folder of pictures
for its document root. What comes back is its export "JSON", or "JSON-MIN".
"""

import json
import re
import urllib.parse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from halfseen.data.folders import images_in
from halfseen.data.tables import can_be_written, cell, read_labels
from halfseen.errors import UserError, quoted
from halfseen.machine.files import write_bytes, write_json
from halfseen.suggest.choose import Suggestion

LOCAL = "/data/local-files/?d="  # where Label Studio finds files of a local storage
UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # what it puts before the names of files that were uploaded to it


def check_out(out: Path) -> None:
    if out.suffix not in (".csv", ".json"):
        raise UserError(f"--out {out}: name a .csv file, in the form of labels.csv, or a .json file, for Label Studio")
    if out.exists():
        raise UserError(f"{out} exists, and somebody may have filled it in; choose another --out, or remove it")


def write_sheet(out: Path, found: Sequence[Suggestion]) -> None:
    if out.suffix == ".json":
        write_json(out, [task(s) for s in found])
        return
    strange = [s.path for s in found if not can_be_written(s.path)]
    if strange:
        raise UserError(f"no table can name the file {quoted(strange[0])}: rename it")
    lines = ["path,label,guess,confidence,why\n"]
    for s in found:
        confidence = "" if s.confidence is None else f"{s.confidence:g}"
        lines.append(",".join([cell(s.path), cell(s.label), cell(s.guess), confidence, cell(s.why)]) + "\n")
    write_bytes(out, "".join(lines).encode())


def task(s: Suggestion) -> dict[str, Any]:
    """One picture as Label Studio imports it; the guess is chosen already, for the person to confirm."""
    made: dict[str, Any] = {"data": {"image": LOCAL + urllib.parse.quote(s.path), "path": s.path, "why": s.why}}
    if s.guess:
        choice = {"from_name": "choice", "to_name": "image", "type": "choices", "value": {"choices": [s.guess]}}
        made["predictions"] = [{"model_version": "halfseen", "score": s.confidence, "result": [choice]}]
    return made


# ---- back ----------------------------------------------------------------------------------------------------------------


def read_sheet(file: Path, folder: Path) -> dict[str, str]:
    """{path below the folder: label} of the pictures that have one."""
    if not file.is_file():
        raise UserError(f"there is no file {file}: name a filled-in table, or an export of Label Studio")
    found = read_tasks(file, folder) if file.suffix == ".json" else read_labels(file, folder)
    named = {path: label for path, label in found.items() if label}
    if not named:
        raise UserError(f"{file} names no picture's label yet: fill in its column label")
    return named


def read_tasks(file: Path, folder: Path) -> dict[str, str]:
    try:
        tasks = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as e:
        raise UserError(f"{file} is no JSON: export the project from Label Studio again, as JSON") from e
    if not isinstance(tasks, list) or not all(isinstance(t, dict) for t in tasks):
        raise UserError(f"{file} is no list of tasks: export the project from Label Studio as JSON or JSON-MIN")
    places = Places(images_in(folder, folder, []))
    labels: dict[str, str] = {}
    for number, one in enumerate(tasks, 1):
        where = f"{file}, task {number}"
        choices = {choice.strip() for choice in choices_of(one, where)} - {""}
        if not choices:
            continue
        path = places.of(one, where, folder)
        choices |= {labels[path]} if path in labels else set()
        if len(choices) > 1:
            raise UserError(
                f"{where}: {quoted(path)} has two labels, {' and '.join(sorted(choices))}: keep the right one"
            )
        labels[path] = choices.pop()
    return labels


def choices_of(one: dict[str, Any], where: str) -> Iterable[str]:
    """All labels that were given to a task, whatever the form of the export."""
    if isinstance(one.get("choice"), str):
        return [one["choice"]]
    found = []
    try:
        for annotation in one.get("annotations") or ():
            if annotation.get("was_cancelled"):
                continue
            for part in annotation["result"]:
                if part.get("type") == "choices":
                    found += [str(choice) for choice in part["value"]["choices"]]
    except (KeyError, TypeError, AttributeError) as e:
        raise UserError(f"{where}: no annotation as Label Studio exports it: export the project as JSON") from e
    return found


class Places:
    """The pictures of a folder, found again by what a task calls them."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = set(paths)
        self.names: dict[str, list[str]] = {}
        for path in paths:
            self.names.setdefault(path.rpartition("/")[2], []).append(path)

    def of(self, one: dict[str, Any], where: str, folder: Path) -> str:
        data = one.get("data", one)
        texts = [data.get(key) for key in ("path", "image")] if isinstance(data, dict) else []
        for text in texts:
            if isinstance(text, str) and (path := self.called(text)):
                return path
        name = next((text for text in texts if isinstance(text, str)), "")
        raise UserError(f"{where}: there is no picture {quoted(name)} in {folder}, or more than one: mend its path")

    def called(self, text: str) -> str | None:
        _, local, rest = text.partition("?d=")
        parts = urllib.parse.unquote(rest if local else text).replace("\\", "/").split("/")
        for start in range(len(parts)):  # a document root above the folder adds to the front
            if (path := "/".join(parts[start:])) in self.paths:
                return path
        same = self.names.get(UPLOADED.sub("", parts[-1]), [])
        return same[0] if len(same) == 1 else None
