"""Readers of the published sets, from the publishers' own files or from NAME.npz, each checked against known sums."""

import bz2
import gzip
import hashlib
import io
import os
import pickle
import shlex
import struct
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from halfseen.data.published import PUBLISHED, USPS_TEXT, Published
from halfseen.data.sets import ImageSet, measure, tensor_of
from halfseen.errors import UserError

Bytes = NDArray[np.uint8]
Part = tuple[Bytes, Bytes]  # pixels [N, h, w] or [N, h, w, 3], labels [N]
UNPACK = "scripts/unpack_shared_data.py"


def default_root() -> Path:
    return Path(os.environ.get("HALFSEEN_DATA") or "data").expanduser()


def open_named(name: str, root: Path | None = None) -> ImageSet:
    known, root = PUBLISHED[name], root or default_root()
    note = ""
    if files := find(name, known, root):
        try:
            read = [(f, f.name, _checked(f, md5, get_command(name, root))) for f, md5 in files]
            train, test = READERS[known.form](name, known, read)
        except (
            OSError,
            EOFError,
            ValueError,
            KeyError,
            struct.error,
            tarfile.TarError,
            pickle.UnpicklingError,
        ) as error:
            raise UserError(
                f"{files[0][0]} could not be read as {name} ({error}): remove it, then {get_command(name, root)}"
            ) from error
    elif (packed := _npz_of(name, root)) is not None:
        train, test, note = read_npz(name, packed)
    else:
        raise UserError(_missing(name, known, root))
    return _as_set(name, known, train, test, note)


def pixel_sum(part: Part) -> str:
    """sha256 of a part's pixels and labels, as listed in `published.py`."""
    digest = hashlib.sha256(np.ascontiguousarray(part[0]).data)
    digest.update(np.ascontiguousarray(part[1]).data)
    return digest.hexdigest()


def read_npz(name: str, path: Path) -> tuple[Part, Part, str]:
    """The parts in NAME.npz, and the note on them, if their pixels are known."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = [np.asarray(stored[key]) for key in ("x", "y", "test_x", "test_y")]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} could not be read ({error}): make it anew with {UNPACK}.") from error
    train, test = (arrays[0], arrays[1]), (arrays[2], arrays[3])
    sums = tuple(pixel_sum(part) for part in (train, test)) if all(a.dtype == np.uint8 for a in arrays) else ("", "")
    for *expected, note in PUBLISHED[name].pixels:
        if sums == tuple(expected):
            return train, test, note
    raise UserError(
        f"{path} does not hold the known pixels of {name}: make it anew with {UNPACK}, or give the file another name to "
        "use it as your own data."
    )


def _as_set(name: str, known: Published, train: Part, test: Part, note: str) -> ImageSet:
    x, test_x = (tensor_of(p[:, None] if p.ndim == 3 else p.transpose(0, 3, 1, 2)) for p in (train[0], test[0]))
    y, test_y = (torch.from_numpy(labels.astype(np.int64)) for labels in (train[1], test[1]))
    mean, std = (torch.tensor(known.mean), torch.tensor(known.std)) if known.mean else measure(x)
    return ImageSet(
        name=name,
        classes=known.classes,
        x=x,
        y=y,
        given=torch.ones(len(x), dtype=torch.bool),
        mean=mean,
        std=std,
        flip=known.flip,
        test_x=test_x,
        test_y=test_y,
        note=note,
    )


def find(name: str, known: Published, root: Path) -> list[tuple[Path, str]] | None:
    """The first complete way in which the files are there, each with its md5; the set's own folder comes first, since
    two sets have files of the same names."""
    for folder in (name, *(f"{name}/{folder}" for folder in known.folders), *known.folders, ""):
        for way in known.files:
            files = [(root / folder / file, md5) for file, md5 in way]
            if all(file.is_file() for file, _ in files):
                return files
    return None


def get_command(name: str, root: Path) -> str:
    return f"`halfseen get {name} --root {shlex.quote(str(root))}`"


def _npz_of(name: str, root: Path) -> Path | None:
    for path in (root / f"{name}.npz", root / name / f"{name}.npz"):
        if path.is_file():
            return path
    return None


def _missing(name: str, known: Published, root: Path) -> str:
    ways = " or ".join(" + ".join(file for file, _ in way) for way in known.files)
    packed = f", or {name}.npz from {UNPACK}" if known.pixels else ""
    return (
        f"The set {name} is not in {root}: {get_command(name, root)} fetches it; or put there {ways}{packed}, or say with "
        "--root (or HALFSEEN_DATA) where it is."
    )


def _checked(path: Path, md5: str, command: str) -> bytes:
    raw = path.read_bytes()
    if md5 and (found := hashlib.md5(raw, usedforsecurity=False).hexdigest()) != md5:
        raise UserError(f"{path} is not the published file (md5 {found}, published {md5}): {command} fetches that.")
    return raw


def _read_idx(name: str, known: Published, files: Sequence[tuple[Path, str, bytes]]) -> tuple[Part, Part]:
    arrays = []
    for _, _, raw in files:
        data = gzip.decompress(raw)
        zero, kind, dims = struct.unpack(">HBB", data[:4])
        if zero != 0 or kind != 8:
            raise ValueError("no idx file of bytes")
        shape = struct.unpack(f">{dims}I", data[4 : 4 + 4 * dims])
        arrays.append(np.frombuffer(data, np.uint8, offset=4 + 4 * dims).reshape(shape))
    return (arrays[0], arrays[1]), (arrays[2], arrays[3])


def _read_usps(name: str, known: Published, files: Sequence[tuple[Path, str, bytes]]) -> tuple[Part, Part]:
    """Values in [-1, 1], of which the book's text has three decimals, become greys 0..255, rounded."""
    parts: list[Part] = []
    for (path, file, raw), expected in zip(files, USPS_TEXT, strict=True):
        if file.endswith(".bz2"):
            from sklearn.datasets import load_svmlight_file

            sparse, labels = load_svmlight_file(io.BytesIO(bz2.decompress(raw)), n_features=256)
            values, y = sparse.toarray(), (labels - 1).astype(np.uint8)
        else:
            text = gzip.decompress(raw) if file.endswith(".gz") else raw
            table = np.loadtxt(io.BytesIO(text), ndmin=2)
            values, y = table[:, 1:], table[:, 0].astype(np.uint8)
            thousandths = np.rint(values * 1000).astype("<i2")
            found = hashlib.sha256(thousandths.tobytes() + y.tobytes()).hexdigest()
            if found != expected:
                raise UserError(f"{path} does not hold the known digits of {name}: remove it and fetch it again.")
        parts.append((usps_greys(np.rint(values * 1000)).reshape(-1, 16, 16), y))
    return parts[0], parts[1]


def usps_greys(thousandths: NDArray[Any]) -> Bytes:
    """Thousandths of [-1, 1] as 0..255."""
    greys: Bytes = np.rint((thousandths.astype(np.float64) + 1000) * (255 / 2000)).astype(np.uint8)
    return greys


def _read_cifar(name: str, known: Published, files: Sequence[tuple[Path, str, bytes]]) -> tuple[Part, Part]:
    raws = {file: raw for _, file, raw in files}
    wanted = [file for file, _ in known.files[1]]
    if len(files) == 1:  # the archive, whose own md5 vouches for its members
        with tarfile.open(fileobj=io.BytesIO(files[0][2])) as archive:
            raws = {}
            for member in archive:
                file = member.name.split("/")[-1]
                if file in wanted and (stream := archive.extractfile(member)) is not None:
                    raws[file] = stream.read()
    batches = [_batch(raws[file]) for file in wanted]
    train = np.concatenate([x for x, _ in batches[:-1]]), np.concatenate([y for _, y in batches[:-1]])
    return train, batches[-1]


def _batch(raw: bytes) -> Part:
    batch = _Plain(io.BytesIO(raw), encoding="bytes").load()
    labels = batch[b"fine_labels"] if b"fine_labels" in batch else batch[b"labels"]
    pixels = np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return pixels, np.asarray(labels, dtype=np.uint8)


class _Plain(pickle.Unpickler):
    """Unpickles arrays, lists and dictionaries; anything that would run other code is refused."""

    def find_class(self, module: str, name: str, /) -> object:
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]  # wherever this numpy keeps it
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in the old protocol
            return _latin1
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no published batch does")


def _latin1(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin-1")


def _read_mat(name: str, known: Published, files: Sequence[tuple[Path, str, bytes]]) -> tuple[Part, Part]:
    from scipy.io import loadmat

    parts: list[Part] = []
    for _, _, raw in files:
        stored = loadmat(io.BytesIO(raw), variable_names=("X", "y"))
        labels = np.asarray(stored["y"]).reshape(-1)
        parts.append((stored["X"].transpose(3, 0, 1, 2), np.where(labels == 10, 0, labels).astype(np.uint8)))
    return parts[0], parts[1]


READERS: dict[str, Callable[[str, Published, Sequence[tuple[Path, str, bytes]]], tuple[Part, Part]]] = {
    "idx": _read_idx,
    "usps": _read_usps,
    "cifar": _read_cifar,
    "mat": _read_mat,
}
