"""A pool half of which is something else: are strangers found, and what do they cost? `python scripts/strangers.py`.

PAIRS: the pictures that belong, and the strangers among them, as many of both as the smaller set has; `lite0` at 96 pixels,
4 labels a class, draws 0 to 4. Rows of results/strangers.jsonl, by pair, method, pool and draw; what is there is not made
again. The pool is clean (no stranger), mixed, or mixed and trained with --leave-out 0.05 (--shares: other ones too, of the
last pair).

    accuracy            on the images that belong and show no label, those that were left out with the strangers among them
    auroc               how often a stranger is stranger than such an image: by distance, energy (not of probes), 1 - max p
    lost, refused       of those that belong, and of the strangers, what --reject 0.05 refuses, by distance
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photographs import OPTIM, SIDE, STEPS, at_size, pool
from torch import Tensor
from trials import has, keep, read

from halfseen.data import ImageSet
from halfseen.probes import PROBES
from halfseen.probes.strange import SHARE, energy, of_features
from halfseen.run.belongs import Features, features_of
from halfseen.run.fit import Fit
from halfseen.run.session import Session
from halfseen.settings import Settings
from halfseen.training.metrics import auroc

RESULTS = Path("results/strangers.jsonl")
LAST = "CIFAR-100 among CIFAR-10"
PAIRS = {
    "letters among blood cells": ("blood", "letters"),
    "blood cells among letters": ("letters", "blood"),
    LAST: ("cifar10-2k", "cifar100-10k"),
}
MOST = 2_000
ALONE = "fixmatch, not aligned"  # of the last pair, clean and mixed only
METHODS = ("probe", "graph", "fixmatch", "dnll", ALONE)


def mixed(known: ImageSet, strangers: ImageSet | None, draw: int) -> ImageSet:
    """All images that belong, with as many strangers; those are of no class, and none of their labels is known."""
    known = replace(known, x=coloured(known.x), test_x=None, test_y=None, paths=None, test_paths=None, sums=())
    if strangers is None:
        return known
    chosen = np.random.default_rng(draw).permutation(len(strangers.x))[: len(known.x)]
    x = coloured(strangers.x[torch.from_numpy(np.sort(chosen))])
    y = torch.full((len(x),), -1)
    return replace(
        known,
        x=torch.cat([known.x, x]),
        y=torch.cat([known.y, y]),
        given=torch.cat([known.given, torch.zeros(len(x)) > 0]),
    )


def coloured(x: Tensor) -> Tensor:
    """Grey ones with three equal channels, so that a set may hold both."""
    return x.expand(-1, 3, -1, -1).contiguous()


def asked(images: ImageSet, s: Settings) -> tuple[Tensor, Tensor, Tensor, Features]:
    """Logits of all images, which of them show a label, how many were learned from without one, and features."""
    if s.method in PROBES:
        fit = Fit(images, s)
        p = torch.from_numpy(fit.fit().predict_proba(fit.clean(torch.arange(len(images.x))).numpy()))
        look = features_of(fit.rows)
        assert look is not None
        return p.log(), fit.split.labelled, fit.split.unlabelled, look
    session = Session(images, s, None)
    trainer = session.train()
    net = next(iter(trainer.method.predictors().values()))
    look = features_of(session.rows)
    assert look is not None
    with trainer.judge.as_scored(trainer.method, net):
        logits = trainer.judge.logits(net, session.rows.x)
    return logits, session.split.labelled, session.split.unlabelled, look


def row(images: ImageSet, method: str, draw: int, leave_out: float | None) -> dict[str, Any]:
    s = Settings(
        method=method.partition(",")[0],
        backbone="lite0",
        size=SIDE,
        labels_per_class=4,
        val="none",
        leave_out=leave_out,
        steps=None if method in PROBES else STEPS,
        batch=32,
        unlabelled_batch=128,
        seed=draw,
        split_seed=draw,
        overrides=() if method in PROBES else OPTIM if method != ALONE else (*OPTIM, "method.align=false"),
        threads=1,
        quiet=True,
    )
    began = time.monotonic()
    logits, labelled, learned, look = asked(images, s)
    hidden = torch.arange(len(images.y))
    hidden = hidden[~torch.isin(hidden, labelled)]
    belong, strange = hidden[images.y[hidden] >= 0], hidden[images.y[hidden] < 0]
    found: dict[str, Any] = {
        "accuracy": round(float((logits[belong].argmax(1) == images.y[belong]).double().mean()), 4),
        "learned_from": int((~torch.isin(learned, labelled)).sum()),
        "seconds": round(time.monotonic() - began, 1),
    }
    if len(strange):
        familiar = of_features(look(labelled), images.y[labelled])
        assert familiar is not None
        scores = {
            "distance": familiar.distance(look(torch.arange(len(images.y)))),
            "max p": -logits.softmax(1).amax(1),
        }
        if method not in PROBES:  # whose logits are logarithms of probabilities, which have no energy
            scores["energy"] = energy(logits)
        found["auroc"] = {name: round(auroc(score[belong], score[strange]), 4) for name, score in scores.items()}
        refused = ~familiar.known(scores["distance"], SHARE)
        found["lost"], found["refused"] = (round(float(refused[ids].double().mean()), 4) for ids in (belong, strange))
    return found


def kinds(pair: str, method: str, shares: list[float]) -> list[tuple[str, float | None]]:
    """Pools by name, with the share of --leave-out."""
    both: list[tuple[str, float | None]] = [("clean", None), ("mixed", None)]
    if method == ALONE:
        return both if pair == LAST else []
    return [*both, ("left out", SHARE), *((f"left out, {s:g}", s) for s in shares if pair == LAST)]


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--root", type=Path, default=Path("data"))
    options.add_argument("--draws", type=int, nargs=2, default=(0, 5))
    options.add_argument("--methods", nargs="*", default=METHODS)
    options.add_argument("--shares", type=float, nargs="*", default=[0.3])
    told = options.parse_args()
    torch.set_num_threads(1)
    done = read(RESULTS)
    for pair, names in PAIRS.items():
        known, others = (at_size(pool(name, told.root, SIDE)) for name in names)
        others = replace(others, x=others.x[:MOST])
        for draw in range(*told.draws):
            for method in told.methods:
                for kind, share in kinds(pair, method, told.shares):
                    about = {"pair": pair, "row": method, "pool": kind, "draw": draw}
                    if has(done, about):
                        continue
                    images = mixed(known, None if kind == "clean" else others, draw)
                    found = {**about, **row(images, method, draw, share)}
                    keep(RESULTS, done, found)


if __name__ == "__main__":
    main()
