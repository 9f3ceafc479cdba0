"""What is timed: the library's whole step on synthetic images, the passes it cannot avoid, and the loop everyone writes."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from halfseen.bench.timing import Parts, in_place_of
from halfseen.data import ImageSet, choose_split
from halfseen.data.sets import measure
from halfseen.draws import Draws
from halfseen.method import Batch, Plan, View
from halfseen.model.blueprint import Blueprint
from halfseen.model.build import views
from halfseen.model.facts import Facts
from halfseen.nets import make_net
from halfseen.overrides import with_settings
from halfseen.training.judge import Judge
from halfseen.training.loader import Loader
from halfseen.training.trainer import Pace, Trainer

CLASSES = tuple("0123456789")
FAR = 10**9  # steps: a run that does not end while it is timed


@dataclass(frozen=True)
class Case:
    """A network, its images and the rows of a batch."""

    net: str
    shape: tuple[int, int, int]
    labelled: int = 64
    unlabelled: int = 448

    @property
    def batch(self) -> tuple[int, int]:
        return self.labelled, self.unlabelled

    @property
    def size(self) -> str:
        c, h, w = self.shape
        return f"{self.labelled}+{self.unlabelled} of {h}x{w} {'grey' if c == 1 else 'colour'}"


def synthetic(shape: tuple[int, int, int], n: int) -> ImageSet:
    """Random bytes, in patches of 4x4 so that they are not all edges."""
    c, h, w = shape
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (n, c, -(-h // 4), -(-w // 4)), generator=generator, dtype=torch.uint8)
    x = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)[:, :, :h, :w].contiguous()  # [n, c, h, w]
    mean, std = measure(x)
    y = torch.arange(n) % len(CLASSES)
    return ImageSet("bench", CLASSES, x, y, torch.ones(n, dtype=torch.bool), mean, std, flip=c == 3)


class Deaf:
    """A watcher that does nothing with what it is told."""

    def logged(self, row: dict[str, Any]) -> None: ...
    def evaluated(self, row: dict[str, Any]) -> None: ...
    def at(self, step: int, steps: int, stage: str) -> None: ...


class Subject:
    """A method as `halfseen train` runs it, on synthetic images; `step()` is one whole step, the loading included."""

    def __init__(
        self,
        case: Case,
        device: torch.device,
        *,
        bf16: bool = False,
        compiled: bool = False,
        contiguous: bool = False,
        method: str = "fixmatch",
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """settings: of the method, as in {"weak_pass": "joint"}."""
        self.case, self.device = case, device
        blueprint = Blueprint.named(method)
        config = with_settings(blueprint.config, settings, method)
        images = synthetic(case.shape, max(1000, 2 * case.unlabelled, 2 * case.labelled))
        split = choose_split(
            images.y,
            images.given,
            num_labels=max(len(CLASSES), case.labelled),
            balanced=False,
            seed=0,
            val="none",
            include_labelled_in_unlabelled=blueprint.entry.method.labelled_in_unlabelled,
        )
        facts = Facts.of(images, split)
        torch.manual_seed(0)
        draws = Draws.seeded(0, device)
        built = (
            replace(blueprint, config=config, net=case.net)
            .fitted(case.shape)
            .build(facts, device, draws, compiled=compiled)
        )
        if contiguous:
            built.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # missing in torch's stub
            built.weak, built.strong = _contiguous(built.weak), _contiguous(built.strong)
        self.trainer = Trainer(
            built,
            Plan(FAR, len(split.labelled), len(split.unlabelled), case.batch),
            Loader(images, split, device, 0, 1),
            images.y,
            draws,
            Judge({}, views(facts, device, draws)("none"), device),
            seed=0,
            pace=Pace(),
            watcher=Deaf(),
            bf16=bf16,
        )
        self.trainer.enter()
        self.streams = self.trainer.data.streams(self.trainer.plan, self.trainer.stage.epoch, 0, None)
        self.method: Any = built

    def batch(self) -> Batch:
        return self.trainer.data.batch(self.streams, self.trainer.step)

    def step(self) -> None:
        trainer = self.trainer
        trainer.train_step(self.batch(), trainer.clock())
        trainer.step += 1
        trainer.total += 1

    def shares(self, steps: int) -> dict[str, float]:
        """The share of each part in so many steps."""
        parts, trainer, method = Parts(self.device), self.trainer, self.method

        def charge(part: str) -> Any:
            return lambda function: parts.around(part, function)

        def forward(*_: Any) -> None:
            parts.begin("forward, trained" if torch.is_grad_enabled() else "forward, weak views")

        hooks = [
            method.net.register_forward_pre_hook(forward),
            method.net.register_forward_hook(lambda *_: parts.end()),
        ]
        changes: list[tuple[Any, str, Any]] = [
            (trainer.data, "batch", charge("gather")),
            (method, "weak", charge("views")),
            (method, "strong", charge("views")),
            (trainer, "update", charge("backward")),
            *((optimizer, "step", charge("optimiser")) for optimizer in trainer.optimizers.values()),
            (method, "after_step", charge("EMA")),
            (trainer.tally, "add_losses", charge("tally")),
            (trainer.tally, "add_scores", charge("tally")),
        ]
        try:
            with in_place_of(changes), parts.whole():
                for _ in range(steps):
                    self.step()
        finally:
            for hook in hooks:
                hook.remove()
        return parts.shares()


class Bare:
    """The passes that FixMatch cannot do without, on views that lie ready: weak ones forward, the others and back."""

    def __init__(self, subject: Subject) -> None:
        method, batch = subject.method, subject.batch()
        self.net = copy.deepcopy(method.net)
        self.parameters = list(self.net.parameters())
        self.weak, self.y = method.weak(batch.u), batch.y
        trained = torch.cat([method.labelled_view(batch.x), method.strong(batch.u)])
        self.trained = trained.contiguous(memory_format=torch.channels_last)
        self.autocast = subject.trainer.autocast

    def step(self) -> None:
        with self.autocast():
            with torch.no_grad():
                confidence, pseudo = self.net(self.weak).float().softmax(1).max(1)
            logits = self.net(self.trained).float()
            loss = fixmatch_loss(logits[: len(self.y)], self.y, logits[len(self.y) :], pseudo, confidence)
        for p in self.parameters:
            p.grad = None
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate Tensor.backward


class Plain:
    """The loop everyone writes: one forward of all views with gradient, contiguous, torch's SGD, an average by a loop.

    Its views lie ready and its allocator is the system's own, so whatever its augmentation would take is a present to it.
    """

    def __init__(self, subject: Subject) -> None:
        method, batch, case = subject.method, subject.batch(), subject.case
        views = method.labelled_view(batch.x), method.weak(batch.u), method.strong(batch.u)
        self.views, self.y = [v.contiguous() for v in views], batch.y
        self.net = make_net(case.net, classes=len(CLASSES), shape=case.shape).to(subject.device).train()
        self.average = copy.deepcopy(self.net).requires_grad_(False)
        self.sgd = torch.optim.SGD(self.net.parameters(), lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def step(self) -> None:
        logits = self.net(torch.cat(self.views))
        logits_x, logits_w, logits_s = torch.split(logits, [len(view) for view in self.views])
        confidence, pseudo = logits_w.detach().softmax(1).max(1)
        loss = fixmatch_loss(logits_x, self.y, logits_s, pseudo, confidence)
        self.sgd.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate Tensor.backward
        self.sgd.step()
        with torch.no_grad():
            for mine, new in zip(self.average.parameters(), self.net.parameters(), strict=True):
                mine.mul_(0.999).add_(new, alpha=0.001)
            for counted, count in zip(self.average.buffers(), self.net.buffers(), strict=True):
                counted.copy_(count)


def fixmatch_loss(logits_x: Tensor, y: Tensor, logits_s: Tensor, pseudo: Tensor, confidence: Tensor) -> Tensor:
    kept = confidence >= 0.95
    return F.cross_entropy(logits_x, y) + (kept * F.cross_entropy(logits_s, pseudo, reduction="none")).mean()


def _contiguous(view: View) -> View:
    return lambda x: view(x).contiguous()
