"""One file from the first address that has it: resumed after a break, checked by its md5, whole or not there."""

import contextlib
import errno
import hashlib
import json
import os
import queue
import re
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Protocol
from urllib.error import HTTPError, URLError

from rich.filesize import decimal

from halfseen import __version__
from halfseen.errors import UserError

BLOCK = 1 << 18
LARGEST = 1_000_000_000  # bytes; five times the largest published file, so that a server without end fills no disk
UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL)


@dataclass(frozen=True)
class Patience:
    silence: float = 30.0  # seconds without an answer, or without a byte, after which an address is left
    slow: float = 100_000  # bytes a second; below it, another address that was not tried yet comes first
    pause: float = 3.0  # seconds before the addresses are tried again
    rounds: int = 3  # over all addresses, in a row, that brought nothing new


@dataclass(frozen=True)
class Wanted:
    path: Path
    md5: str
    addresses: tuple[str, ...]

    @property
    def part(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part")

    @property
    def origin(self) -> Path:
        """Beside the part: from which address and which state of the file there it comes."""
        return self.path.with_name(f"{self.path.name}.part.json")


class Watcher(Protocol):
    def at(self, done: int, total: int | None) -> None: ...

    def say(self, text: str) -> None: ...


class AddressError(Exception):
    """What an address did instead of sending the file."""

    def __init__(self, did: str, passing: bool = True, offline: bool = False) -> None:
        super().__init__(did)
        self.passing = passing  # it may be otherwise a little later
        self.offline = offline  # as if there were no internet


class NotFetchedError(UserError):
    def __init__(self, sentence: str, offline: bool) -> None:
        super().__init__(sentence)
        self.offline = offline  # no address could be reached at all


def fetch(wanted: Wanted, patience: Patience, watcher: Watcher) -> None:
    """Put the file in its place. What has come stays beside it until the file is whole, and the next call goes on there.

    Every address has the same bytes, since the md5 is known: what one has begun, another may finish.
    """
    with _writing(wanted.path):
        wanted.path.parent.mkdir(parents=True, exist_ok=True)
        if size_of(wanted.part) and _place(wanted):
            return
    did: dict[str, AddressError] = {}
    left = list(wanted.addresses)
    most, fruitless, offline = size_of(wanted.part), 0, False
    while left and fruitless < patience.rounds:
        if did:
            time.sleep(patience.pause)
        for address in tuple(left):
            hurried = any(other not in did for other in left if other != address)
            try:
                _attempt(wanted, address, patience, watcher, hurried)
                return
            except AddressError as error:
                did[address] = error
                watcher.say(f"{address} {error}")
                if not error.passing:
                    left.remove(address)
        if offline := all(error.offline for error in did.values()):
            break
        have = size_of(wanted.part)  # a hundredth more is something new: so even an endless dribble ends
        most, fruitless = (have, 0) if have > most * 1.01 else (most, fruitless + 1)
    tale = "; ".join(f"{address} {error}" for address, error in did.items())
    cause = "No address could be reached, so check the internet connection. " if offline else ""
    raise NotFetchedError(f"{cause}{wanted.path.name} could not be fetched: {tale}.", offline)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def md5_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _attempt(wanted: Wanted, address: str, patience: Patience, watcher: Watcher, hurried: bool) -> None:
    """Go on, or start, at one address until the file is whole."""
    have = size_of(wanted.part)
    asked = urllib.request.Request(address, headers={"User-Agent": f"halfseen/{__version__}"})
    if have:
        asked.add_header("Range", f"bytes={have}-")
        if mark := _mark(wanted, address):
            asked.add_header("If-Range", mark)
    try:
        answer = _answer(asked, patience.silence)
    except HTTPError as error:
        error.close()
        if error.code == 416 and have:
            _afresh(wanted, address, patience, watcher, hurried)
            return
        reason = str(error.reason).splitlines()[0] if str(error.reason) else ""
        passing = error.code >= 500 or error.code in (408, 425, 429)
        raise AddressError(f"answered {error.code} {reason}".rstrip(), passing) from error
    with answer:
        if answer.status not in (200, 206):
            raise AddressError(f"answered {answer.status} {answer.reason}".rstrip(), passing=False)
        if answer.headers.get_content_type() == "text/html":
            raise AddressError("sent a web page instead of the file", passing=False)
        if answer.status == 206 and _first(answer) != have:
            if not have:
                raise AddressError("sent a part of the file that was not asked for", passing=False)
            _afresh(wanted, address, patience, watcher, hurried)
            return
        start = have if answer.status == 206 else 0  # 200: the server knows no ranges, or the file there has changed
        total = None if answer.length is None else start + answer.length
        if total is not None and total > LARGEST:
            raise AddressError(f"announced {decimal(total)}, which is no published file", passing=False)
        with _writing(wanted.path):
            if not start:
                wanted.origin.write_text(json.dumps({"address": address, "mark": _strong_mark(answer)}))
            with open(wanted.part, "ab" if start else "wb") as out:
                done, broke = _copy(answer, out.write, start, total, patience, watcher, hurried)
                out.flush()
                os.fsync(out.fileno())
            found = md5_of(wanted.part)  # of what is on the disk; it decides, whatever length was announced
            if found == wanted.md5:
                _place(wanted, found)
                return
            if not broke and total is not None and done < total:
                broke = f"broke off after {decimal(done)} of {decimal(total)}"
            if broke:
                raise AddressError(broke)
            _forget(wanted)
        # a part begun elsewhere may be to blame, or an end that came early where no length was announced
        passing = start > 0 or (total is None and not answer.chunked)
        raise AddressError(f"sent {decimal(done)} that are not the published file (md5 {found})", passing)


def _afresh(wanted: Wanted, address: str, patience: Patience, watcher: Watcher, hurried: bool) -> None:
    """The address cannot go on from the part that is there."""
    with _writing(wanted.path):
        _forget(wanted)
    _attempt(wanted, address, patience, watcher, hurried)


def _copy(
    answer: HTTPResponse,
    write: Callable[[bytes], int],
    start: int,
    total: int | None,
    patience: Patience,
    watcher: Watcher,
    hurried: bool,
) -> tuple[int, str]:
    """How far it came, and what broke it off before the answer's end, if anything."""
    done = then = start
    since = time.monotonic()
    while done <= LARGEST:
        watcher.at(done, total)
        try:
            block = answer.read1(BLOCK)
        except TimeoutError:
            return done, f"sent nothing for {patience.silence:g} s after {decimal(done)}"
        except (OSError, HTTPException) as error:
            return done, f"broke off after {decimal(done)} ({_words(error)})"
        if not block:
            break
        write(block)
        done += len(block)
        passed = time.monotonic() - since
        if hurried and passed > patience.silence:
            if done - then < patience.slow * passed:
                return done, f"is slow ({decimal(int((done - then) / passed))}/s), so the next address comes first"
            since, then = time.monotonic(), done
    watcher.at(done, total)
    return done, ""


def _answer(asked: urllib.request.Request, seconds: float) -> HTTPResponse:
    """The answer's head. It is waited for in a thread, since the look-up of a name knows no time-out and may hang."""
    box: queue.SimpleQueue[HTTPResponse | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            box.put(urllib.request.urlopen(asked, timeout=seconds))
        except Exception as error:
            box.put(error)  # raised below, in the thread that waits

    threading.Thread(target=ask, daemon=True).start()
    silent = AddressError(f"gave no answer for {seconds:g} s", offline=True)
    try:
        answer = box.get(timeout=seconds)
    except queue.Empty:
        raise silent from None
    if isinstance(answer, HTTPResponse):
        return answer
    if isinstance(answer, HTTPError):
        raise answer
    cause = answer.reason if isinstance(answer, URLError) else answer
    if isinstance(cause, TimeoutError):
        raise silent from answer
    if isinstance(cause, socket.gaierror):
        raise AddressError("has a name that could not be looked up", offline=True) from answer
    if isinstance(cause, ssl.SSLCertVerificationError):
        raise AddressError(f"has no valid certificate ({cause.verify_message})", passing=False) from answer
    if isinstance(cause, OSError | HTTPException | ValueError | str):
        offline = isinstance(cause, OSError) and cause.errno in UNREACHABLE
        raise AddressError(f"could not be asked ({_words(cause)})", offline=offline) from answer
    raise answer


def _words(error: OSError | HTTPException | ValueError | str) -> str:
    said = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
    return said.splitlines()[0]


def _first(answer: HTTPResponse) -> int | None:
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _strong_mark(answer: HTTPResponse) -> str:
    """What If-Range may be asked with: an entity tag, if it is a strong one, or else the date."""
    tag = str(answer.headers.get("ETag", ""))
    return tag if tag.startswith('"') else str(answer.headers.get("Last-Modified", ""))


def _mark(wanted: Wanted, address: str) -> str:
    """The mark of the part, if it came from this address."""
    try:
        origin = json.loads(wanted.origin.read_text())
        return str(origin["mark"]) if origin["address"] == address else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _place(wanted: Wanted, found: str | None = None) -> bool:
    """Move the part to the file's place, if it is the published file."""
    if (found or md5_of(wanted.part)) != wanted.md5:
        return False
    os.replace(wanted.part, wanted.path)
    wanted.origin.unlink(missing_ok=True)
    return True


def _forget(wanted: Wanted) -> None:
    wanted.part.unlink(missing_ok=True)
    wanted.origin.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} could not be written ({error.strerror or error}): make room if the disk is full, or choose another "
            "--root; what has come is kept."
        ) from error


@contextlib.contextmanager
def alone(folder: Path, watcher: Watcher) -> Iterator[None]:
    """Processes that fetch into the same folder: one fetches, the others wait for it."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")  # noqa: SIM115  # closed below
    with lock:
        try:
            import fcntl

            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                watcher.say(f"another process is fetching into {folder}; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass  # no locks here (Windows, some network disks): the md5 of what is on the disk decides all the same
        yield
