"""Small tasks for the equation tests of methods: vectors in float64 and an mlp, or digits and a convolutional network."""

from typing import Any

import torch
from torch import Tensor

from halfseen.draws import Draws
from halfseen.method import Batch, Clock, Losses, Method, Stage, Task
from halfseen.nets import make_net

MID = Clock(step=15, steps=30, epoch_steps=10)  # epoch 1: the first in which mu is not 0


def task(classes: int = 3, shape: tuple[int, ...] = (4,), net: str = "mlp", samples: int = 40, **options: Any) -> Task:
    if net == "mlp":
        options = {"width": 8, **options}
    return Task(
        classes=classes,
        shape=shape,
        samples=samples,
        labelled=6,
        unlabelled=samples - 6,
        make_net=lambda **more: make_net(net, classes=classes, shape=shape, **options, **more),
        view=lambda name: lambda x: x,
        draws=Draws.seeded(7),
        weak=lambda x: x,
        strong=lambda x: x,
    )


def batch(t: Task, B: int = 6, U: int = 9, dtype: torch.dtype = torch.float64, seed: int = 3) -> Batch:
    g = torch.Generator().manual_seed(seed)
    x, u = (torch.randn(n, *t.shape, generator=g, dtype=dtype) for n in (B, U))
    ids = torch.randperm(t.samples, generator=g)
    return Batch(x, torch.randint(0, t.classes, (B,), generator=g), u, ids[:B], ids[B : B + U])


def made(method: type[Method[Any]], config: Any, t: Task, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    built = method(config, t)
    return built.double() if t.shape == (4,) else built


def first(losses: Any) -> Losses:
    return losses if isinstance(losses, Losses) else next(losses)


def gradients(total: Tensor, module: torch.nn.Module) -> list[Tensor]:
    """Of every parameter; zeros where none arrives."""
    parameters = list(module.parameters())
    found = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def reaches(value: Tensor, module: torch.nn.Module) -> bool:
    return any(bool(g.any()) for g in gradients(value, module))


def descend(module: torch.nn.Module, gradient: list[Tensor], rate: float) -> None:
    with torch.no_grad():
        for p, g in zip(module.parameters(), gradient, strict=True):
            p -= rate * g


def one_step(method: Method[Any], b: Batch, stage: Stage, rate: float) -> None:
    """What the trainer does with plain gradient descent: an update for each Losses."""
    found = stage.loss(b, MID)
    for losses in [found] if isinstance(found, Losses) else found:
        names = losses.trains or tuple(stage.optim)
        steps = {n: gradients(losses.total, method.get_submodule(n)) for n in names}
        for n, g in steps.items():
            descend(method.get_submodule(n), g, rate)
