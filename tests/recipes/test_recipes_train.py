"""What every row of every recipe trains: something is perturbed in each stage, and no term of its loss is always 0.

The images are random and small and the networks small stand-ins, but methods, settings, views, lengths and the networks'
noise and dropout are the rows'.
"""

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from halfseen.commands.compare import job
from halfseen.data import ImageSet
from halfseen.data.published import PUBLISHED
from halfseen.method import Method
from halfseen.model.blueprint import read_options
from halfseen.nets import find_factory, make_net
from halfseen.nets.net import InputNoise, Net
from halfseen.overrides import below, pairs
from halfseen.parts.forward import frozen_batchnorm
from halfseen.recipes import Row, recipes
from halfseen.settings import Settings
from halfseen.training.trainer import phases
from tests.toy import make_trainer

RECIPES = recipes()
SIDE = 16
ADVERSARIAL = ("L_lds", "L_A")  # terms of VAT: a perturbation of its own
CERTAIN = 100.0  # the heads' outputs times this are almost one class: what a threshold lets through
PASSES_A_STEP = 64  # about, of runs whose length is in passes


class StandIn(Net):
    def __init__(self, classes: int, shape: tuple[int, ...], heads: int, noise: float, dropout: float) -> None:
        super().__init__()
        self.num_features = 24
        self.body = nn.Sequential(
            InputNoise(noise),
            nn.Conv2d(shape[0], 12, 3, stride=2, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(12, 24, 3, stride=2, padding=1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
        )
        self.head = nn.Linear(24, classes)
        self.head2 = nn.Linear(24, classes) if heads == 2 else None

    def features(self, x: Tensor) -> Tensor:
        h: Tensor = self.body(x)
        return h.mean((2, 3))


def stand_in(name: str) -> Callable[..., nn.Module]:
    """As much noise and dropout as the network of this name, and its options."""
    real = find_factory(name)[0]

    def made(classes: int, shape: tuple[int, ...], **options: Any) -> StandIn:
        given = inspect.signature(real).bind(classes, shape, **options)
        given.apply_defaults()
        values = given.arguments
        return StandIn(
            classes, shape, values.get("heads", 1), values.get("input_noise", 0.0), values.get("dropout", 0.0)
        )

    made.__signature__ = inspect.signature(real)  # type: ignore[attr-defined]
    return made


def pictures(data: str, grey: bool) -> ImageSet:
    known = PUBLISHED["mnist" if data == "digits" else data.rpartition(">")[2]]
    generator = torch.Generator().manual_seed(0)
    classes = len(known.classes)
    x = torch.randint(0, 256, (6 * classes, 1 if grey else 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    mean, std = torch.tensor(known.mean or (0.5,)), torch.tensor(known.std or (0.25,))
    c = x.shape[1]
    return ImageSet(
        name=data,
        classes=known.classes,
        x=x,
        y=torch.arange(6 * classes) % classes,
        given=torch.ones(6 * classes, dtype=torch.bool),
        mean=mean.expand(c).contiguous(),
        std=std.expand(c).contiguous(),
        flip=known.flip,
        test_x=x[:4],
        test_y=torch.arange(4),
    )


def grey(data: str, settings: Settings) -> bool:
    return (settings.channels or (1 if any(name in data for name in ("mnist", "usps", "digits")) else 3)) == 1


def faults_of(data: str, settings: Settings) -> list[str]:
    """What is wrong with a run of these settings, in words."""
    chosen = pairs(settings.overrides)
    images = pictures(data, grey(data, settings))
    steps = settings.steps or round(1000 * (settings.epochs or 0)) or round((settings.passes or 0) / PASSES_A_STEP)
    trainer = make_trainer(
        settings.method,
        data=images,
        steps=steps,
        net=stand_in(settings.net),  # type: ignore[arg-type]  # `build` takes a factory too
        net_options=read_options(settings.net, below(chosen, "net")),
        settings=below(chosen, "method"),
        batch=(8, 16),
        labels_per_class=2,
        policies=(settings.weak, settings.strong, settings.labelled),
    )
    changed: list[bool] = []
    clean = trainer.method.task.view("none")

    def watched(view: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def look(x: Tensor) -> Tensor:
            made = view(x)
            changed.append(bool((made != clean(x)).any()))
            return made

        return look

    for part in trainer.method.modules():
        if isinstance(part, Method):
            part.weak, part.strong = watched(part.weak), watched(part.strong)
            part.labelled_view = watched(part.labelled_view)
            if hasattr(part, "view"):  # of methods in rounds: the weak or the strong one, as a setting says
                part.view = watched(part.view)

    found = []
    largest: dict[str, float] = {}  # over the stages, since one of many rounds may choose nothing for a term
    for index, stage in enumerate(trainer.stages):
        trainer.stage_index, trainer.step, trainer.optimizers = index, 0, {}
        trainer.enter()
        streams = trainer.streams()
        changed.clear()
        sizes: dict[str, float] = {}
        for turn, progress in enumerate((0.0, 0.5, 0.5, 1.0)):
            trainer.step = min(stage.steps - 1, round(progress * stage.steps))
            if turn == 2:
                sharpen(trainer.method)
            clock, batch = trainer.clock(), trainer.data.batch(streams, 0)
            for losses in phases(stage.loss(batch, clock)):
                for name, term in losses.terms.items():
                    sizes[name] = max(sizes.get(name, 0.0), abs(float(term.detach())))
                if turn != 1:  # a network that has seen nothing else keeps its say for the next look
                    trainer.update(losses, stage.optim)
            with torch.no_grad():
                trainer.method.after_step(clock)
        largest |= {name: max(size, largest.get(name, 0.0)) for name, size in sizes.items()}
        adversarial = any(name.rpartition("/")[2] in ADVERSARIAL for name in sizes)
        if not (any(changed) or adversarial or wavers(trainer.method, clean(images.x[:8]))):
            found.append(f"{stage.name}: nothing is perturbed")
    return [*found, *(f"the term {name} is 0 throughout" for name, size in largest.items() if size == 0)]


def sharpen(method: nn.Module) -> None:
    """Sure of one class, so that thresholds let something through; a student and its average stay alike."""
    with torch.no_grad():
        for module in method.modules():
            for head in (getattr(module, name, None) for name in ("head", "head2", "second")):
                if isinstance(head, nn.Linear):
                    for p in head.parameters():
                        p.mul_(CERTAIN)


def wavers(method: nn.Module, x: Tensor) -> bool:
    """Does a network of the method say two things of the same images?"""
    nets = [m for m in method.modules() if isinstance(m, Net)]
    method.train()
    with torch.no_grad(), frozen_batchnorm(method):
        return any(not torch.equal(net(x), net(x)) for net in nets)


def test_every_row_perturbs_something_and_has_no_idle_term(tmp_path: Path) -> None:
    torch.manual_seed(0)
    seen: dict[Any, list[str]] = {}
    faults = []
    for name, recipe in RECIPES.items():
        for row in recipe.rows:
            made = job(recipe.data, row, recipe.labels[0], 0, recipe.common, tmp_path, 1)
            s = made.settings
            lengths = (s.steps, s.epochs, s.passes)
            key = (s.method, s.net, s.overrides, s.weak, s.strong, lengths, made.data, s.channels)
            if key not in seen:  # rows of several tables are the same run
                seen[key] = faults_of(made.data, s)
            faults += [f"{name}, {row.title}, {fault}" for fault in seen[key]]
    assert not faults
    assert len(seen) > 50


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (Row("mean_teacher", changes={"net": "wrn-28-2", "weak": "none", "strong": "te"}), "nothing is perturbed"),
        (Row("supervised", changes={"net": "wrn-28-2", "weak": "none", "strong": "te"}), "nothing is perturbed"),
        (Row("dnll:lambda_u=0", changes={"net": "cnn13"}), "the term 1/l_cross is 0"),
        (Row("fixmatch:tau=1.1", changes={"net": "cnn13"}), "the term L_u is 0"),
        (Row("dnll", changes={"net": "cnn13", "weak": "none", "strong": "none"}), ""),  # its noise and dropout
        (Row("vat", changes={"net": "wrn-28-2", "weak": "none"}), ""),  # its own
    ],
)
def test_a_row_without_either_is_found(row: Row, fault: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = job("svhn", row, 1000, 0, Settings(val="none", steps=1000), tmp_path, 1).settings
    found = faults_of("svhn", settings)
    assert any(fault in each for each in found) if fault else not found


def test_an_adversarial_row_normalises_by_one_deviation(tmp_path: Path) -> None:
    """eps is a length in the scale that the network sees: images of different scales have no common one."""
    for recipe in RECIPES.values():
        for row in recipe.rows:
            settings = dataclasses.replace(recipe.common, **row.changes)
            name, _, own = row.method.partition(":")
            adversarial = name in ("vat", "ccn") or "vat=true" in own or "host=vat" in own
            assert not (settings.per_image and adversarial)


def test_a_stand_in_has_the_noise_of_its_network() -> None:
    for name in {recipe.common.net for recipe in RECIPES.values()}:
        real = make_net(name, classes=10, shape=(3, 32, 32))
        noise, dropout = ([m for m in real.modules() if isinstance(m, kind)] for kind in (InputNoise, nn.Dropout))
        mine = make_net(stand_in(name), classes=10, shape=(3, 32, 32))
        assert isinstance(mine.body[0], InputNoise)
        assert mine.body[0].sd == max((m.sd for m in noise), default=0.0)
        assert mine.body[4].p == max((m.p for m in dropout), default=0.0)
