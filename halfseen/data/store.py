"""The files of a bank of views: one folder for each backbone, size and pair of policies, whatever the folders of images.

bank-KEY/about.json           what the key was made of
         images.sums          16 bytes an image: which row is whose
         clean.rows  .done    float16 [M, d] and a byte a row; likewise weak-0, weak-1, ..., strong-0, ...
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from halfseen.augment import make_policy
from halfseen.data.cache import default_cache_dir
from halfseen.data.sets import ImageSet, tensor_of
from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.machine.files import locked, write_json
from halfseen.machine.progress import Meter

VERSION = 1  # of how rows are made: another one never meets these files
CHUNK = 32  # images of a forward; a kill costs as many
DIGEST = 16  # bytes
SPARE = 1.05  # of the room that the rows need
BY_KIND = {"clean": "none", "weak": "photo", "strong": "photo+photo-ra"}


class Features(Protocol):
    """What is asked of a backbone."""

    @property
    def name(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def least(self) -> int: ...
    @property
    def dim(self) -> int: ...
    def frozen(self) -> Callable[[Tensor], Tensor]: ...


@dataclass(frozen=True)
class Views:
    """How many views of each kind are kept."""

    weak: int = 2
    strong: int = 4

    def __post_init__(self) -> None:
        if self.weak < 1 or self.strong < 1:
            raise UserError(
                f"--weak-views {self.weak} --strong-views {self.strong}: a bank keeps at least one view of each kind"
            )

    def names(self) -> list[str]:
        return ["clean", *(f"weak-{i}" for i in range(self.weak)), *(f"strong-{i}" for i in range(self.strong))]


@dataclass(frozen=True)
class Asked:
    """Which views of which images have to be there; test and validation images are seen clean only."""

    views: Views
    only_clean: bool = False
    only: NDArray[Any] | None = None  # positions of the training images that have other views; none: all

    def views_of(self, part: str) -> list[str]:
        return self.views.names() if part == "x" and not self.only_clean else ["clean"]

    def positions(self, view: str, count: int) -> NDArray[Any]:
        return np.arange(count) if self.only is None or view == "clean" else self.only


class ByImage(Draws):
    """Random numbers of which each row has a generator of its own: they hang on nothing but its seed."""

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__(torch.Generator())
        self.each = [torch.Generator().manual_seed(seed) for seed in seeds]

    def uniform(self, n: int, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.stack([torch.empty(shape).uniform_(low, high, generator=g) for g in self.each[:n]])

    def normal(self, n: int, *shape: int) -> Tensor:
        return torch.stack([torch.empty(shape).normal_(generator=g) for g in self.each[:n]])

    def integers(self, low: int, high: int, n: int, *shape: int) -> Tensor:
        return torch.stack([torch.randint(low, high, shape, generator=g) for g in self.each[:n]])

    def beta(self, a: float, b: float, n: int) -> Tensor:
        gammas = [[torch._standard_gamma(torch.tensor(v), generator=g) for v in (a, b)] for g in self.each[:n]]
        return torch.stack([one / (one + two) for one, two in gammas])


def digests(x: Tensor) -> NDArray[np.void]:
    """[n] of 16 bytes: an image's pixels."""
    array = x.numpy()
    with ThreadPoolExecutor() as pool:  # hashlib lets other threads run meanwhile
        found = pool.map(lambda i: hashlib.blake2b(array[i].tobytes(), digest_size=DIGEST).digest(), range(len(array)))
        return np.frombuffer(b"".join(found), dtype=f"V{DIGEST}")


class Store:
    """The files of one backbone, size and pair of policies."""

    def __init__(self, place: Path, about: dict[str, Any]) -> None:
        self.place, self.about, self.dim = place, about, int(about["dim"])

    @classmethod
    def open(cls, backbone: Features, images: ImageSet, seed: int, cache_dir: Path | None) -> "Store":
        about = {
            "version": VERSION,
            "backbone": backbone.name,
            "weights": backbone.key,
            "dim": backbone.dim,
            "shape": list(images.shape),
            "flip": images.flip,
            "policies": BY_KIND,
            "seed": seed,
        }
        key = hashlib.sha256(json.dumps({**about, "backbone": ""}, sort_keys=True).encode()).hexdigest()[:24]
        place = (cache_dir or default_cache_dir()) / f"bank-{key}"
        try:
            place.mkdir(parents=True, exist_ok=True)
            if not (place / "about.json").is_file():
                write_json(place / "about.json", about)
        except OSError as error:
            raise UserError(
                f"The bank of views could not be kept in {place} ({error.strerror or error}): set HALFSEEN_CACHE to a "
                "folder that may be written to."
            ) from error
        return cls(place, about)

    def alone(self) -> AbstractContextManager[bool]:
        return locked(self.place / "lock")

    # ---- which row is whose ---------------------------------------------------------------------------------------------

    def ready(self, sums: Mapping[str, NDArray[np.void]], asked: Asked) -> dict[str, Tensor] | None:
        """The rows of images whose views are all kept: nothing is written, so nobody waits for who adds others."""
        known = self.listed()
        at = {digest.tobytes(): i for i, digest in enumerate(known)}
        rows: dict[str, Tensor] = {}
        for name, part in sums.items():
            found = np.array([at.get(digest.tobytes(), -1) for digest in part])
            if (found < 0).any():
                return None
            rows[name] = torch.from_numpy(found)
            for view in asked.views_of(name):
                needed = found[asked.positions(view, len(found))]
                marks = self.place / f"{view}.done"
                done = np.fromfile(marks, np.uint8) if marks.is_file() else np.zeros(0, np.uint8)
                file = self.place / f"{view}.rows"
                there = min(len(done), file.stat().st_size // (2 * self.dim)) if file.is_file() else 0
                if len(needed) and (needed.max() >= there or not done[needed].all()):
                    return None
        return rows

    def listed(self) -> NDArray[np.void]:
        file = self.place / "images.sums"
        payload = file.read_bytes() if file.is_file() else b""
        return np.frombuffer(payload[: len(payload) // DIGEST * DIGEST], dtype=f"V{DIGEST}")

    def rows_of(self, sums: NDArray[np.void]) -> Tensor:
        """[n] rows of these images; new ones get rows at the end."""
        file = self.place / "images.sums"
        known = self.listed()
        at = {digest.tobytes(): i for i, digest in enumerate(known)}
        fresh = []
        for digest in sums:
            if digest.tobytes() not in at:
                at[digest.tobytes()] = len(at)
                fresh.append(digest.tobytes())
        written = file.stat().st_size if file.is_file() else 0
        if fresh or written % DIGEST:
            for marks in self.place.glob("*.done"):  # of a list that lost its end: those rows are no one's now
                os.truncate(marks, min(marks.stat().st_size, len(known)))
            with file.open("r+b" if written else "wb") as out:
                out.seek(len(known) * DIGEST)
                out.write(b"".join(fresh))
        return torch.tensor([at[digest.tobytes()] for digest in sums])

    # ---- rows -----------------------------------------------------------------------------------------------------------

    def mapped(self, view: str, write: bool) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
        """Rows [M, d] and which of them are whole [M]; with write, as long as the list of images, else as there are."""
        file, marks = self.place / f"{view}.rows", self.place / f"{view}.done"
        if not write:
            total = min(file.stat().st_size // (2 * self.dim), marks.stat().st_size)
        else:
            total = (self.place / "images.sums").stat().st_size // DIGEST
            file.touch()
            marks.touch()
            there = file.stat().st_size // (2 * self.dim)
            if marks.stat().st_size > there:  # rows were lost, and are made again
                os.truncate(marks, there)
            os.truncate(file, max(total, there) * 2 * self.dim)  # sparse: what is not written takes no room
            os.truncate(marks, max(total, there))
        mode: Any = "r+" if write else "r"
        rows = np.memmap(file, np.float16, mode, shape=(total, self.dim))
        done = np.memmap(marks, np.uint8, mode, shape=(total,))
        return rows, done

    def missing(self, rows: Mapping[str, Tensor], asked: Asked) -> list[tuple[str, str, NDArray[Any]]]:
        """(part, view, positions in the part) of what has still to be looked at."""
        found = []
        for name, at in rows.items():
            for view in asked.views_of(name):
                done = self.mapped(view, write=True)[1]
                places = asked.positions(view, len(at))
                # a picture that is there twice is seen once
                first = places[np.unique(at.numpy()[places], return_index=True)[1]]
                left = first[done[at.numpy()[first]] == 0]
                if len(left):
                    found.append((name, view, np.sort(left)))
        return found

    def need_room(self, missing: Sequence[tuple[str, str, NDArray[Any]]]) -> None:
        wanted = SPARE * sum(len(at) for _, _, at in missing) * 2 * self.dim
        free = shutil.disk_usage(self.place).free
        if wanted > free:
            raise UserError(
                f"The bank of views needs {wanted / 1e6:,.0f} MB in {self.place.parent}, where {free / 1e6:,.0f} MB are "
                "free: make room, set HALFSEEN_CACHE to another disk, or keep fewer views (--weak-views, --strong-views)."
            )

    def fill(
        self,
        x: Tensor,
        sums: NDArray[np.void],
        rows: Tensor,
        view: str,
        at: NDArray[Any],
        look: Callable[[Tensor], Tensor],
        meter: Meter,
    ) -> None:
        """Look at the images of these positions through the view, chunk by chunk."""
        held, done = self.mapped(view, write=True)
        for chosen, seen in self.seen(x, sums, view, at):
            with torch.inference_mode(), np.errstate(over="ignore"):
                made = look(seen).float().numpy().astype(np.float16)
            if not np.isfinite(made).all():
                raise UserError(
                    f"{self.about['backbone']} makes numbers of an image that are not finite in half precision; take "
                    "another backbone"
                )
            own = rows.numpy()[chosen]
            held[own] = made
            done[own] = 1
            meter.advance(len(chosen))

    def seen(
        self, x: Tensor, sums: NDArray[np.void], view: str, at: NDArray[Any]
    ) -> Iterator[tuple[NDArray[Any], Tensor]]:
        """(positions, what the backbone is shown), chunk by chunk.

        One after the other: a thread that made the next chunk meanwhile would take a core from a backbone that uses all of
        them and waits for the slowest (on two cores that cost a tenth of the speed).
        """
        kind = view.partition("-")[0]
        zero, one = torch.zeros(x.shape[1]), torch.ones(x.shape[1])
        for start in range(0, len(at), CHUNK):
            chosen = at[start : start + CHUNK]
            seeds = [self.seed_of(sums[i].tobytes(), view) for i in chosen]
            policy = make_policy(
                BY_KIND[kind],
                shape=tuple(x.shape[1:]),
                flip=bool(self.about["flip"]),
                mean=zero,
                std=one,
                draws=ByImage(seeds),
            )
            shown = policy(x[torch.from_numpy(chosen)])
            yield chosen, shown if shown.shape[1] == 3 else shown.expand(-1, 3, -1, -1)

    def seed_of(self, digest: bytes, view: str) -> int:
        whole = hashlib.blake2b(digest + f"{view}/{self.about['seed']}".encode(), digest_size=8).digest()
        return int.from_bytes(whole, "little") >> 1

    def kinds(self, views: Views, only_clean: bool) -> dict[str, tuple[Tensor, ...]]:
        """The views of each kind, mapped for reading."""
        names = ["clean"] if only_clean else views.names()
        found: dict[str, tuple[Tensor, ...]] = {"clean": (), "weak": (), "strong": ()}
        for name in names:
            found[name.partition("-")[0]] += (tensor_of(self.mapped(name, write=False)[0]),)
        return found
