"""Labels and a pool with a long tail: what class weights and logit adjustment are worth, `python scripts/tails.py`.

CIFAR-10 with `lite0` at 96 pixels; class k = 0..9 has HEAD[r] r^(-k/9) labels and 2,000 r^(-k/9) images in the pool, r = 10
or 40; the 2,000 test images are as many of each class. Rows of results/tails.jsonl, by label draw: the settings, plain and
balanced accuracy and the worst class's recall, on the test images and on the rest of the pool. What is there is not made
again. Logit adjustment changes no training, so one network is scored with each TAU.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photographs import ESTIMATE, OPTIM, SIDE, STEPS, at_size, pool
from torch import Tensor
from trials import has, keep, read

from halfseen.data import ImageSet
from halfseen.data.bank import Bank
from halfseen.model.facts import shift
from halfseen.probes import PROBES
from halfseen.run.fit import Fit
from halfseen.run.session import Session
from halfseen.settings import Settings
from halfseen.training import metrics
from halfseen.training.judge import adjusted

RESULTS = Path("results/tails.jsonl")
HEAD = {10: 20, 40: 40}  # labels of the first class
LARGEST = 2000  # images of it in the pool
METHODS: dict[str, tuple[str, ...]] = {
    "probe": (),
    "fixmatch": (*OPTIM, *ESTIMATE),  # as on a bank by default
    "dnll": (*OPTIM, *ESTIMATE),
}
WEIGHTS = ("none", "balanced")
TAUS = (0.0, 1.0)


def tail(images: ImageSet, ratio: int, draw: int) -> ImageSet:
    """The pool with that tail, the same one in every draw; and which of its labels are shown."""
    kept, shown = [], []
    random = np.random.default_rng(draw)
    for k in range(10):
        share = ratio ** (-k / 9)
        ids = np.flatnonzero(images.y.numpy() == k)[: round(LARGEST * share)]
        kept.append(ids)
        shown.append(random.choice(ids, max(1, round(HEAD[ratio] * share)), replace=False))
    chosen = torch.from_numpy(np.sort(np.concatenate(kept)))
    given = torch.isin(chosen, torch.from_numpy(np.concatenate(shown)))
    return replace(images, x=images.x[chosen], y=images.y[chosen], given=given, sums=())


def trained(images: ImageSet, s: Settings) -> tuple[Tensor, Tensor, Tensor, float]:
    """Logits of the test images and of those of the pool without a label, the latter's ids, and seconds of training."""
    began = time.monotonic()
    if s.method in PROBES:
        fit = Fit(images, s)
        fitted = fit.fit()
        bank, ids = fit.rows.bank, fit.split.unlabelled
        assert isinstance(bank, Bank)
        assert fit.rows.test_x is not None
        test = fit.scaled(bank.clean(fit.rows.test_x[:, 0])).numpy()
        asked = (test, fit.clean(ids).numpy())
        logits = [torch.from_numpy(fitted.predict_proba(x)).log() for x in asked]
        return logits[0], logits[1], ids, time.monotonic() - began
    session = Session(images, s, None)
    trainer = session.train()
    net = next(iter(trainer.method.predictors().values()))
    split = session.split
    ids = split.unlabelled[~torch.isin(split.unlabelled, split.labelled)]
    with trainer.judge.as_scored(trainer.method, net):
        test_x, _ = trainer.judge.parts["test"]
        return (
            trainer.judge.logits(net, test_x),
            trainer.judge.logits(net, session.rows.x, ids),
            ids,
            time.monotonic() - began,
        )


def rows(images: ImageSet, ratio: int, draw: int, method: str, weight: str) -> Iterator[dict[str, Any]]:
    some = tail(images, ratio, draw)
    s = Settings(
        method=method,
        backbone="lite0",
        size=SIDE,
        val="none",
        class_weight=weight,  # type: ignore[arg-type]
        steps=STEPS,
        batch=32,
        unlabelled_batch=128,
        seed=draw,
        split_seed=draw,
        overrides=METHODS[method],
        threads=1,
        quiet=True,
    )
    test, rest, ids, seconds = trained(some, s)
    shown = some.y[some.given]
    for tau in TAUS:
        by = shift(shown, 10, tau)
        found: dict[str, Any] = {"tail": ratio, "row": method, "weight": weight, "tau": tau, "draw": draw}
        for part, logits, y in (("test", test, some.test_y), ("pool", rest, some.y[ids])):
            assert y is not None
            scores = metrics.summary(adjusted(logits, by), y, 10)
            found[part] = {
                "accuracy": round(scores["accuracy"], 4),
                "balanced": round(scores["balanced_accuracy"], 4),
                "worst": round(min(scores["per_class"]), 4),
            }
        yield {**found, "labels": torch.bincount(shown).tolist(), "seconds": round(seconds, 1)}


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--root", type=Path, default=Path("data"))
    options.add_argument("--draws", type=int, nargs=2, default=(0, 5))
    options.add_argument("--methods", nargs="*", default=[*METHODS])
    told = options.parse_args()
    torch.set_num_threads(1)
    images = at_size(pool("cifar10-tail", told.root))
    done = read(RESULTS)
    for draw in range(*told.draws):
        for ratio in HEAD:
            for method in told.methods:
                for weight in WEIGHTS:
                    about = {"tail": ratio, "row": method, "weight": weight, "tau": TAUS[-1], "draw": draw}
                    if has(done, about):
                        continue
                    for row in rows(images, ratio, draw, method, weight):
                        keep(RESULTS, done, row)


if __name__ == "__main__":
    main()
