"""labels.csv while somebody labels: written whole after every answer, and read again when another program changed it.

Beside path and label it has a column `halfseen`: `random` (drawn to be scored on), `look-alike` (named with others at once),
`none of these` (which training leaves out), `skipped`; the last two have no label. Other columns stay.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from halfseen.data.cache import default_cache_dir
from halfseen.data.folders import TABLE
from halfseen.data.tables import NOTE, can_be_written, cell, columns_of, read_labels, relative, rows_in
from halfseen.errors import UserError, quoted
from halfseen.machine.files import write_bytes

SKIPPED, RANDOM, ALIKE = "skipped", "random", "look-alike"


@dataclass(frozen=True)
class Answer:
    label: str = ""
    note: str = ""


NOTHING = Answer()


class Table:
    """{path: Answer}, in the order of the answers, and the file that holds it. One thread at a time."""

    def __init__(self, folder: Path, by_folders: Mapping[str, str]) -> None:
        """by_folders: labels that the folder has without a table, which the table will hold too."""
        self.file = folder / TABLE
        self.answers: dict[str, Answer] = {path: Answer(label) for path, label in by_folders.items()}
        self.header = ["path", "label", NOTE]
        self.cells: dict[str, list[str]] = {}  # of rows that were read, with columns of others
        self.at = (0, 1, 2)
        self.stamp: tuple[int, int, int] | None = None
        if self.file.is_file():
            self.read()

    def read(self) -> None:
        stamp = self.stamped()
        labels = read_labels(self.file)
        header, rows = rows_in(self.file)
        path_at, label_at, note_at = columns_of(header, self.file)
        if note_at is None:
            note_at = len(header)
            header = [*header, NOTE]
        answers = {path: Answer(label) for path, label in labels.items()}
        self.cells = {}
        for line, row in rows:
            if not any(text.strip() for text in row):
                continue
            path = relative(row[path_at].strip(), f"{self.file}, line {line}", self.file.parent)
            self.cells[path] = row
            note = row[note_at].strip() if note_at < len(row) else ""
            answers[path] = Answer(labels[path], note)
        self.answers, self.header, self.at, self.stamp = answers, header, (path_at, label_at, note_at), stamp

    def stamped(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self.file)
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def refresh(self) -> None:
        """What another program wrote meanwhile is not overwritten."""
        if self.stamped() != self.stamp and self.file.is_file():
            self.read()

    def of(self, path: str) -> Answer:
        return self.answers.get(path, NOTHING)

    def put(self, given: Mapping[str, Answer]) -> None:
        """All of these, in the file when it returns, or none. NOTHING takes an answer back."""
        for path in given:
            if not can_be_written(path):
                raise UserError(f"no table can name the file {quoted(path)}: rename it")
        before = self.answers
        answers = {path: answer for path, answer in before.items() if path not in given}
        answers |= {path: answer for path, answer in given.items() if answer != NOTHING or path in self.cells}
        self.answers = answers
        try:
            self.write()
        except BaseException:
            self.answers = before
            raise

    def write(self) -> None:
        if not self.answers:  # all were taken back: a table without rows says nothing, and `train` would refuse it
            self.file.unlink(missing_ok=True)
            self.stamp = None
            return
        width = len(self.header)
        path_at, label_at, note_at = self.at
        lines = [",".join(cell(text) for text in self.header) + "\n"]
        for path, answer in self.answers.items():
            row = (self.cells.get(path, []) + [""] * width)[:width]
            row[path_at], row[label_at], row[note_at] = path, answer.label, answer.note
            lines.append(",".join(cell(text) for text in row) + "\n")
        write_bytes(self.file, "".join(lines).encode())
        self.stamp = self.stamped()


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Two programs that each write the whole table would undo each other's answers."""
    import hashlib

    key = hashlib.sha256(str(folder.resolve()).encode(errors="surrogateescape")).hexdigest()[:16]
    home = default_cache_dir()
    home.mkdir(parents=True, exist_ok=True)
    with open(home / f"labelling-{key}.lock", "w") as lock:
        if not held(lock):
            raise UserError(f"{folder} is being labelled by another `halfseen label`: use its page, or stop it first")
        yield


def held(lock: IO[str]) -> bool:
    """False where another process holds it; True also where there are no locks."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
