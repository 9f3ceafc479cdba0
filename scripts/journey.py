"""As a new user: from pictures that nobody has labelled to a model, and on. `python scripts/journey.py SET`.

SETS: cifar10-2k (another size: cifar10-500), letters, blood, and painted (60 small pictures, for CI). For each number of
--labels: `suggest`, `label --train` in headless Chromium by keyboard with the set's own labels for answers (first of the
folder, then of the last run), `train`, `predict`; each timed as the command that a user types, and scored on test images,
or on what has no label. Beside it as many labels at random, trained alike (--no-random: not). A line for each in
results/journey.jsonl (--out). Nobody answers more than once in PACE seconds, as no person does: while the page is still
choosing, it asks for any picture.
"""

import argparse
import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))  # the driver of Chromium is the tests' own
from strategies import opened

from halfseen.data import ImageSet
from tests.labelling.browser import Browser, Page, found, until
from tests.labelling.photos import painted

RESULTS = Path("results/journey.jsonl")
ASKED = "(now?.question ? now.question.id : null)"
PACE = 1.0
START = 1800.0  # seconds for the backbone to look at every picture


def halfseen(*words: str) -> float:
    """Seconds of a command."""
    began = time.monotonic()
    print("$ halfseen", *words, flush=True)
    subprocess.run([sys.executable, "-m", "halfseen", *words], check=True)
    return round(time.monotonic() - began, 1)


def unlabelled(name: str, root: Path, place: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Pictures in place/photos and, where the set has a test part, in place/test: what each shows, by its file."""
    if name == "painted":
        return painted(place / "photos"), painted(place / "test", 30, seed=1)
    images = opened(name, root, side=None)
    pool = written(images, images.x, images.y.tolist(), place / "photos")
    if images.test_x is None or images.test_y is None:
        return pool, {}
    return pool, written(images, images.test_x, images.test_y.tolist(), place / "test")


def written(images: ImageSet, x: Any, y: list[int], folder: Path) -> dict[str, str]:
    folder.mkdir(parents=True)
    truth = {}
    for i, (picture, k) in enumerate(zip(x, y, strict=True)):
        array = picture.permute(1, 2, 0).numpy()
        Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(folder / f"{i}.png")
        truth[f"{i}.png"] = images.classes[k]
    return truth


def label(browser: Browser, source: Path, truth: dict[str, str], until_named: int, more: list[str]) -> dict[str, Any]:
    """Answer by keyboard until so many are named: seconds until the page is there, and of the answers."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        with log.open("wb") as out:
            words = ["label", str(source), "--train", *more]
            command = subprocess.Popen([sys.executable, "-m", "halfseen", *words], stdout=out, stderr=subprocess.STDOUT)
        print("$ halfseen", *words, flush=True)
        address = until(lambda: re.search(r"http://127\.0\.0\.1:\d+/\S+/", log.read_text()), START)[0]
        ready, page = time.monotonic(), browser.page(address)
        page.until("now?.question")
        while page.eval("now.named") < until_named:
            answer(page, truth)
        score = page.eval("now.training.score")
        ended = time.monotonic()
        command.send_signal(signal.SIGINT)
        command.wait(60)
        print(log.read_text().splitlines()[-1], flush=True)
    assert page.errors == [], page.errors
    return {"label_start": round(ready - began, 1), "label_answers": round(ended - ready, 1), "score": score}


def answer(page: Page, truth: dict[str, str]) -> None:
    asked, path, guess = page.eval(f"[{ASKED}, now.question.path, now.question.guess?.label ?? null]")
    name = truth[path]
    key = page.eval(f"now.classes.find(c => c.name === {json.dumps(name)})?.key ?? ''")
    if guess == name:
        page.key("Enter")
    elif key:
        page.key(key)
    else:
        page.type(name)
        page.key("Enter")
    page.until(f"!busy && {ASKED} !== {asked}")
    time.sleep(PACE)


def scored(run: Path, place: Path, pool: dict[str, str], test: dict[str, str]) -> dict[str, float]:
    """Accuracy of the run's predictions, by `halfseen predict`, and its seconds."""
    out = run.with_suffix(".csv")
    seconds = halfseen("predict", str(run), str(place / ("test" if test else "photos")), "--out", str(out))
    with (place / "photos" / "labels.csv").open() as file:
        seen = {row["path"] for row in csv.DictReader(file) if row["label"]}
    with out.open() as file:
        said = [(row["path"], row["label"]) for row in csv.DictReader(file) if test or row["path"] not in seen]
    truth = test or pool
    return {"accuracy": round(float(np.mean([truth[path] == name for path, name in said])), 4), "predict": seconds}


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("set")
    options.add_argument("--root", type=Path, default=Path("data"))
    options.add_argument("--labels", type=int, nargs="+", default=[20, 40, 80])
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--no-random", action="store_true")
    options.add_argument("--steps", type=int, help="of each training (default: train's own)")
    options.add_argument("--out", type=Path, default=RESULTS)
    told = options.parse_args()
    program = found()
    if program is None:
        print("no Chromium is installed here, so nobody can label: apt-get install chromium")
        return
    # these pictures are small, and `train` would begin from scratch with them, as no photograph makes it
    usual = ["--backbone", "lite0", "--seed", str(told.seed), *(["--steps", str(told.steps)] if told.steps else [])]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that Chromium is ended too
    place = Path(tempfile.mkdtemp(prefix="journey-"))
    browser = Browser(program, place / "profile")
    try:
        pool, test = unlabelled(told.set, told.root, place)
        photos, source = place / "photos", place / "photos"
        for number in told.labels:
            about = {"set": told.set, "labels": number, "seed": told.seed}
            sheet, run = place / f"to_label-{number}.csv", place / f"run-{number}"
            row = {**about, "how": "suggested", "suggest": halfseen("suggest", str(source), "--out", str(sheet))}
            row |= label(browser, source, pool, number, ["--seed", str(told.seed)])
            row["train"] = halfseen("train", str(photos), "--out", str(run), *usual)
            keep(told.out, {**row, **scored(run, place, pool, test)})
            source = run
        for number in [] if told.no_random else told.labels:
            chosen = np.random.default_rng(told.seed).permutation(len(pool))[:number]
            rows = [f"{path},{pool[path]}\n" for path in (list(pool)[i] for i in chosen)]
            (photos / "labels.csv").write_text("path,label\n" + "".join(rows))
            run = place / f"random-{number}"
            seconds = halfseen("train", str(photos), "--out", str(run), *usual)
            about = {"set": told.set, "labels": number, "seed": told.seed, "how": "random"}
            keep(told.out, {**about, "train": seconds, **scored(run, place, pool, test)})
    finally:
        browser.end()
        shutil.rmtree(place)


def keep(out: Path, row: dict[str, Any]) -> None:
    with out.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
