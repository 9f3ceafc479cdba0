"""Runs for the estimator: `train` gives what is left of one, weights that pickle can store, with a run folder or without."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from halfseen.data import ImageSet, Split, choose_split
from halfseen.data.images import resize_all
from halfseen.data.sets import tensor_of
from halfseen.draws import Draws
from halfseen.machine.device import pick_device
from halfseen.method import View
from halfseen.model.build import views
from halfseen.model.facts import Facts
from halfseen.model.model import kept_of, network, read_model
from halfseen.probes import PROBES
from halfseen.run.fit import Fit
from halfseen.run.folder import Folder
from halfseen.run.labels import Wants
from halfseen.run.session import Session
from halfseen.run.tune import Start, head_settings
from halfseen.settings import Settings
from halfseen.training.judge import adjusted
from halfseen.training.trainer import Trainer

ROWS = 500  # predicted at a time


@dataclass
class Trained:
    """A classifier as plain values: pickle stores no module of torch, so a network from a user's file survives too."""

    about: dict[str, Any]  # how to build the network again, as a run folder's model.json says it
    facts: Facts
    weights: dict[str, NDArray[Any]]
    steps: int
    validation: float | None  # accuracy on what was held out, where it chose the network
    kept: dict[str, bytes] = field(default_factory=dict, repr=False)  # the files that its backbone is made from
    built: dict[str, tuple[nn.Module, View]] = field(
        default_factory=dict, repr=False
    )  # by device, when first asked for

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "built": {}}

    def probabilities(self, x: Tensor, device: str) -> NDArray[np.float64]:
        """[n, K] for vectors of the training's shape, or raw images of any size.

        Vectors are computed in float64: a row's probabilities then do not depend on the rows that come with it.
        """
        place = pick_device(device if torch.cuda.is_available() else "cpu")
        if str(place) not in self.built:
            self.built[str(place)] = self.build(place)
        net, clean = self.built[str(place)]
        shape = self.facts.shape
        kind = torch.float64 if len(shape) == 1 else torch.float32
        parts = [torch.empty(0, len(self.facts.classes), dtype=torch.float64)]
        with torch.no_grad():
            for rows in torch.split(x, ROWS):
                if len(shape) == 3:
                    rows = tensor_of(resize_all(rows.numpy(), (shape[1], shape[2]), shape[0]))
                parts.append(adjusted(net(clean(rows.to(place)).to(kind)).double(), self.facts.adjust).softmax(1).cpu())
        return torch.cat(parts).numpy()

    def build(self, place: torch.device) -> tuple[nn.Module, View]:
        """The network with its weights, and the view of raw rows that it expects."""
        weights = {k: tensor_of(v).reshape(v.shape) for k, v in self.weights.items()}
        with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are replaced at once
            net = network(self.about, self.facts, weights, self.kept, place)
        net.requires_grad_(False).eval()
        if len(self.facts.shape) == 1:
            net.double()
        return net, views(self.facts, place, Draws.seeded(0, place))("none")


def train(images: ImageSet, settings: Settings, out: Path | None, cache: Path | None) -> Trained:
    """A whole run; its folder is `out`, or there is none. cache: where a backbone's features stay; None: nowhere."""
    if cache is None and settings.backbone != "none":
        with tempfile.TemporaryDirectory(prefix="halfseen-") as place:
            return train(images, settings, out, Path(place))
    if out is None:
        return without_folder(images, settings, cache)
    made: Fit | Session
    if settings.method in PROBES:
        made = Fit(images, settings, split=rows_as_given, cache=cache)
        result = made.run(out)
    else:
        made = Session(images, settings, out, split=rows_as_given, cache=cache, start=start(images, settings, cache))
        result = made.run()
    if settings.report:
        from halfseen.report.page import write_run_page

        write_run_page(Folder(result.folder), made.images)
    parts = read_model(result.folder)
    chosen = result.metrics["best"]
    accuracy = chosen["val"]["accuracy"] if chosen else None
    about = {k: v for k, v in parts.about.items() if k not in ("format", "facts", "strange")}
    held = {k: v.numpy() for k, v in parts.weights.items()}
    return Trained(lasting(about), parts.facts, held, result.metrics["steps"], accuracy, dict(parts.kept))


def without_folder(images: ImageSet, settings: Settings, cache: Path | None) -> Trained:
    """A run that leaves no file: the best network on the held-out rows is kept in memory."""
    if settings.method in PROBES:
        made = Fit(images, settings, split=rows_as_given, cache=cache)
        whole, facts = made.finish(made.head(made.fit()))
        return Trained(made.about(), facts, arrays(whole), 0, None, kept_of(whole))
    keepers: list[Keeper] = []

    def keeper(trainer: Trainer) -> Keeper:
        keepers.append(Keeper(trainer))
        return keepers[0]

    from_head = start(images, settings, cache)
    session = Session(images, settings, None, split=rows_as_given, watchers=[keeper], cache=cache, start=from_head)
    trainer = session.train()
    predictors = trainer.method.predictors()
    name = trainer.best["predictor"] if trainer.best else next(iter(predictors))
    about = lasting({**session.about(trainer), "predictor": name})
    weights = keepers[0].best or arrays_as_scored(trainer, name)
    net = predictors[name]
    net.load_state_dict({k: tensor_of(v).reshape(v.shape) for k, v in weights.items()})
    whole, facts = session.finish(net)
    return Trained(about, facts, arrays(whole), trainer.total_steps, trainer.best.get("accuracy"), kept_of(whole))


def start(images: ImageSet, settings: Settings, cache: Path | None) -> Start | None:
    """What fine-tuning starts from: the same method, trained on a bank."""
    if settings.tune == "head":
        return None
    session = Session(images, head_settings(settings), None, split=rows_as_given, cache=cache)
    return Start(session.facts, session.train().method.state_dict(), session.split)


def rows_as_given(images: ImageSet, method: Wants, s: Settings) -> Split:
    """The labelled rows serve as unlabelled ones too, without their labels, where there are no others."""
    alone = bool((images.y >= 0).all())
    return choose_split(
        images.y,
        images.given,
        seed=s.split_seed,
        val=s.val_value(),
        classes=images.classes,
        include_labelled_in_unlabelled=method.labelled_in_unlabelled or (method.needs_unlabelled and alone),
        need_unlabelled=method.needs_unlabelled,
    )


class Keeper:
    """A watcher that copies the weights whenever the trainer has found them the best so far."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.best: dict[str, NDArray[Any]] = {}

    def logged(self, row: dict[str, Any]) -> None: ...
    def evaluated(self, row: dict[str, Any]) -> None: ...

    def at(self, step: int, steps: int, stage: str) -> None:
        best = self.trainer.best
        if best and best["step"] == step:
            self.best = arrays_as_scored(self.trainer, best["predictor"])


def arrays_as_scored(trainer: Trainer, predictor: str) -> dict[str, NDArray[Any]]:
    """Of a predictor of the method, with the batch-norm statistics that it is scored with."""
    net = trainer.method.predictors()[predictor]
    with trainer.judge.as_scored(trainer.method, net):
        return arrays(net)


def arrays(net: nn.Module) -> dict[str, NDArray[Any]]:
    """A copy of a network's weights on the host."""
    return {k: v.detach().cpu().clone().numpy() for k, v in net.state_dict().items()}


def lasting(about: dict[str, Any]) -> dict[str, Any]:
    """With whole paths of a user's own files, so that they are found from another folder."""
    method, net = about["method"], about["net"]
    if method.endswith(".py"):
        method = str(Path(method).resolve())
    if isinstance(net, str) and ".py:" in net:
        file, _, factory = net.rpartition(":")
        net = f"{Path(file).expanduser().resolve()}:{factory}"
    return {**about, "method": method, "net": net}


@contextmanager
def as_it_was(threads: int | None, device: str) -> Iterator[None]:
    """Torch's random state and number of threads are the caller's: they are put back afterwards."""
    on_gpu = device != "cpu" and torch.cuda.is_available()
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if on_gpu else []):
            yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
