"""What users have on their disks: pictures, folders of them, tables, arrays; and how a mistake must end."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.shell import Ended

QUICK = ["--net", "small", "--threads", "1", "--batch", "4", "--unlabelled-batch", "4", "--no-report"]
RUN = [*QUICK, "--steps", "3", "--eval-every", "1", "--save-every", "1e-9"]  # a checkpoint after every step
LAST = Path("checkpoints/last.pt")
LABELS = "path,label\n0.png,cat\n1.png,dog\n"
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
SOME = np.array([0, 1] * 3 + [-1] * 6)


def sentence(work: Callable[[], Ended]) -> str:
    """The one sentence that a mistake ends with; the exit code is 2, and no run is left behind."""
    before = set(Path().iterdir())
    ended = work()
    assert ended.code == 2, ended.err
    assert ended.out == ""
    assert ended.err.startswith("halfseen: ")
    assert ended.err.count("\n") == 1
    assert len(ended.err) < 600
    assert {p.name for p in set(Path().iterdir()) - before} <= {"cache"}
    return ended.err


def picture(path: Path, level: int = 0, size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).save(path)
    return path


def fill(root: Path, counts: dict[str, int]) -> Path:
    """root/NAME/0.png ... : the grey level tells the picture."""
    level = 0
    for name, count in counts.items():
        for i in range(count):
            picture(root / name / f"{i}.png", level := (level + 3) % 256)
    return root


def table(text: str | bytes, files: int = 4) -> Path:
    """A folder `mine` with pictures 0.png, 1.png ... and this labels.csv."""
    root = Path("mine")
    for i in range(files):
        picture(root / f"{i}.png", 40 * i)
    (root / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def npz(**stored: Any) -> Path:
    np.savez("mine.npz", **{"x": PIXELS, "y": SOME, **stored})
    return Path("mine.npz")


def entries() -> list[Path]:
    """What the cache holds."""
    return [p for p in Path("cache").iterdir() if p.is_dir()]


def scores(run: Path) -> Any:
    """What a run found, without what depends on the clock."""
    found = json.loads((run / "metrics.json").read_text())
    for timed in (found, *found["probes"].values()):
        del timed["seconds"]
    return found
