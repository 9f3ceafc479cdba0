"""Decoded pictures on disk, memory-mapped: decoded once, then there at once, even if they exceed memory."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from halfseen.data import images
from halfseen.data.pool import decode_all
from halfseen.errors import UserError
from halfseen.machine.files import locked

SAMPLE = 256  # pictures that decide on the size when none was asked for
BUILDING = "building-"  # in the name of an entry that is not whole yet
MAX_BAD = 0.10  # share of bad pictures above which the folder is taken for something else than pictures


@dataclass(frozen=True)
class Decoded:
    x: Tensor  # uint8 [M, c, h, w], memory-mapped; the bad files are left out
    kept: tuple[int, ...]  # positions among the files asked for
    bad: tuple[tuple[str, str], ...]  # (path, reason)
    odd: tuple[tuple[str, str], ...]  # of those kept that are unlike the others: (path, why)
    sha256: str  # of all pixels


def default_cache_dir() -> Path:
    named = os.environ.get("HALFSEEN_CACHE")
    try:
        if named:
            return Path(named).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "halfseen"
    except RuntimeError as error:  # in a container that knows no such user
        raise UserError("There is no home folder for decoded images here: set HALFSEEN_CACHE to a folder.") from error


def decode_folder(
    folder: Path,
    paths: Sequence[str],
    *,
    size: tuple[int, int] | None,
    channels: int | None,
    cache_dir: Path | None,
    on_bad_image: Literal["skip", "stop"],
    workers: int | None,
    progress: bool,
) -> Decoded:
    """The pictures at the paths below the folder, from the cache when it holds exactly these files."""
    home = cache_dir or default_cache_dir()
    place = str(folder.resolve())
    settings = f"{images.VERSION}/{size}/{channels}"
    whole = hashlib.sha256()
    for path in paths:
        try:
            found = os.stat(f"{place}/{path}")
            whole.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode(errors="surrogateescape"))
        except OSError:
            whole.update(f"{path}\0gone\n".encode(errors="surrogateescape"))
    # old entries of the same folder and settings are found by the first part of their name, and removed
    series = hashlib.sha256(f"{place}\0{settings}".encode(errors="surrogateescape")).hexdigest()[:16]
    entry = home / f"{series}-{whole.hexdigest()[:32]}"
    try:
        decoded = _current(entry, paths, place)
        if decoded is None:
            with _one_at_a_time(home, series) as alone:
                decoded = _current(entry, paths, place)  # which another process may have made meanwhile
                if decoded is None:
                    _clear(home, series, alone)
                    decoded = _decode(folder, paths, entry, series, size, channels, on_bad_image, workers, progress)
    except OSError as error:
        raise UserError(
            f"The decoded images could not be kept in {home} ({error.strerror or error}): make room there, or set "
            "HALFSEEN_CACHE to a folder with room."
        ) from error
    check_bad(decoded.bad, len(paths), on_bad_image)
    return decoded


def check_bad(bad: Sequence[tuple[str, str]], total: int, on_bad_image: Literal["skip", "stop"]) -> None:
    if not bad:
        return
    path, reason = bad[0]
    if on_bad_image == "stop":
        raise UserError(f"{path}: {reason}: mend or remove it, or choose skip for bad images.")
    if len(bad) > MAX_BAD * total:
        raise UserError(
            f"{len(bad)} of {total} images are bad, more than a tenth; the first is {path}: {reason}. Check the folder."
        )


def _clear(home: Path, series: str, alone: bool) -> None:
    """Remove what older states of the folder left, and, when no other process can be at it, what a kill left."""
    for old in home.glob(f"{series}-*"):
        if alone or not old.name.startswith(f"{series}-{BUILDING}"):
            shutil.rmtree(old, ignore_errors=True)  # a process that has it mapped keeps its pages


def _decode(
    folder: Path,
    paths: Sequence[str],
    entry: Path,
    series: str,
    size: tuple[int, int] | None,
    channels: int | None,
    on_bad_image: Literal["skip", "stop"],
    workers: int | None,
    progress: bool,
) -> Decoded:
    base = str(folder.resolve())
    files = [f"{base}/{path}" for path in paths]
    side, depth = _settle(files, size, channels)
    building = Path(tempfile.mkdtemp(prefix=f"{series}-{BUILDING}", dir=entry.parent))
    try:
        pixels = building / "x.u8"
        while True:
            hopeful = channels is None and depth == 1
            result = decode_all(
                files,
                pixels,
                side,
                depth,
                workers=workers,
                progress=progress,
                stop_at_bad=on_bad_image == "stop",
                stop_at_colour=hopeful,
            )
            if not (result.colour and hopeful):
                break
            depth = 3  # the sample was grey, a later picture is not
        bad = [(paths[i], reason) for i, reason in sorted(result.bad.items())]
        check_bad(bad, len(paths), on_bad_image)
        row = side[0] * side[1] * depth
        _close_gaps(pixels, row, set(result.bad), len(files))
        kept = [i for i in range(len(files)) if i not in result.bad]
        with open(pixels, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        meta = {
            "shape": [len(kept), depth, *side],
            "bad": [[i, reason] for i, reason in sorted(result.bad.items())],
            "odd": [[i, why] for i, why in sorted(images.odd(result.looks).items())],
            "sha256": digest,
        }
        (building / "meta.json").write_text(json.dumps(meta))
        for name in ("x.u8", "meta.json"):
            with open(building / name, "rb") as written:
                os.fsync(written.fileno())
        try:
            os.rename(building, entry)
        except OSError:
            if _load(entry, paths) is None:
                raise
            shutil.rmtree(building, ignore_errors=True)  # where there are no locks, another process was faster
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    stored = _load(entry, paths)
    if stored is None:
        raise OSError(f"{entry} is not what was written there")
    return stored


def _settle(files: Sequence[str], size: tuple[int, int] | None, channels: int | None) -> tuple[tuple[int, int], int]:
    """Size and channels, by the headers of a sample where they were not asked for."""
    if size is not None and channels is not None:
        return size, channels
    heads = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd files: decoding says what matters
        for file in files[:: 1 + len(files) // SAMPLE]:
            with contextlib.suppress(images.BadImageError):
                heads.append(images.header(Path(file)))
    side = size or (images.choose_side([s for s, _ in heads]) if heads else (32, 32))
    return side, channels or (3 if any(colour for _, colour in heads) else 1)


def _close_gaps(pixels: Path, row: int, bad: set[int], total: int) -> None:
    """Remove the rows of bad pictures from the file, in place."""
    if not bad:
        return
    with open(pixels, "r+b") as file:
        target = 0
        for i in range(total):
            if i in bad:
                continue
            if i != target:
                file.seek(i * row)
                block = file.read(row)
                file.seek(target * row)
                file.write(block)
            target += 1
        file.truncate(target * row)


def _current(entry: Path, paths: Sequence[str], place: str) -> Decoded | None:
    """The entry, unless a file can be read now that could not be when it was made, which no size or time tells."""
    found = _load(entry, paths)
    for path, reason in found.bad if found else ():
        if reason.startswith(images.UNREAD) and _readable(f"{place}/{path}"):
            return None
    return found


def _readable(file: str) -> bool:
    return os.access(file, os.R_OK, effective_ids=os.access in os.supports_effective_ids)


def _load(entry: Path, paths: Sequence[str]) -> Decoded | None:
    """None when there is no such entry, or it is damaged: then it is made anew."""
    pixels = entry / "x.u8"
    try:
        meta = json.loads((entry / "meta.json").read_text())
        shape = [int(n) for n in meta["shape"]]
        bad, odd = ({int(i): str(reason) for i, reason in meta[key]} for key in ("bad", "odd"))
        digest = str(meta["sha256"])
        images_kept, channels, height, width = shape
        count = images_kept * channels * height * width
        if min(images_kept, channels - 1, height - 1, width - 1) < 0 or not all(
            0 <= i < len(paths) for i in (*bad, *odd)
        ):
            return None
        if pixels.stat().st_size != count or images_kept + len(bad) != len(paths):
            return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    if count:
        flat = torch.from_file(str(pixels), shared=False, size=count, dtype=torch.uint8)  # mapped, private
    else:
        flat = torch.empty(0, dtype=torch.uint8)
    kept = tuple(i for i in range(len(paths)) if i not in bad)
    of_bad, of_odd = (tuple((paths[i], why) for i, why in sorted(found.items())) for found in (bad, odd))
    return Decoded(flat.view(shape), kept, of_bad, of_odd, digest)


@contextlib.contextmanager
def _one_at_a_time(home: Path, series: str) -> Iterator[bool]:
    """Processes that open the same folder together: one decodes, the others wait for it and then load. True if so."""
    home.mkdir(parents=True, exist_ok=True)  # without locks both decode, and the first to finish is kept
    with locked(home / f"{series}.lock") as alone:
        yield alone
