"""Decoding: every mode and format the readers promise, against what the pixels must be."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from halfseen.data.images import MAX_PIXELS, BadImageError, choose_side, decode, header, resize_all


@pytest.fixture
def colours() -> np.ndarray:
    """A smooth picture [24, 16, 3] whose corners differ, so that turning it shows."""
    y, x = np.mgrid[0:24, 0:16]
    return np.stack([y * 10, x * 15, 255 - y * 5 - x * 5], axis=2).astype(np.uint8)


@pytest.mark.parametrize("ending", ["png", "bmp", "webp", "ppm", "tiff"])
def test_lossless_formats_give_the_pixels(tmp_path, colours, ending):
    Image.fromarray(colours).save(tmp_path / f"a.{ending}", **({"lossless": True} if ending == "webp" else {}))
    assert np.array_equal(decode(tmp_path / f"a.{ending}"), colours)
    assert header(tmp_path / f"a.{ending}") == ((24, 16), True)


def test_jpeg_is_near_and_grey_stays_grey(tmp_path, colours):
    Image.fromarray(colours).save(tmp_path / "a.jpg", quality=97, subsampling=0)
    assert np.abs(decode(tmp_path / "a.jpg").astype(int) - colours).mean() < 2
    Image.fromarray(colours[..., 0]).save(tmp_path / "b.jpg", quality=97)
    assert decode(tmp_path / "b.jpg").shape == (24, 16, 1)
    assert decode(tmp_path / "b.jpg", channels=3).shape == (24, 16, 3)


def test_a_large_jpeg_shrunk_by_its_decoder_is_what_resizing_gives(tmp_path):
    small = np.random.default_rng(0).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    large = Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC)
    large.save(tmp_path / "a.jpg", quality=95)
    exact = np.asarray(Image.open(tmp_path / "a.jpg").resize((48, 40), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(decode(tmp_path / "a.jpg", (40, 48), 3) - exact).mean() < 1.5


def test_the_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert decode(tmp_path / "a.gif")[4, 4].tolist() == [255, 0, 0]


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_exif_orientation(tmp_path, colours, turn, ending):
    """All eight positions of the camera show the same upright picture."""
    undo = [None, 0, 3, 1, 5, 2, 6, 4]  # Transpose members that turn the upright picture into how it is stored
    stored = Image.fromarray(colours)
    if undo[turn - 1] is not None:
        stored = stored.transpose(Image.Transpose(undo[turn - 1]))
    exif = Image.Exif()
    exif[0x0112] = turn
    stored.save(tmp_path / f"a.{ending}", exif=exif, quality=95)
    seen = decode(tmp_path / f"a.{ending}")
    assert seen.shape == colours.shape
    assert np.abs(seen.astype(int) - colours).mean() < 6
    assert header(tmp_path / f"a.{ending}")[0] == (24, 16)
    assert decode(tmp_path / f"a.{ending}", (12, 8), 3).shape == (12, 8, 3)


def test_what_is_transparent_is_white(tmp_path, colours):
    clear = np.dstack([colours, np.full((24, 16), 255, np.uint8)])
    clear[:12, :, 3] = 0
    clear[12:14, :, 3] = 128
    Image.fromarray(clear).save(tmp_path / "a.png")
    seen = decode(tmp_path / "a.png")
    assert (seen[:12] == 255).all()
    assert np.array_equal(seen[14:], colours[14:])
    assert np.abs(seen[12:14] - (colours[12:14] * (128 / 255) + 127)).max() <= 1
    assert np.array_equal(
        resize_all(clear.transpose(2, 0, 1)[None], None, None)[0, :, :12], seen[:12].transpose(2, 0, 1)
    )


def test_grey_with_alpha_stays_grey(tmp_path):
    Image.fromarray(np.dstack([np.full((4, 4), 90), np.full((4, 4), 255)]).astype(np.uint8), "LA").save(
        tmp_path / "a.png"
    )
    assert decode(tmp_path / "a.png").tolist() == np.full((4, 4, 1), 90).tolist()


def test_palettes(tmp_path, colours):
    few = Image.fromarray(colours).quantize(16)
    few.save(tmp_path / "a.png")
    assert np.array_equal(decode(tmp_path / "a.png"), np.asarray(few.convert("RGB")))
    few.save(tmp_path / "b.png", transparency=few.getpixel((0, 0)))
    assert decode(tmp_path / "b.png")[0, 0].tolist() == [255, 255, 255]
    grey = Image.new("P", (4, 4), 1)
    grey.putpalette([0, 0, 0, 77, 77, 77])
    grey.save(tmp_path / "c.png")
    assert decode(tmp_path / "c.png").tolist() == np.full((4, 4, 1), 77).tolist()


@pytest.mark.parametrize("ending", ["png", "tiff", "pgm"])
@pytest.mark.parametrize("top", [65535, 200])
def test_16_bit_greys_are_scaled_and_not_clipped(tmp_path, ending, top):
    deep = np.linspace(0, top, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / f"a.{ending}")
    assert np.array_equal(decode(tmp_path / f"a.{ending}")[..., 0], np.rint(deep / 257).astype(np.uint8))


def test_black_and_white_bits(tmp_path):
    Image.fromarray(np.eye(8, dtype=bool)).save(tmp_path / "a.png")
    assert np.array_equal(decode(tmp_path / "a.png")[..., 0], np.eye(8, dtype=np.uint8) * 255)


def test_cmyk_jpeg(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    red, green, blue = decode(tmp_path / "a.jpg")[4, 4]
    assert red > 200
    assert max(green, blue) < 60


def test_channels_and_size_as_asked(tmp_path, colours):
    Image.fromarray(colours).save(tmp_path / "a.png")
    grey = decode(tmp_path / "a.png", channels=1)
    assert np.array_equal(grey[..., 0], np.asarray(Image.fromarray(colours).convert("L")))
    assert np.array_equal(resize_all(colours.transpose(2, 0, 1)[None], None, 1)[0, 0], grey[..., 0])
    smaller = np.asarray(Image.fromarray(colours).resize((9, 7), Image.Resampling.BICUBIC))
    assert np.array_equal(decode(tmp_path / "a.png", (7, 9)), smaller)
    assert np.array_equal(resize_all(colours.transpose(2, 0, 1)[None], (7, 9), 3)[0].transpose(1, 2, 0), smaller)


def test_default_side():
    assert choose_side([(28, 28)] * 5) == (28, 28)
    assert choose_side([(20, 30)] * 5) == (20, 30)
    assert choose_side([(24, 28), (40, 30), (36, 36)]) == (32, 32)
    assert choose_side([(480, 640)] * 5) == (64, 64)
    assert choose_side([(30, 30), (100, 90), (300, 200)]) == (64, 64)


def bomb(side: int) -> bytes:
    """A PNG whose header promises side x side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "the file is empty"),
        (b"hello, this is text", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (bomb(10_000), f"safe|{MAX_PIXELS}"),
        (bomb(60_000), "safe"),
        (bomb(100), "damaged"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_files_that_are_no_pictures_say_why(tmp_path, raw, words):
    (tmp_path / "a.png").write_bytes(raw)
    with pytest.raises(BadImageError, match=words):
        decode(tmp_path / "a.png", (8, 8), 3)


def test_a_missing_file_and_a_folder_are_bad_images_too(tmp_path):
    with pytest.raises(BadImageError, match="does not exist"):
        decode(tmp_path / "a.png")
    with pytest.raises(BadImageError):
        decode(tmp_path)


def saved(ending: str) -> bytes:
    import io

    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, {"jpg": "jpeg"}.get(ending, ending))
    return out.getvalue()


@settings(max_examples=150, deadline=None)
@given(
    ending=st.sampled_from(["png", "jpg", "webp", "bmp", "gif", "tiff"]),
    cut=st.integers(0, 1000),
    flips=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6),
    truncate=st.booleans(),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_give_a_picture_or_a_reason_and_nothing_else(ending, cut, flips, truncate):
    raw = bytearray(saved(ending))
    for place, value in flips:
        raw[place % len(raw)] = value
    damaged = bytes(raw[: cut % len(raw)] if truncate else raw)
    try:
        picture = decode(damaged, (16, 16), 3)
    except BadImageError:  # any other exception fails the test
        return
    assert picture.shape == (16, 16, 3)
    assert picture.dtype == np.uint8
