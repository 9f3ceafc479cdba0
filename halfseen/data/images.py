"""The one place where a picture becomes numbers: decoding, turning, colours, greys of 16 bits, and the size."""

import io
import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

VERSION = 1  # of what this file computes: part of the key of every cache
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # no others: some of Pillow's start programs
EXTENSIONS = frozenset(
    (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm", ".pnm")
)
MAX_PIXELS = 89_478_485  # Pillow's own bound: more than this in one picture is taken for a decompression bomb
ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
ORIENTATION = 0x0112  # the EXIF tag that says how the camera was held
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
GREY = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")


UNREAD = ("the file does not exist", "the file may not be read", "could not be read")  # which may yet change


class BadImageError(Exception):
    """A file that holds no picture we can read; its message is the reason, in words."""


def decode(source: Path | bytes, size: tuple[int, int] | None = None, channels: int | None = None) -> NDArray[np.uint8]:
    """The picture in a file as [h, w, c], c = 1 or 3; (height, width) and channels its own where they are None.

    A picture is stretched to the size, not cropped, so that nothing of it is lost; a large JPEG is first shrunk by its
    own decoder to no less than twice the size, which saves most of the time and costs a grey level or two.
    """
    return decode_noting(source, size, channels)[0]


Look = tuple[int, int, str]  # height and width as it is seen, and of which kind it is stored


def decode_noting(
    source: Path | bytes, size: tuple[int, int] | None, channels: int | None
) -> tuple[NDArray[np.uint8], bool, Look]:
    """`decode`, whether the picture is stored in colour, and how it is stored."""
    try:
        with _open(source) as picture:
            (height, width), colour = seen_as(picture)
            look = (height, width, _kind(picture, colour))
            if size is not None and picture.format == "JPEG":
                picture.draft(None, (2 * max(size), 2 * max(size)))  # max: the picture may lie on its side
            return picture_to_array(picture, size, channels), colour, look
    except BadImageError:
        raise
    except (
        Exception
    ) as error:  # damaged files make Pillow's decoders raise almost anything (struct.error, KeyError ...)
        raise BadImageError(_reason(source, error)) from error


def header(source: Path | bytes) -> tuple[tuple[int, int], bool]:
    """((height, width) as it will be seen, is it colour?) without decoding the pixels."""
    try:
        with _open(source) as picture:
            return seen_as(picture)
    except BadImageError:
        raise
    except Exception as error:
        raise BadImageError(_reason(source, error)) from error


def _open(source: Path | bytes) -> Image.Image:
    if isinstance(source, Path) and not stat.S_ISREG(os.stat(source).st_mode):
        raise BadImageError("not a plain file")  # a pipe would be waited for
    picture = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    if picture.width * picture.height > MAX_PIXELS:
        size = f"{picture.width} x {picture.height}"
        picture.close()
        raise BadImageError(f"{size} pixels, more than the {MAX_PIXELS:,} that are safe to decode")
    return picture


def _reason(source: Path | bytes, error: Exception) -> str:
    if isinstance(source, Path) and source.is_file() and source.stat().st_size == 0:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture that can be read (PNG, JPEG, WebP, BMP, GIF, TIFF, PNM)"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than the {MAX_PIXELS:,} pixels that are safe to decode"
    if isinstance(error, FileNotFoundError):
        return "the file does not exist"
    if isinstance(error, PermissionError):
        return "the file may not be read"
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):  # Pillow's own have no number
        return f"could not be read ({getattr(error, 'strerror', None) or 'not enough memory'})"
    return f"damaged ({error or type(error).__name__})"


def seen_as(picture: Image.Image) -> tuple[tuple[int, int], bool]:
    """((height, width), is it colour?) of an opened picture, upright."""
    width, height = picture.size
    if _orientation(picture) in (5, 6, 7, 8):  # stored lying on its side
        width, height = height, width
    return (height, width), _is_colour(picture)


def _orientation(picture: Image.Image) -> int:
    if picture.format == "JPEG" and not picture.info.keys() & {"exif", "xmp"}:
        return 1  # nothing to parse, which is a tenth of the time of a small picture
    turned = picture.getexif().get(ORIENTATION, 1)
    return turned if turned in TURNS else 1


def _is_colour(picture: Image.Image) -> bool:
    if picture.mode in ("P", "PA"):
        palette = np.asarray(picture.getpalette() or [], dtype=np.uint8).reshape(-1, 3)
        return bool((palette != palette[:, :1]).any())
    return picture.mode not in GREY


def _kind(picture: Image.Image, colour: bool) -> str:
    """In a word or two."""
    if picture.mode in ALPHA or "transparency" in picture.info:
        return "transparent"
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return "grey of more than 8 bits"
    if picture.mode == "CMYK":
        return "in the four colours of print"
    return "in colour" if colour else "grey"


FEW = 0.1  # share of the pictures up to which a kind is odd
FAR = 4  # longer sides that differ so many times
STRETCHED = 2  # times that a shape is wider or narrower than the middle one


def odd(looks: Mapping[int, Look]) -> dict[int, str]:
    """Which pictures are unlike the others by kind, size or shape, and why. looks: by position."""
    if not looks:
        return {}
    often = Counter(kind for _, _, kind in looks.values())
    usual = often.most_common(1)[0][0]
    sides = sorted(max(h, w) for h, w, _ in looks.values())
    shapes = sorted(w / h for h, w, _ in looks.values())
    side, shape = sides[len(sides) // 2], shapes[len(shapes) // 2]
    found = {}
    for i, (h, w, kind) in looks.items():
        why = []
        if often[kind] <= FEW * len(looks):
            why.append(f"{kind}, where most are {usual}")
        if not side / FAR < max(h, w) < side * FAR:
            why.append(f"{w} x {h} pixels, where {side} are usual")
        if not shape / STRETCHED < w / h < shape * STRETCHED:
            why.append(f"{w} x {h}, so it is stretched more than the others")
        if why:
            found[i] = "; ".join(why)
    return found


def picture_to_array(picture: Image.Image, size: tuple[int, int] | None, channels: int | None) -> NDArray[np.uint8]:
    """An opened picture (the first frame of several) as uint8 [h, w, c]: upright, on white where it is transparent."""
    colour = _is_colour(picture) if channels is None else channels == 3
    turned = _orientation(picture)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        picture = _eight_bits(picture)
    if turned != 1:
        picture = picture.transpose(TURNS[turned])
    if picture.mode == "1":
        picture = picture.convert("L")
    if picture.mode in ALPHA or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    mode = "RGB" if colour else "L"
    if picture.mode != mode:
        picture = picture.convert(mode)
    if size is not None and picture.size != (size[1], size[0]):
        picture = picture.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    array = np.asarray(picture, dtype=np.uint8)
    return array if colour else array[..., None]


def _eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit greys divided by 257 (65535 becomes 255); whole numbers within 8 bits stay; floats span their range."""
    values: NDArray[Any] = np.asarray(picture)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        values = np.nan_to_num((values - low) * (255 / (high - low) if high > low else 0))
    elif picture.mode != "I" or picture.format is not None or values.max() > 255:  # Pillow reads 16-bit PGM as "I"
        values = values / 257
    return Image.fromarray(np.rint(values).astype(np.uint8))


def choose_side(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The default (height, width) for pictures of these sizes: their own when it is one size of at most 64; otherwise a
    square of 32 when the longer side is at most 40 in the middle case, and of 64 when it is more."""
    if len(set(sizes)) == 1 and max(sizes[0]) <= 64:
        return sizes[0]
    middle = sorted(max(s) for s in sizes)[len(sizes) // 2]
    return (32, 32) if middle <= 40 else (64, 64)


def resize_all(array: NDArray[np.uint8], size: tuple[int, int] | None, channels: int | None) -> NDArray[np.uint8]:
    """Pictures [N, c, h, w] with c = 1, 3 or 4 (transparent, on white) as [N, channels, *size], not copied in vain."""
    if array.shape[1] == 4:
        alpha = array[:, 3:].astype(np.float32) / 255
        array = np.rint(array[:, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    if channels == 3 and array.shape[1] == 1:
        array = array.repeat(3, axis=1)
    elif channels == 1 and array.shape[1] == 3:  # Pillow's own weights, so that a file and its array agree
        weights = np.array([19595, 38470, 7471], dtype=np.uint32)
        array = ((np.einsum("nchw,c->nhw", array, weights) + 32768) >> 16).astype(np.uint8)[:, None]
    if size is None or array.shape[2:] == size:
        return array
    out = np.empty((*array.shape[:2], *size), dtype=np.uint8)
    for row, target in zip(array, out, strict=True):
        for plane, place in zip(row, target, strict=True):
            place[:] = np.asarray(
                Image.fromarray(np.ascontiguousarray(plane)).resize(size[::-1], Image.Resampling.BICUBIC)
            )
    return out
