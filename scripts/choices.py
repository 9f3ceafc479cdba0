"""What `--method auto` knows beforehand: gains over the probe on tuning draws, of whole runs and of folds of the labels.

python scripts/choices.py cifar10-10k --root data    # results/choices.jsonl; what is in it is not made again

The sets of scripts/photographs.py, 4 labels a class, `lite0` at 96 pixels, 2 weak and 4 strong views; draws 100 to 102,
which no table uses. `accuracy`: of the hidden labels of the pool. `folds`: of the labelled images, while they were held out,
how many a method had right and the probe wrong, the reverse, and of how many.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from photographs import at_size, pool

from halfseen import methods
from halfseen.data import ImageSet
from halfseen.data.bank import Bank
from halfseen.machine.progress import Meter
from halfseen.probes import PROBES
from halfseen.run.choose import DEFAULT, EXPECTED, candidates, probabilities
from halfseen.run.labels import draw_split
from halfseen.run.start import started, usual
from halfseen.settings import Settings

RESULTS = Path("results/choices.jsonl")
DRAWS = range(100, 103)


def look(images: ImageSet, draw: int) -> dict[str, Any]:
    s = usual(
        Settings(
            backbone="lite0", size=96, labels_per_class=4, val="none", seed=draw, split_seed=draw, threads=1, quiet=True
        )
    )
    rows, _ = started(images, s)
    assert isinstance(rows.bank, Bank)
    split = draw_split(images, methods.load(DEFAULT).method, s)
    hidden = split.unlabelled[~torch.isin(split.unlabelled, split.labelled)]
    y, truth = images.y[split.labelled].numpy(), images.y[hidden]
    seen, features = rows.bank.every_view(split.labelled).numpy(), rows.bank.clean(rows.x[:, 0]).numpy()
    accuracy = {}
    for name in ("probe", *EXPECTED):
        if name in PROBES:
            fitted = PROBES[name].fit(seen, y, features, classes=images.num_classes)
            p = torch.from_numpy(fitted.predict_proba(rows.bank.clean(hidden).numpy()))
        else:
            p = probabilities(images, usual(replace(s, method=name)), hidden, hide=False)
        accuracy[name] = round(float((p.argmax(1) == truth).double().mean()), 4)
    found = candidates(images, rows, split, s)
    return {
        "images_a_class": len(split.unlabelled) // images.num_classes,
        "accuracy": accuracy,
        "folds": {c.method: list(c.folds) for c in found},
    }


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("sets", nargs="+")
    options.add_argument("--root", type=Path, default=Path("data"))
    told = options.parse_args()
    done = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    torch.set_num_threads(1)
    with Meter("sets", len(told.sets) * len(DRAWS), what="draws") as meter:
        for name in told.sets:
            images = at_size(pool(name, told.root))
            for draw in DRAWS:
                about = {"set": name, "draw": draw}
                if not any(about.items() <= row.items() for row in done):
                    found = {**about, **look(images, draw)}
                    with RESULTS.open("a") as file:
                        file.write(json.dumps(found) + "\n")
                    print(json.dumps(found), flush=True)
                meter.advance(1)


if __name__ == "__main__":
    main()
