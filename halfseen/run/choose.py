"""--method auto: which method, without a test image: what trials on other sets expect, corrected by folds of the labels.

The gain of a method over the probe (logistic regression on the same features, the same labels), in shares of the images:

    expected    g +- s   by the pool's images a class, from the tuning draws of scripts/choices.py
    measured    d +- e   d = (n10 - n01)/L,  e = sqrt(n10 + n01 + 1)/L:  of L labelled images, while they were held out, n10
                         were right with the method and wrong with the probe, n01 the reverse; means over REPEATS foldings
    together    (g/s^2 + d/e^2) / (1/s^2 + 1/e^2)

The method with the largest gain is taken if that is above 0, else the probe. With few labels e is wide, and what is expected
decides; with many the folds do. How wide s is, and how often to fold, was settled by leaving each tuning set out of what is
expected of it (results/choices.md). That a method agrees with the probe on the unlabelled images, or with itself from fold
to fold, said nothing that held on more than one set, so it has no part in this. Where a run is not a matter of seconds (from
scratch, or --tune) there are no folds: it is DEFAULT.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from halfseen import methods
from halfseen.data import ImageSet, Split
from halfseen.data.bank import Bank
from halfseen.errors import UserError
from halfseen.machine import distributed
from halfseen.machine.progress import Display, Meter
from halfseen.model.facts import shift
from halfseen.overrides import pairs
from halfseen.probes import PROBES
from halfseen.probes.rows import Array, folds
from halfseen.run.beginning import open_images
from halfseen.run.belongs import without_strangers
from halfseen.run.beside import POOL, config_of
from halfseen.run.labels import Wants, draw_split
from halfseen.run.session import Session
from halfseen.run.start import settled, started, usual
from halfseen.settings import Settings
from halfseen.training.judge import adjusted

PROBE = "probe"
DEFAULT = "fixmatch"
FOLDS = 4
FOLD_STEPS = 500  # of a method in a fold, a third of its length
REPEATS = 2
MANY = 400  # labels from which on two folds, once, are enough
# the pool's images a class -> expected gain over the probe: means of the tuning sets' means (results/choices.jsonl) of below
# 40, 150, 500 and more images a class; between them by their logarithm, beyond them as at the end
EXPECTED: dict[str, tuple[tuple[float, float], ...]] = {
    "mixmatch": ((16, 0.009), (81, 0.037), (200, 0.066), (904, 0.076)),
    "graph": ((16, -0.061), (81, 0.040), (200, 0.057), (904, 0.042)),
}
SPREAD = 0.05  # s: of the gains about what is expected, between sets and draws


@dataclass(frozen=True)
class Candidate:
    """A method, and what speaks for it: gains over the probe."""

    method: str
    expected: float
    measured: float
    error: float
    gain: float
    folds: tuple[tuple[int, int, int], ...]  # n10, n01, L of each folding


def choose(data: Any, asked: Settings) -> tuple[Settings, dict[str, Any]]:
    """The settings with a method in place of `auto`; and for config.json what was asked, between what, and why."""
    display = Display(asked.quiet or distributed.outside_rank() > 0)
    if given := next((key for key in pairs(asked.overrides) if key.startswith("method.")), None):
        raise UserError(f"--set {given} is a setting of one method; name it: --method fixmatch")
    s, why = settled(data, asked)
    if why:
        display.say(why)
    if s.backbone == "none" or s.tune != "head":
        long = replace(s, method=DEFAULT)
        chosen = as_chosen(s, DEFAULT, "the default where a run is long", [])
        return (long if s.backbone == "none" else usual(long)), chosen
    if distributed.world() > 1:
        raise UserError("--method auto trains on folds in one process; name a method, or start it without torchrun")
    images = open_images(data, s)
    split = draw_split(images, methods.load(DEFAULT).method, s)
    rows, _ = started(images, s)
    if s.leave_out is not None:
        split, _ = without_strangers(rows, split, s.leave_out)
    began = time.monotonic()
    found = candidates(images, rows, split, s)
    best = max(found, key=lambda c: c.gain, default=None)
    name = best.method if best and best.gain > 0 else PROBE
    reason = said(name, found, time.monotonic() - began)
    display.say(reason)
    return usual(replace(s, method=name)), as_chosen(s, name, reason, found)


def as_chosen(s: Settings, method: str, reason: str, found: list[Candidate]) -> dict[str, Any]:
    return {"asked": s.as_json(), "method": method, "why": reason, "between": [asdict(c) for c in found]}


def said(name: str, found: list[Candidate], seconds: float) -> str:
    told = ", ".join(
        f"{c.method} {100 * c.gain:+.1f} points (expected {100 * c.expected:+.1f}, held-out labels "
        f"{100 * c.measured:+.1f} ± {100 * c.error:.1f})"
        for c in found
    )
    return f"method {name}, of what is expected over logistic regression: {told}; {seconds:.0f} s of trials"


def candidates(images: ImageSet, rows: ImageSet, split: Split, s: Settings) -> list[Candidate]:
    """What speaks for each method of the tables."""
    y = images.y[split.labelled].numpy()
    count, repeats = (2, 1) if len(y) >= MANY else (FOLDS, REPEATS)
    foldings = [list(folds(y, count, 1, s.split_seed + 1000 * r)) for r in range(repeats)]
    if not foldings[0]:  # no class has a label to spare
        return [weighed(m, expected(m, split, images), ()) for m in EXPECTED]
    probe = [held_out(y, parts, probe_of(PROBE, rows, split, y, s)) for parts in foldings]
    found = []
    for method in EXPECTED:
        with Meter(f"{method} on folds of the labels", sum(map(len, foldings)), s.quiet, what="folds") as meter:
            say = probe_of(method, rows, split, y, s) if method in PROBES else method_of(method, images, split, s)
            right = [held_out(y, parts, say, meter) for parts in foldings]
        found.append(weighed(method, expected(method, split, images), tuple(map(counted, right, probe))))
    return found


def counted(right: Array, probe: Array) -> tuple[int, int, int]:
    """n10, n01, L. right, probe: bool [L] of the labelled images that were held out."""
    return int((right & ~probe).sum()), int((~right & probe).sum()), len(right)


def weighed(method: str, g: float, found: tuple[tuple[int, int, int], ...], s: float = SPREAD) -> Candidate:
    if not found:
        return Candidate(method, g, 0.0, 1.0, g, ())
    d = float(np.mean([(n10 - n01) / L for n10, n01, L in found]))
    e = float(np.mean([np.sqrt(n10 + n01 + 1) / L for n10, n01, L in found]))
    return Candidate(method, g, d, e, (g / s**2 + d / e**2) / (1 / s**2 + 1 / e**2), found)


def expected(method: str, split: Split, images: ImageSet) -> float:
    points = EXPECTED[method]
    per_class = max(len(split.unlabelled), 1) / images.num_classes
    return float(np.interp(np.log10(per_class), np.log10([n for n, _ in points]), [g for _, g in points]))


Say = Callable[[Array, Array], Array]  # (rows shown, rows held out) of the labelled images -> [n, K] of the latter


def held_out(y: Array, parts: list[tuple[Array, Array]], say: Say, meter: Meter | None = None) -> Array:
    """bool: was each labelled image that was ever held out taken for its class then?"""
    right, asked = np.zeros(len(y), bool), np.zeros(len(y), bool)
    for shown, held in parts:
        right[held], asked[held] = say(shown, held).argmax(1) == y[held], True
        if meter is not None:
            meter.advance(1)
    return right[asked]


def probe_of(name: str, rows: ImageSet, split: Split, y: Array, s: Settings) -> Say:
    bank = rows.bank
    assert isinstance(bank, Bank)
    seen = bank.every_view(rows.x[split.labelled, 0]).numpy()
    pool = bank.clean(rows.x[torch.unique(torch.cat([split.labelled, split.unlabelled]))[:POOL], 0]).numpy()

    def say(shown: Array, held: Array) -> Array:
        cfg = config_of(name, s.class_weight == "balanced")
        p = PROBES[name].fit(seen[shown], y[shown], pool, cfg, classes=rows.num_classes).predict_proba(seen[held, 0])
        by = shift(torch.from_numpy(y[shown]), rows.num_classes, s.logit_adjust)
        return adjusted(torch.from_numpy(p).log(), by).numpy() if by else p

    return say


def method_of(name: str, images: ImageSet, split: Split, s: Settings) -> Say:
    given = replace(usual(replace(s, method=name)), steps=FOLD_STEPS, epochs=None, passes=None, minutes=None)

    def say(shown: Array, held: Array) -> Array:
        return probabilities(images, given, split.labelled[torch.from_numpy(held)]).numpy()

    return say


def probabilities(images: ImageSet, s: Settings, ids: Tensor, also: Tensor | None = None) -> Tensor:
    """[n, K] of these images, from a run without a folder in which they hide their labels; then of `also`."""

    def hidden(images: ImageSet, method: Wants, s: Settings) -> Split:
        split = draw_split(images, method, s)
        kept = split.labelled[~torch.isin(split.labelled, ids)]
        return replace(split, labelled=kept, unlabelled=torch.unique(torch.cat([split.unlabelled, ids])))

    session = Session(images, replace(s, quiet=True, tensorboard=False, compile=False), None, split=hidden)
    trainer = session.train()
    net = next(iter(trainer.method.predictors().values()))
    with trainer.judge.as_scored(trainer.method, net):
        asked = ids if also is None else torch.cat([ids, also])
        return trainer.judge.logits(net, session.rows.x, asked).softmax(1)
