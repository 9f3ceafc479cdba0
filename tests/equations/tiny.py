"""A network of a few weights in float64, and tasks and batches of feature vectors, for checking equations by hand."""

from typing import Any

import torch
from torch import Tensor, nn

from halfseen.draws import Draws
from halfseen.method import Batch, Clock, Losses, Method, Task
from halfseen.nets.net import Net
from halfseen.training.trainer import phases

D = 6


class Tiny(Net):
    def __init__(self, K: int) -> None:
        super().__init__()
        self.num_features = 5
        self.body = nn.Sequential(nn.Linear(D, 5), nn.Tanh())
        self.head = nn.Linear(5, K)
        self.double()

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)


def task(K: int = 4, seed: int = 0, weak: Any = None, strong: Any = None, labelled: int = 8) -> Task:
    torch.manual_seed(seed)
    same = lambda x: x  # noqa: E731
    return Task(
        classes=K,
        shape=(D,),
        samples=40,
        labelled=labelled,
        unlabelled=32,
        make_net=lambda prefer=None, **_: Tiny(K),
        view=lambda name: same,
        draws=Draws.seeded(seed),
        weak=weak or same,
        strong=strong or (lambda x: x + 0.1),
    )


def batch(K: int = 4, B: int = 8, U: int = 16, seed: int = 0, scale: float = 1.0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    x, u = (scale * torch.randn(n, D, generator=g, dtype=torch.float64) for n in (B, U))
    return Batch(x, torch.randint(0, K, (B,), generator=g), u, torch.arange(B), torch.arange(B, B + U))


def step(method: Method, data: Batch, clock: Clock | None = None, seed: int = 0) -> list[Losses]:
    """The losses of a step whose draws begin anew."""
    method.task.draws.generator.manual_seed(seed)
    return list(phases(method.loss(data, clock or Clock(0, 100, 10))))


def finite_difference(method: Method, data: Batch, which: int, p: nn.Parameter, at: int, **more: Any) -> float:
    """d (sum of the terms of update `which`) / d p[at], by central differences."""
    totals = []
    with torch.no_grad():
        for eps in (1e-6, -2e-6):
            p.view(-1)[at] += eps
            totals.append(float(step(method, data, **more)[which].total))
        p.view(-1)[at] += 1e-6
    return (totals[0] - totals[1]) / 2e-6


def number(t: Tensor | float) -> float:
    """A tensor of one element as a float, with or without gradient."""
    return t.item() if isinstance(t, Tensor) else float(t)
