"""What a user waits for and pays in memory besides training steps: decoding a folder, opening it again, starting, data.

Each row runs what a user would, in processes of its own.
"""

import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from halfseen.bench.rows import Row, Tick
from halfseen.bench.timing import in_turn, ratio

DECODERS = 2  # processes, of Pillow alone and of halfseen
DIFFERENT = 100  # pictures drawn; each file is a copy of one of them
SIDES = {"photographs": 320, "thumbnails": 64}
SHOWN = 64  # the side that they are resized to
PILLOW = """
import sys
import numpy as np
from PIL import Image
side, first, last, folder, target = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
pixels = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=(last - first, side, side, 3))
for i in range(first, last):
    with Image.open(f"{folder}/{i:06}.jpg") as picture:
        pixels[i - first] = np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
"""
TRAIN = """
import json, sys
import numpy as np
import halfseen
from halfseen.bench.peak import own_peak
x = np.load(sys.argv[1], mmap_mode="r")
y = np.full(len(x), -1)
y[:20] = np.arange(20) % 10
halfseen.train({"x": x, "y": y}, method="fixmatch", net="small", steps=20, batch=8, unlabelled_batch=64, val="none",
               threads=1, out=sys.argv[2], report=False, quiet=True)
print(json.dumps(own_peak()))
"""


def loading(files: int, rounds: int, tick: Tick) -> list[Row]:
    """A folder of JPEG files decoded into the cache, against two processes of bare Pillow; and opened a second time."""
    rows = []
    for kind, side in SIDES.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "pictures")
            write_pictures(folder, files, side)
            variants = {"pillow": partial(bare, folder, files), "halfseen": partial(fresh, folder)}
            seconds = in_turn(variants, rounds, 0, tick)
            again = [opened(folder, cache_of(folder)) for _ in range(2)]  # which the last round has filled
        share = ratio(seconds["pillow"], seconds["halfseen"])
        full = files >= 10_000
        says = f"of bare Pillow's speed, decoding {files:,} JPEG {kind} of {side} px with {DECODERS} processes"
        rows.append(Row(f"loading/{kind}", share, "x", says, 0.9, True, full, seconds))
        says = f"to open these {kind} a second time"
        rows.append(Row(f"second start/{kind}", min(again), "s", says, 1.0, False, full, {"halfseen": again}))
    return rows


def write_pictures(folder: Path, n: int, side: int) -> None:
    random = np.random.default_rng(0)
    folder.mkdir()
    kinds = []
    for _ in range(DIFFERENT):  # clouds with grain, which compress about as photographs do
        clouds = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((side, side))
        grain = random.normal(0, 8, (side, side, 1))
        picture = np.clip(np.asarray(clouds) + grain, 0, 255).astype(np.uint8)
        data = io.BytesIO()
        Image.fromarray(picture).save(data, "JPEG", quality=85)
        kinds.append(data.getvalue())
    for i in range(n):
        (folder / f"{i:06}.jpg").write_bytes(kinds[i % DIFFERENT])
    rows = [f"{i:06}.jpg,{i % 2 if i < 20 else ''}" for i in range(n)]
    (folder / "labels.csv").write_text("\n".join(["path,label", *rows]) + "\n")


def bare(folder: Path, n: int) -> float:
    began = time.perf_counter()
    bounds = [round(n * i / DECODERS) for i in range(DECODERS + 1)]
    parts = [
        [str(SHOWN), str(first), str(last), str(folder), str(folder.parent / f"pillow-{first}.npy")]
        for first, last in pairwise(bounds)
    ]
    running = [subprocess.Popen([sys.executable, "-c", PILLOW, *part]) for part in parts]
    ends = [process.wait() for process in running]  # all of them, also after a failure
    if any(ends):
        raise RuntimeError("Pillow alone could not decode the bench's own pictures")
    return time.perf_counter() - began


def fresh(folder: Path) -> float:
    shutil.rmtree(cache_of(folder), ignore_errors=True)
    return opened(folder, cache_of(folder))


def cache_of(folder: Path) -> Path:
    return folder.parent / "cache"


def opened(folder: Path, cache: Path) -> float:
    from halfseen.data import open_data

    began = time.perf_counter()
    open_data(folder, size=SHOWN, channels=3, cache_dir=cache, workers=DECODERS, progress=False)
    return time.perf_counter() - began


def memory(counts: tuple[int, int], tick: Tick) -> list[Row]:
    """Peak memory of a training run on memory-mapped images, few and many: what one more image costs."""
    peaks = []
    for n in counts:
        tick(f"{n:,} images")
        with tempfile.TemporaryDirectory() as place:
            x = Path(place, "x.npy")
            pixels = np.lib.format.open_memmap(x, mode="w+", dtype=np.uint8, shape=(n, 32, 32, 3))
            random = np.random.default_rng(0)
            for first in range(0, n, 10_000):
                block = pixels[first : first + 10_000]
                block[...] = random.integers(0, 256, block.shape, dtype=np.uint8)
            pixels.flush()
            del pixels
            peaks.append(peak_of_training(x, Path(place, "run")))
    few, many = counts
    image = 32 * 32 * 3
    slope = (peaks[1] - peaks[0]) / ((many - few) * image)
    constant = peaks[0] - slope * few * image
    held = {f"{n:,} images, MiB": [peak / 2**20] for n, peak in zip(counts, peaks, strict=True)}
    says = f"bytes of memory for each byte of image, {few:,} to {many:,} memory-mapped images of 32x32 colour"
    full = counts == (50_000, 500_000)
    rows = [Row("memory/slope", slope, "x", says, 1.1, False, full, held)]
    says = f"besides the images (peak {peaks[0] / 2**20:,.0f} MiB at {few:,}, {peaks[1] / 2**20:,.0f} MiB at {many:,})"
    return [*rows, Row("memory/constant", constant / 2**20, "MiB", says)]


def peak_of_training(x: Path, out: Path) -> int:
    """Bytes that a short run on the images in `x`, in a process of its own, held at most."""
    command = [sys.executable, "-c", TRAIN, str(x), str(out)]
    return int(json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout))


def start_up(rounds: int, tick: Tick) -> list[Row]:
    """From the shell's command to what the user waits for."""
    rows = []
    python = sys.executable
    cases: dict[str, tuple[list[str], float, str]] = {
        "help": ([python, "-m", "halfseen", "--help"], 1.0, "halfseen --help"),
        "import": (
            [python, "-c", "import halfseen; halfseen.train, halfseen.load"],
            3.0,
            "import halfseen, with train",
        ),
    }
    for name, (command, most, says) in cases.items():
        tick(says)
        seconds = [clocked(command) for _ in range(rounds)]
        rows.append(Row(f"start/{name}", statistics.median(seconds), "s", says, most, seconds={name: seconds}))
    tick("the first step")
    seconds = [first_step() for _ in range(rounds)]
    says = "from the shell to the first training step of fixmatch on mnist-5k"
    rows.append(Row("start/first step", statistics.median(seconds), "s", says, 6.0, seconds={"first step": seconds}))
    return rows


def clocked(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def first_step() -> float:
    """Until the first step has been logged."""
    with tempfile.TemporaryDirectory() as place:
        run = Path(place, "run")
        words = ["train", "mnist-5k", "--num-labels", "20", "--steps", "1000000", "--log-every", "1", "--no-report"]
        began = time.perf_counter()
        with ended([sys.executable, "-m", "halfseen", *words, "--out", str(run)]) as process:
            log = run / "log.jsonl"
            while not (log.is_file() and log.stat().st_size):
                if process.poll() is not None:
                    raise RuntimeError("the run that was to be timed ended before its first step")
                time.sleep(0.005)
            return time.perf_counter() - began


@contextmanager
def ended(command: list[str]) -> Iterator["subprocess.Popen[Any]"]:
    """The process, which does not outlive the block."""
    quiet: Any = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        yield process
    finally:
        process.kill()
        process.wait()
