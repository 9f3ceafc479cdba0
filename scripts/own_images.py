"""The README's "Your own images", timed: `python scripts/own_images.py`, results/own-images.jsonl.

2,000 pictures of CIFAR-10 as JPEG files of 200 pixels in one folder, a labels.csv with 4 labels a class, 500 others in
photos/test: `halfseen train photos --out run`, with nothing else told, on each label draw. The first command also decodes
and makes the bank of views in an empty cache, as a new user's does; the others find them there.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from strategies import opened

RESULTS = Path("results/own-images.jsonl")
SIDE, TESTED, LABELS = 200, 500, 4


def write(x: Any, folder: Path, names: list[str]) -> None:
    for picture, name in zip(x, names, strict=True):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(picture.permute(1, 2, 0).numpy())
        small.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, quality=90)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--root", type=Path, default=Path("data"))
    options.add_argument("--draws", type=int, default=5)
    told = options.parse_args()
    place = Path(tempfile.mkdtemp(prefix="own-images-"))
    try:
        images = opened("cifar10-2k", told.root, side=None)
        assert images.test_x is not None
        assert images.test_y is not None
        y = images.y.numpy()
        write(images.x, place / "photos", [f"{i}.jpg" for i in range(len(y))])
        said = [images.classes[k] for k in images.test_y[:TESTED].tolist()]
        write(images.test_x[:TESTED], place / "photos" / "test", [f"{name}/{i}.jpg" for i, name in enumerate(said)])
        for draw in range(told.draws):
            random = np.random.default_rng(draw)
            chosen = [
                i for k in range(len(images.classes)) for i in random.permutation(np.flatnonzero(y == k))[:LABELS]
            ]
            rows = [f"{i}.jpg,{images.classes[y[i]]}\n" for i in chosen]
            (place / "photos" / "labels.csv").write_text("path,label\n" + "".join(rows))
            run = place / f"run-{draw}"
            command = [sys.executable, "-m", "halfseen", "train", str(place / "photos"), "--out", str(run)]
            load, began = os.getloadavg()[0], time.monotonic()
            subprocess.run(command, check=True, env={**os.environ, "HALFSEEN_CACHE": str(place / "cache")})
            seconds = round(time.monotonic() - began, 1)
            metrics = json.loads((run / "metrics.json").read_text())
            config = json.loads((run / "config.json").read_text())
            scores = metrics["headline"]["test"]
            found = {
                "draw": draw,
                "seconds": seconds,
                "load": round(load, 1),
                "method": config["settings"]["method"],
                "test": round(scores["accuracy"], 4),
                "probe": round(metrics["probes"].get("probe", {"test": scores["accuracy"]})["test"], 4),
            }
            with RESULTS.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print(json.dumps(found), flush=True)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
