"""Pictures: bad ones are named and counted, good ones of every mode and size come out alike."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from halfseen.data import decoder, images, open_data
from halfseen.errors import UserError
from tests.bad_input.given import QUICK, fill, picture
from tests.data.test_images import bomb


def spoil(root: Path) -> dict[str, str]:
    """Five bad files among the pictures: {path: what is said of it}."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "cat/cut.jpg")
    whole = (root / "cat/cut.jpg").read_bytes()
    (root / "cat/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "cat/corrupt.png").write_bytes(picture(Path("p.png")).read_bytes()[:-20] + bytes(20))
    (root / "cat/zero.jpg").write_bytes(b"")
    (root / "dog/text.jpg").write_text("<html>404 not found</html>")
    (root / "dog/huge.png").write_bytes(bomb(60_000))
    return {
        "cat/cut.jpg": "damaged",
        "cat/corrupt.png": "damaged",
        "cat/zero.jpg": "the file is empty",
        "dog/text.jpg": "not a picture that can be read",
        "dog/huge.png": "pixels that are safe to decode",
    }


def test_bad_images_are_named_and_counted(trains: Callable[..., str]) -> None:
    root = fill(Path("mine"), {"cat": 30, "dog": 30})
    expected = spoil(root)
    said = trains(root, "--labels-per-class", "4")
    assert "5 files were left out: cat/corrupt.png (damaged" in said
    assert "; all of them are in run/config.json" in said
    skipped = dict(json.loads(Path("run/config.json").read_text())["skipped"])
    assert skipped.keys() == expected.keys()
    assert all(words in skipped[path] for path, words in expected.items())
    assert json.loads(Path("run/metrics.json").read_text())["skipped"] == 5
    assert "Warning" not in said  # Pillow's


def test_on_bad_image_stop(wrong: Callable[..., str]) -> None:
    root = fill(Path("mine"), {"cat": 30, "dog": 30})
    spoil(root)
    said = wrong("train", root, *QUICK, "--on-bad-image", "stop")
    assert "cat/corrupt.png: damaged" in said
    assert "mend or remove it, or choose skip for bad images" in said
    assert "--on-bad-image cannot be 'ignore'; it is one of 'skip', 'stop'" in wrong(
        "train", root, "--on-bad-image", "ignore"
    )


def test_more_than_a_tenth_bad_stops(wrong: Callable[..., str]) -> None:
    root = fill(Path("mine"), {"cat": 9, "dog": 9})
    (root / "cat/zero.jpg").write_bytes(b"")
    (root / "dog/zero.jpg").write_bytes(b"")
    assert open_data(fill(Path("more"), {"cat": 10, "dog": 10})).skipped == ()
    assert "2 of 20 images are bad" not in str(open_data(root).skipped)  # a tenth, and not more
    (root / "dog/also.jpg").write_text("x")
    said = wrong("train", root, *QUICK, "--on-bad-image", "skip")
    assert "3 of 21 images are bad, more than a tenth; the first is cat/zero.jpg: the file is empty" in said
    assert not list(Path("cache").glob("*building*"))


def shade(mode: str) -> Image.Image:
    """A picture of this mode, dark on the left and bright on the right."""
    ramp = np.broadcast_to(np.linspace(10, 240, 24).astype(np.uint8), (20, 24))
    if mode == "I;16":
        return Image.fromarray(ramp.astype(np.uint16) * 257)
    if mode == "P with transparency":
        picture = Image.fromarray(ramp).convert("RGB").quantize(8)
        picture.info["transparency"] = 0
        return picture
    if mode in ("LA", "RGBA"):
        return Image.merge("RGBA", [Image.fromarray(ramp)] * 3 + [Image.new("L", (24, 20), 255)]).convert(mode)
    return Image.fromarray(ramp).convert("RGB" if mode in ("CMYK", "P") else mode).convert(mode)


MODES = [
    ("1", "png"),
    ("L", "png"),
    ("LA", "png"),
    ("P", "png"),
    ("P with transparency", "png"),
    ("RGB", "jpg"),
    ("RGBA", "png"),
    ("CMYK", "jpg"),
    ("I;16", "png"),
    ("L", "gif"),
    ("RGB", "webp"),
]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_all_sizes_and_modes(channels: int) -> None:
    """Sizes, modes and the camera's position differ; each comes out as the same ramp, upright."""
    root = Path("mine")
    for folder in ("cat", "dog"):
        (root / folder).mkdir(parents=True)
        for i, (mode, ending) in enumerate(MODES):
            exif = Image.Exif()
            exif[0x0112] = 3 if ending == "jpg" else 1  # held upside down
            look = shade(mode).resize((24 + i, 20), 0)
            stored = look.transpose(Image.Transpose.ROTATE_180) if ending == "jpg" else look
            kept = {"transparency": 0} if "transparency" in mode else {}
            stored.save(root / folder / f"{i}.{ending}", exif=exif, **kept)
    data = open_data(root, channels=channels, size=16)
    assert data.skipped == ()
    assert data.x.shape == (2 * len(MODES), channels, 16, 16)
    left, right = data.x[..., 2:6].float().mean((1, 2, 3)), data.x[..., -4:].float().mean((1, 2, 3))
    for name, dark, bright in zip(data.paths or (), left, right, strict=True):
        assert bright - dark > 100, name


def test_a_file_that_vanishes_between_listing_and_reading(
    trains: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fill(Path("mine"), {"cat": 10, "dog": 10})
    gone = root / "cat/3.png"
    work = decoder.work

    def late(job: Any, out: Any) -> Any:
        gone.unlink(missing_ok=True)
        return work(job, out)

    with monkeypatch.context() as patch:
        patch.setattr(decoder, "work", late)
        assert "1 file was left out: cat/3.png (the file does not exist)" in trains(root)
    picture(gone, 77)
    data = open_data(root)  # it is back
    assert data.skipped == ()
    assert data.x[3, 0, 0, 0] == 77


def test_a_folder_that_vanishes_between_listing_and_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    root = fill(Path("mine"), {"cat": 2, "dog": 2})
    listed = images.EXTENSIONS

    class Vanishing(frozenset[str]):
        def __contains__(self, ending: object) -> bool:
            shutil.rmtree(root / "dog", ignore_errors=True)
            return ending in listed

    monkeypatch.setattr("halfseen.data.folders.EXTENSIONS", Vanishing(listed))
    with pytest.raises(UserError, match=r"The folder mine/dog could not be read \(No such file or directory\)"):
        open_data(root)
