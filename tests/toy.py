"""Small runs for tests: a trainer over toy data, without folder, command line or report."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from halfseen import methods
from halfseen.data import ImageSet, Split, choose_split, open_data
from halfseen.draws import Draws
from halfseen.errors import Stopped
from halfseen.method import Plan
from halfseen.model.blueprint import AUTO, Blueprint
from halfseen.model.build import reference_rows, views
from halfseen.model.facts import Facts
from halfseen.overrides import with_settings
from halfseen.training.judge import Judge
from halfseen.training.loader import Loader
from halfseen.training.trainer import Pace, Trainer


class Silent:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.log: list[dict[str, Any]] = []
        self.evaluations: list[dict[str, Any]] = []

    def logged(self, row: dict[str, Any]) -> None:
        self.log.append({k: v for k, v in row.items() if k != "seconds"})

    def evaluated(self, row: dict[str, Any]) -> None:
        self.evaluations.append({k: v for k, v in row.items() if k != "seconds"})

    def at(self, step: int, steps: int, stage: str) -> None:
        pass


def permuted(images: ImageSet, order: torch.Tensor) -> ImageSet:
    """The same images under other ids: row order[i] holds what row i held."""
    x, y, given = torch.empty_like(images.x), torch.empty_like(images.y), torch.empty_like(images.given)
    x[order], y[order], given[order] = images.x, images.y, images.given
    return replace(images, x=x, y=y, given=given)


def make_trainer(
    method: str,
    *,
    data: Any = "blobs",
    steps: int = 40,
    seed: int = 0,
    net: str = "auto",
    net_options: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    batch: tuple[int, int] = (16, 32),
    labels_per_class: int = 4,
    val: Any = "none",
    policies: tuple[str, str] | None = None,
    folder: Path | None = None,
    pace: Pace | None = None,
    rank: int = 0,
    world: int = 1,
    order: torch.Tensor | None = None,
) -> Trainer:
    images = data if isinstance(data, ImageSet) else open_data(data, progress=False)
    entry = methods.load(method)
    split = choose_split(
        images.y,
        images.given,
        num_labels=None,
        labels_per_class=labels_per_class,
        seed=seed,
        val=val,
        include_labelled_in_unlabelled=entry.method.labelled_in_unlabelled,
    )
    if order is not None:
        images = permuted(images, order)
        split = Split(order[split.labelled], order[split.unlabelled], order[split.val])
    facts = Facts.of(images, split)
    device = torch.device("cpu")
    torch.manual_seed(seed)
    draws = Draws.seeded(seed, device, rank, world)
    config = with_settings(entry.config(), settings or {}, "method")
    blueprint = Blueprint(entry, config, net, net_options, AUTO if policies is None else (*policies, *AUTO)[:3]).fitted(
        images.shape
    )
    built = blueprint.build(facts, device, draws, reference=reference_rows(images, split))
    torch.manual_seed(seed + 1)
    parts = {"test": (images.test_x, images.test_y)}
    if len(split.val):
        parts["val"] = (images.x[split.val], images.y[split.val])
    loader = Loader(images, split, device, rank, world)
    return Trainer(
        built,
        Plan(steps, len(split.labelled), len(split.unlabelled), batch),
        loader,
        images.y,
        draws,
        Judge(parts, views(facts, device, draws)("none"), device, data=loader),
        seed=seed,
        pace=pace or Pace(log_every=10, eval_every=20, save_every=1e9),
        watcher=Silent(),
        folder=folder,
    )


def stop_after(trainer: Trainer, steps: int) -> None:
    """Leave the loop as a signal would, with the state that a checkpoint saves."""
    was = trainer.watcher.at

    def at(step: int, total: int, stage: str) -> None:
        was(step, total, stage)
        if step >= steps:
            trainer.signum = 15

    trainer.watcher.at = at
    with pytest.raises(Stopped):
        trainer.run()
    trainer.signum = 0


def assert_same(one: object, two: object, at: str = "") -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two), at
    elif isinstance(one, dict):
        assert one.keys() == two.keys(), at
        for k in one:
            if k != "seconds":
                assert_same(one[k], two[k], f"{at}/{k}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), at
        for i, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_same(a, b, f"{at}/{i}")
    else:
        assert one == two, at
