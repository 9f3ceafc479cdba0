"""Tables, pictures and arrays that a disk, a network or a stranger has damaged: a valid result or a UserError.

Nothing else may come out: no other exception, no file beside them, and no more memory than the file could honestly need.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from halfseen.data import arrays, open_data
from halfseen.data.images import BadImageError, decode, header
from halfseen.data.tables import read_labels
from halfseen.errors import UserError
from tests.bad_input.damage import MANY, ROOM, harms, peak, survives
from tests.data.test_images import bomb

# ---- tables --------------------------------------------------------------------------------------------------------------

TABLE = 'path,label,who\r\na.png,cat,"me, you"\r\n"b.png",dog,\r\n\u00e9/c.png,,x\r\n'


@MANY
@given(harms(), harms(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]))
def test_tables(here: Path, one: Callable[[bytes], bytes], two: Callable[[bytes], bytes], encoding: str) -> None:
    root = here / "mine"
    (root / "\u00e9").mkdir(parents=True, exist_ok=True)
    names = {"a.png", "b.png", "\u00e9/c.png"}
    for name in names:
        (root / name).touch()
    (root / "labels.csv").write_bytes(two(one(TABLE.encode(encoding)) or b" "))
    labels = survives(lambda: read_labels(root / "labels.csv"))
    assert labels is None or labels.keys() <= {*names, "labels.csv"}  # the only files there are


@MANY
@given(st.text(st.sampled_from('./\\:~a"\n,;\t -1\u00e9\U0001f600'), max_size=30), st.sampled_from([",", ";", "\t"]))
def test_no_path_in_a_table_leads_outside(here: Path, path: str, delimiter: str) -> None:
    root = here / "mine"
    root.mkdir(exist_ok=True)
    (here / "last.pt").touch()  # what a path with .. would find
    (root / "labels.csv").write_text(f"path{delimiter}label\n{path}{delimiter}x\n../last.pt{delimiter}x\n")
    with pytest.raises(UserError):
        read_labels(root / "labels.csv")


# ---- pictures ------------------------------------------------------------------------------------------------------------


def saved(ending: str, mode: str) -> bytes:
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(out, {"jpg": "jpeg", "tif": "tiff"}.get(ending, ending), exif=exif)
    return out.getvalue()


PICTURES = [saved(*kind) for kind in (("png", "RGB"), ("png", "P"), ("png", "1"), ("jpg", "RGB"), ("jpg", "CMYK"))]
PICTURES += [saved(*kind) for kind in (("webp", "RGBA"), ("bmp", "L"), ("gif", "P"), ("tif", "I"), ("ppm", "RGB"))]


@settings(MANY, max_examples=60)
@given(st.sampled_from(PICTURES), harms(), st.sampled_from([None, 1, 3]))
@pytest.mark.filterwarnings("ignore")
def test_pictures(raw: bytes, harm: Callable[[bytes], bytes], channels: int | None) -> None:
    before = peak()
    damaged = harm(raw)
    picture = survives(lambda: decode(damaged, (16, 12), channels), BadImageError)
    if picture is not None:
        assert picture.shape[:2] == (16, 12)
        assert picture.dtype == np.uint8
        assert picture.shape[2] == (channels or picture.shape[2]) in (1, 3)
    survives(lambda: header(damaged), BadImageError)
    assert peak() - before < ROOM


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def text_bomb() -> bytes:
    """A PNG of one pixel with a text that unpacks to 256 MB."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    packer = zlib.compressobj()
    text = b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
    pixels = chunk(b"IDAT", zlib.compress(bytes(2)))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"zTXt", b"a\0\0" + text) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "make", [lambda: bomb(60_000), lambda: bomb(2**31 - 1), text_bomb], ids=["60000", "2^31", "text"]
)
@pytest.mark.filterwarnings("ignore")
def test_pictures_that_claim_to_be_huge(make: Callable[[], bytes]) -> None:
    raw, before = make(), peak()
    assert survives(lambda: decode(raw, (8, 8), 3), BadImageError) is None
    assert survives(lambda: header(raw), BadImageError) is None or raw[16:24] == struct.pack(">II", 1, 1)
    assert peak() - before < ROOM


# ---- arrays --------------------------------------------------------------------------------------------------------------


def archive(write: Callable[..., None]) -> bytes:
    out = io.BytesIO()
    x = np.random.default_rng(0).integers(0, 256, (8, 4, 4), dtype=np.uint8)
    write(out, x=x, y=np.array([0, 1] * 3 + [-1, -1]), classes=np.array(["a", "b"]))
    return out.getvalue()


ARCHIVES = [archive(np.savez), archive(np.savez_compressed)]


@settings(MANY, max_examples=60)
@given(st.sampled_from(ARCHIVES), harms())
@pytest.mark.filterwarnings("ignore")
def test_npz_files(here: Path, raw: bytes, harm: Callable[[bytes], bytes]) -> None:
    before = peak()
    (here / "mine.npz").write_bytes(harm(raw))
    data = survives(lambda: open_data("mine.npz"))
    if data is not None:
        assert len(data.x) == len(data.y) > 0
        assert data.classes == tuple(data.classes)
        assert int(data.y.max()) < data.num_classes
        assert int(data.y.min()) >= -1
    assert peak() - before < ROOM


def with_member(name: str, body: bytes, claim: int | None = None) -> bytes:
    """An archive in which one array is these bytes; `claim`: the size that its directory gives."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as files:
        files.writestr(name, body)
    raw = out.getvalue()
    if claim is not None:
        for mark, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            place = raw.index(mark) + at
            raw = raw[:place] + struct.pack("<I", claim) + raw[place + 4 :]
    return raw


def npy_header(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (63 - (len(text) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


CLAIMS: dict[str, Callable[[], bytes]] = {
    "an array of a terabyte": lambda: with_member("x.npy", npy_header((10**6, 1000, 1000)) + bytes(100)),
    "an array of more than there are bytes": lambda: with_member("x.npy", npy_header((2**62, 2**62))),
    "an array of negative size": lambda: with_member("x.npy", npy_header((-1, 8, 8)) + bytes(64)),
    "rows of endless texts": lambda: with_member("x.npy", npy_header((2,), f"<U{2**30}") + bytes(64)),
    "four gigabytes in a directory": lambda: with_member("x.npy", npy_header((2**31,)) + bytes(64), 2**32 - 2),
    "a bomb": lambda: with_member("x.npy", npy_header((3 << 20,)) + bytes(3 << 20), 2**31),
    "no array": lambda: with_member("x.npy", b"print('hello')"),
    "a header without end": lambda: with_member("x.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b"(" * 100_000),
    "a path": lambda: with_member("../../escaped.npy", npy_header((4,)) + bytes(4)),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_npz_files_that_claim_too_much(name: str, here: Path) -> None:
    (here / "mine.npz").write_bytes(CLAIMS[name]())
    before = peak()
    assert survives(lambda: open_data("mine.npz")) is None
    assert peak() - before < ROOM


@pytest.mark.parametrize("level", [1, 9])
def test_a_real_bomb_is_not_unpacked(level: int, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "LARGE", 1 << 20)  # a bomb of more than a GiB would take the test too long to make
    zeros = npy_header((64, 1 << 20)) + bytes(64 << 20)
    with zipfile.ZipFile(here / "mine.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=level) as files:
        files.writestr("x.npy", zeros)
        files.writestr("y.npy", npy_header((64,)) + bytes(64))
    with pytest.raises(UserError, match=r"would unpack [\d,]{6,7} bytes to 67,109,"):
        open_data("mine.npz")


# ---- tables without end --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "path,label" + ",x" * 300_000 + "\na.png,cat\n",
        "path,label\n" + "a.png,cat\n" * 20_000 + "b.png,dog\n",
        "path,label\na.png," + "x" * 1_000_000,
        '"' * 1_000_000,
        "\n" * 300_000,
        "path,label\n" + "a.png,cat," * 100_000,
    ],
    ids=["columns", "rows", "cell", "quotes", "lines", "cells"],
)
def test_tables_of_megabytes(text: str, here: Path) -> None:
    root = here / "mine"
    root.mkdir()
    (root / "a.png").touch()
    (root / "labels.csv").write_text(text)
    before = peak()
    labels = survives(lambda: read_labels(root / "labels.csv"))
    assert labels is None or labels == {"a.png": "cat"}
    assert peak() - before < ROOM
