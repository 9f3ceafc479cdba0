"""What probes/strange.py and probes/twins.py were chosen by: `python scripts/belongs_trials.py`, a few minutes of a core.

Rows of results/belongs-trials.jsonl; they are made anew each time.

    strange     the pairs of scripts/strangers.py, half of the pool strangers, 4 labels a class, draws 0 to 4: AUROC of the
                distance with features as they are and centred by the pool; the share of strangers and of what belongs that
                lies beyond the labelled pictures' bound, and beyond the strangest 5% of the pool
    twins       SETS: pictures that have a twin among the others, and copies whose own picture is found, by what was done
                to them; with features of `lite0` (not of digits) and without
"""

import argparse
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from photographs import SIDE, at_size, pool
from PIL import Image
from strangers import MOST, PAIRS, mixed
from torch import Tensor

from halfseen import methods
from halfseen.backbones import load_backbone
from halfseen.data import ImageSet, open_data
from halfseen.data.bank import banked
from halfseen.data.store import Views
from halfseen.probes import strange, twins
from halfseen.probes.strange import SHARE
from halfseen.probes.twins import Kind
from halfseen.run.belongs import Features, features_of
from halfseen.run.labels import draw_split
from halfseen.settings import Settings
from halfseen.training.metrics import auroc

RESULTS = Path("results/belongs-trials.jsonl")
SETS = ("blood", "letters", "cifar10-2k", "digits")
DIGITS = 2_000
PER_CLASS = 4


def looked_at(images: ImageSet) -> Features:
    look = features_of(banked(images, load_backbone("lite0"), Views(), only_clean=True))
    assert look is not None
    return look


# ---- strange -------------------------------------------------------------------------------------------------------------


def of_strangers(images: ImageSet, look: Features, draw: int) -> dict[str, Any]:
    settings = Settings(labels_per_class=PER_CLASS, val="none", split_seed=draw)
    labelled = draw_split(images, methods.load("fixmatch").method, settings).labelled
    y, h = images.y, look(torch.arange(len(images.x)))
    rest = torch.arange(len(y))
    rest = rest[~torch.isin(rest, labelled)]
    far = y[rest] < 0
    found: dict[str, Any] = {}
    for name, features in {"as they are": h, "centred": h - h.mean(0)}.items():
        familiar = strange.of_features(features[labelled], y[labelled])
        assert familiar is not None
        scores = familiar.distance(features[rest])
        found |= {f"auroc, {name}": round(auroc(scores[~far], scores[far]), 4)}
        if name == "as they are":
            beyond = {"labelled": ~familiar.known(scores, SHARE), "pool": scores > scores.quantile(1 - SHARE)}
            for whose, over in beyond.items():
                shares = {"refused": over[far], "lost": over[~far]}
                found |= {f"{k}, bound of the {whose}": round(float(v.double().mean()), 4) for k, v in shares.items()}
    return found


def strange_rows(root: Path) -> list[dict[str, Any]]:
    rows = []
    for pair, names in PAIRS.items():
        known, others = (at_size(pool(name, root, SIDE)) for name in names)
        others = replace(others, x=others.x[:MOST])
        for draw in range(5):
            images = mixed(known, others, draw)
            rows.append(
                {"part": "strange", "pair": pair, "draw": draw, **of_strangers(images, looked_at(images), draw)}
            )
            print(json.dumps(rows[-1]), flush=True)
    return rows


# ---- twins ---------------------------------------------------------------------------------------------------------------


def brighter(x: Tensor) -> Tensor:
    return (x.float() * 1.1).clamp(0, 255).round().byte()


def halved(x: Tensor) -> Tensor:
    """Half as large and back."""
    small = F.interpolate(x.float(), scale_factor=0.5, mode="area")
    return F.interpolate(small, size=x.shape[2:], mode="bilinear").clamp(0, 255).round().byte()


def cut(x: Tensor) -> Tensor:
    """By 3% of the side, from a corner, and back to the size."""
    side = x.shape[3] - max(1, round(0.03 * x.shape[3]))
    return F.interpolate(x[:, :, :side, :side].float(), size=x.shape[2:], mode="bilinear").clamp(0, 255).round().byte()


def saved_again(x: Tensor) -> Tensor:
    """As JPEG of quality 50."""
    copies = []
    for picture in x.permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(picture.squeeze()).save(file, "JPEG", quality=50)
        copies.append(np.asarray(Image.open(file)).reshape(picture.shape))
    return torch.from_numpy(np.stack(copies)).permute(0, 3, 1, 2)


COPIES = {"brighter by a tenth": brighter, "half as large": halved, "JPEG of quality 50": saved_again, "cut by 3%": cut}


def twin_rows(name: str, root: Path) -> list[dict[str, Any]]:
    whole = open_data("mnist", root=root) if name == "digits" else pool(name, root)
    originals = whole.x[:DIGITS]
    n = len(originals)
    x = torch.cat(
        [originals, *(change(originals) for change in COPIES.values())]
    )  # copies of what was there at its own size
    y = whole.y[:n].repeat(1 + len(COPIES))
    images = at_size(open_data({"x": x.permute(0, 2, 3, 1).numpy(), "y": y.numpy()}), SIDE)
    rows = []
    for felt in (False,) if name == "digits" else (False, True):
        look = looked_at(images) if felt else None
        ids = torch.arange(n)
        first = Kind.of(images.x, ids, look)
        row: dict[str, Any] = {"part": "twins", "set": name, "pictures": n, "features": felt}
        row["has a twin"] = round(twins.within(first).pictures / n, 4)
        for k, kind in enumerate(COPIES, start=1):
            pairs = twins.between(first, Kind.of(images.x, ids + k * n, look)).pairs
            row[kind] = round(len({b for a, b in pairs if b - a == k * n}) / n, 4)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--root", type=Path, default=Path("data"))
    told = options.parse_args()
    torch.set_num_threads(1)
    rows = [row for name in SETS for row in twin_rows(name, told.root)] + strange_rows(told.root)
    RESULTS.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
