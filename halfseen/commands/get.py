"""get: the published sets' own files, fetched to where `named.py` finds them."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from halfseen.data.fetch import NotFetchedError, Patience, Wanted, alone, fetch, md5_of, size_of
from halfseen.data.named import default_root, find, get_command
from halfseen.data.published import PUBLISHED, Published
from halfseen.data.sources import MADE
from halfseen.errors import UserError, nearest
from halfseen.machine.progress import PATIENCE, PLAIN_EVERY, clock, stderr

PATIENT = Patience()


def get(
    names: Sequence[str] | str,
    root: Path | None = None,
    *,
    table: Mapping[str, Published] = PUBLISHED,
    patience: Patience = PATIENT,
) -> list[Path]:
    """Fetch what is missing of the named sets below the root (default: as everywhere), each set into its own folder.

    The files of all of them, each with its published md5. A set that cannot be had does not keep the others away.
    """
    names = [names] if isinstance(names, str) else names
    if not names:
        raise UserError(f"say which sets to get: {', '.join(table)}")
    for name in names:
        if name in MADE:
            raise UserError(f"{name} needs no files, so there is nothing to get: halfseen train {name}")
        if name not in table:
            raise UserError(f"there is no set {name!r} to get; {nearest(name, table)}")
    root = (root or default_root()).expanduser()
    files: list[Path] = []
    missed: list[NotFetchedError] = []
    for name in dict.fromkeys(names):
        try:
            files += _get(name, table[name], root, patience)
        except NotFetchedError as error:
            missed.append(error)
            if error.offline:
                break
    if missed:
        raise UserError(" ".join(str(error) for error in missed))
    return files


def _get(name: str, known: Published, root: Path, patience: Patience) -> list[Path]:
    folder = root / name
    bar = _Bar()
    if there := _there(name, known, root):
        bar.say(f"{name}: already in {there[0].parent}, as published")
        return there
    way = known.files[known.fetched]
    with alone(folder, bar):
        for file, md5 in way:
            path = folder / file
            if path.is_file() and md5_of(path) == md5:
                continue  # it was there, or another process has fetched it meanwhile
            wanted = Wanted(path, md5, tuple(address + file for address in known.addresses))
            try:
                with bar.of(f"{name} {file}"):
                    fetch(wanted, patience, bar)
            except KeyboardInterrupt:
                bar.say(
                    f"{file}: {decimal(size_of(wanted.part))} are kept; {get_command(name, root)} goes on from there"
                )
                raise
            except NotFetchedError as error:
                by_hand = f"{get_command(name, root)} tries again, or put it into {folder} yourself (md5 {md5})."
                raise NotFetchedError(f"{error} {by_hand}", error.offline) from error
    paths = [folder / file for file, _ in way]
    bar.say(f"{name}: {decimal(sum(size_of(path) for path in paths))} in {folder}, as published")
    return paths


def _there(name: str, known: Published, root: Path) -> list[Path]:
    """The files that reading the set would take, if they are the published ones; else none. What has no md5 is checked
    when it is read, pixel by pixel."""
    found = find(name, known, root) or []
    right = all(not md5 or md5_of(path) == md5 for path, md5 in found)
    return [path for path, _ in found] if right else []


class _Bar:
    """How far a file has come: a bar on a terminal, a line now and then elsewhere, nothing when it is short."""

    def __init__(self) -> None:
        self.console = stderr()
        self.bar: Progress | None = None

    def of(self, doing: str) -> Self:
        self.doing = doing
        return self

    def __enter__(self) -> Self:
        self.next = time.monotonic() + PATIENCE
        self.start: tuple[float, int] | None = None
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def at(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if self.start is None or done < self.start[1]:
            self.start = (now, done)
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=done, total=total)
        elif now < self.next:
            return
        elif self.console.is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(bar_width=20), DownloadColumn()
            more = TransferSpeedColumn(), TimeRemainingColumn()
            self.bar = Progress(*columns, *more, console=self.console, transient=True, refresh_per_second=4)
            self.bar.add_task(self.doing, total=total, completed=done)
            self.bar.start()
        else:
            self.next = now + PLAIN_EVERY
            since, from_ = self.start
            speed = (done - from_) / max(now - since, 1e-9)
            end = f" of {decimal(total)}" if total is not None else ""
            left = f", {clock((total - done) / speed)} left" if total is not None and speed else ""
            self.say(f"{self.doing}: {decimal(done)}{end}{left}")

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)
