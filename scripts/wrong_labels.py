"""How many planted errors the list of `halfseen suggest --wrong` finds: `python scripts/wrong_labels.py --root data`.

CIFAR-10 (a pool of 10,000) and blood cells with `lite0` at 96 pixels, as many labels of each class, a tenth of them changed
to another class at random; label draws 0 to 4. Rows of results/wrong-labels.jsonl: precision of the first ten and of the
first as many as were planted (there it is also the recall), and of those that are suspected, with their recall. What is
there is not made again. Label spreading and self-confidence were chosen on draws 100 to 103.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photographs import at_size, pool
from trials import has, keep, read

from halfseen.backbones import load_backbone
from halfseen.data.bank import Bank, banked
from halfseen.data.store import Views
from halfseen.probes.rows import Array, scale_of
from halfseen.suggest.wrong import doubted

RESULTS = Path("results/wrong-labels.jsonl")
SETS = (("cifar10-10k", 100, 10), ("cifar10-10k", 200, 20), ("blood", 60, 6), ("blood", 120, 12))


def row(x: Array, truth: Array, classes: int, labels: int, planted: int, draw: int) -> dict[str, Any]:
    random = np.random.default_rng(draw)
    each = [random.choice(np.flatnonzero(truth == k), labels // classes, replace=False) for k in range(classes)]
    ids = np.sort(np.concatenate(each))
    bad = random.choice(len(ids), planted, replace=False)
    y = truth[ids].copy()
    y[bad] = (y[bad] + random.integers(1, classes, planted)) % classes
    wrong = np.isin(np.arange(len(ids)), bad)
    began = time.monotonic()
    found = doubted(x, ids, y, classes, draw)
    first = wrong[found.order]
    return {
        "first10": round(float(first[:10].mean()), 4),
        "top": round(float(first[:planted].mean()), 4),
        "suspected": int(found.suspected.sum()),
        "precision": round(float(wrong[found.suspected].mean()), 4) if found.suspected.any() else None,
        "recall": round(float(found.suspected[wrong].mean()), 4),
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--root", type=Path, default=Path("data"))
    options.add_argument("--draws", type=int, nargs=2, default=(0, 5))
    told = options.parse_args()
    torch.set_num_threads(1)
    done = read(RESULTS)
    opened: dict[str, tuple[Array, Array, int]] = {}
    for name, labels, planted in SETS:
        for draw in range(*told.draws):
            about = {"set": name, "labels": labels, "planted": planted, "draw": draw}
            if has(done, about):
                continue
            if name not in opened:
                images = at_size(pool(name, told.root))
                made = banked(images, load_backbone("lite0"), Views(), only_clean=True, progress=False)
                bank = made.bank
                assert isinstance(bank, Bank)
                h = bank.clean(made.x[:, 0]).numpy()
                opened[name] = scale_of(h, "unit")(h), images.y.numpy(), images.num_classes
            found = {**about, **row(*opened[name], labels, planted, draw)}
            keep(RESULTS, done, found)


if __name__ == "__main__":
    main()
