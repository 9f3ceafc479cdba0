"""Where the real image sets lie (env HALFSEEN_SHARED or ../shared/data beside the checkout), for tests to use or skip."""

import os
import zipfile
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("HALFSEEN_SHARED") or Path(__file__).resolve().parents[2] / "shared" / "data")


def shared(relative: str) -> Path:
    """A file or folder of the shared data; skips the test that asks when it is not here."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"the shared data is not here: no {path} (set HALFSEEN_SHARED)")
    return path


def unpacked(name: str, target: Path) -> Path:
    """folders/NAME.zip unpacked below the target: the folder NAME."""
    with zipfile.ZipFile(shared(f"folders/{name}.zip")) as archive:
        archive.extractall(target)
    return target / name
