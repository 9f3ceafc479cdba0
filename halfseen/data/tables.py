"""The one place where a table of labels is read: any usual delimiter and encoding, and every mistake in words."""

import csv
import io
import os
from pathlib import Path, PurePosixPath

from halfseen.errors import UserError, quoted

PATH_NAMES = ("path", "file", "filename", "image")
LABEL_NAMES = ("label", "class")
NOTE = "halfseen"  # a column of its own, which may be missing
NONE = "none of these"  # in it: somebody has looked, and the picture is of no class
UNKNOWN = ("", "-1", "-1.0")  # the last is what pandas makes of -1 in a column with gaps
MAX_BYTES = 1 << 30
MOST_NAMES = 9  # columns named in a sentence


def read_labels(table: Path, below: Path | None = None) -> dict[str, str]:
    """{path relative to the table's folder (or `below`), with /: label}, "" where it is empty or -1; the paths exist.

    A path may not lead out of the folder by how it is written, since a table can come from anybody; a link in the folder
    may, since whoever made it owns the folder.
    """
    header, rows = rows_in(table)
    path_at, label_at, _ = columns_of(header, table)
    folder = (below or table.parent).resolve()
    labels: dict[str, str] = {}
    first_line: dict[str, int] = {}
    missing: list[tuple[int, str]] = []
    for line, row in rows:
        if not any(text.strip() for text in row):
            continue
        if len(row) <= path_at:
            raise UserError(f"{table}, line {line}: the row has {len(row)} cells and no path: give path and label.")
        written = row[path_at].strip()
        path = relative(written, f"{table}, line {line}", below or table.parent)
        label = row[label_at].strip() if len(row) > label_at else ""
        label = "" if label in UNKNOWN else label
        if labels.get(path, label) != label:
            raise UserError(
                f"{table} gives {quoted(written)} two labels, {quoted(labels[path])} in line {first_line[path]} and "
                f"{quoted(label)} in line {line}: keep the right one."
            )
        if path not in labels and not os.path.isfile(folder / path):  # Path.is_file raises where a name is too long
            missing.append((line, written))
        labels[path] = label
        first_line.setdefault(path, line)
    if missing:
        line, written = missing[0]
        more = f" (and {len(missing) - 1} more like it)" if len(missing) > 1 else ""
        raise UserError(
            f"{table}, line {line}: there is no file {quoted(written)} in {below or table.parent}{more}: give paths from "
            "there."
        )
    if not labels:
        raise UserError(f"{table} has no rows: write a line path,label for each labelled image.")
    return labels


def of_no_class(table: Path) -> set[str]:
    """Paths as `read_labels` has them of the pictures whose note says so and that have no label."""
    header, rows = rows_in(table)
    path_at, label_at, note_at = columns_of(header, table)
    if note_at is None:
        return set()
    return {
        relative(row[path_at].strip(), f"{table}, line {line}", table.parent)
        for line, row in rows
        if len(row) > max(path_at, label_at, note_at)
        and row[note_at].strip() == NONE
        and row[label_at].strip() in UNKNOWN
    }


def columns_of(header: list[str], table: Path) -> tuple[int, int, int | None]:
    """Where path, label and note stand."""
    names = [text.strip().casefold() for text in header]
    note = names.index(NOTE) if names.count(NOTE) == 1 else None
    return _column(names, PATH_NAMES, table), _column(names, LABEL_NAMES, table), note


def cell(text: str) -> str:
    """RFC 4180. Not csv.writer: with plain line feeds it leaves a carriage return inside a name unquoted."""
    if any(c in text for c in ',"\r\n') or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


def can_be_written(path: str) -> bool:
    """Whether a table can name the file: the rules of `relative` and of text, backwards."""
    whole = path.isprintable() and path == path.strip() and "\\" not in path
    return whole and ":" not in path.split("/")[0]


def rows_in(table: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The cells of the header, and of each further line with its number."""
    text = _text(table)
    first = text.lstrip().split("\n", 1)[0]
    # the delimiter that splits the header line into most cells; a comma when none does
    delimiter = max((",", ";", "\t"), key=lambda d: (first.count(d), d == ","))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for row in reader:
            rows.append((reader.line_num, row))
    except csv.Error as error:
        raise UserError(f"{table}, line {reader.line_num}: not a table ({error}): save it as plain CSV.") from error
    head = next((i for i, (_, row) in enumerate(rows) if any(text.strip() for text in row)), None)
    if head is None:
        raise UserError(f"{table} is empty: write a first line path,label and a line for each labelled image.")
    return rows[head][1], rows[head + 1 :]


def _text(table: Path) -> str:
    try:
        if table.stat().st_size > MAX_BYTES:
            raise UserError(f"{table} is larger than 1 GiB, so it is hardly a table of labels: check the file.")
        raw = table.read_bytes()
    except OSError as error:
        raise UserError(f"{table} could not be read ({error.strerror}): check the file.") from error
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "latin-1"]  # older spreadsheets still write the latter
    for encoding in encodings:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if any(c < " " and c not in "\t\r\n" for c in set(text)):
            break
        return text
    raise UserError(f"{table} is no text in UTF-8, UTF-16 or Latin-1: save it as CSV in UTF-8.")


def _column(names: list[str], wanted: tuple[str, ...], table: Path) -> int:
    for name in wanted:
        if names.count(name) > 1:
            raise UserError(f"{table} has {names.count(name)} columns named {name!r}: rename or remove all but one.")
        if name in names:
            return names.index(name)
    there = ", ".join(quoted(name)[1:-1] for name in names[:MOST_NAMES])
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    raise UserError(f"{table} has no column {wanted[0]!r} but {there}{more}: its first line must be path,label.")


def relative(written: str, where: str, folder: Path) -> str:
    """The path as it stands below the folder; one that leads out of it is refused. where: of the sentence."""
    parts: list[str] = []
    path = PurePosixPath(written.replace("\\", "/"))
    if not written:
        raise UserError(f"{where}: the path is empty: name an image below {folder}.")
    inside = bool(path.parts) and not path.is_absolute() and ":" not in path.parts[0]
    for part in path.parts:
        if part == "..":
            inside = inside and bool(parts)
            del parts[-1:]
        else:
            parts.append(part)
    if not inside or not parts:
        raise UserError(f"{where}: {quoted(written)} is not inside {folder}: move the image there.")
    return "/".join(parts)
