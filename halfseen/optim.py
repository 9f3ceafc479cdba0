"""How the parameters of one part of a method are updated: an Optim is data, a schedule is a pure function of progress.

Schedules are named in text, so that a run's config can say them and `--set method.optim.schedule="cos(1.17)"` works:

    constant            1
    cos(r)              (1 + cos(pi p / r)) / 2, r = T / training length (r > 1 ends above 0; default 1)
    cos7/16             cos(7 pi p / 16), the FixMatch family's
    linear(start)       1 up to progress `start` (default 0), then down to 0 in a straight line; Adam's beta1 changes there
    te(up, down)        exp(-5 (1 - p/up)^2) while p < up, times exp(-(d/2)^2 / 50) over the last `down` of training,
                        where d counts 50ths of that part: Temporal Ensembling's; Adam's beta1 falls with it
    steps(p1:f1,...)    f1 from progress p1 on, f2 from p2 on, ...; 1 before

p is the progress through the stage, in [0, 1]. A number may be a fraction: te(80/300, 50/300), steps(1/2:2/3).
"""

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from halfseen.errors import UserError, nearest
from halfseen.parts import ramps

Schedule = Callable[[float], float]


@dataclass(frozen=True)
class Optim:
    """One optimiser: its kind, rate and schedule."""

    kind: Literal["sgd", "adam", "adamw"] = "sgd"  # adamw: weight decay apart from the gradient
    lr: float = 0.03
    schedule: str = "cos7/16"  # the rate as a function of progress; see halfseen.optim
    momentum: float = 0.9  # sgd
    nesterov: bool = True  # sgd
    betas: tuple[float, float] = (0.9, 0.999)  # adam
    beta1_end: float | None = None  # adam: beta1 goes here with the fall of a te schedule, or where a linear one begins
    beta2_start: float | None = None  # adam: beta2 while a te schedule rises (Mean Teacher: .99)
    weight_decay: float = 5e-4
    decay_all: bool = False  # False: biases and batch norm are not decayed
    clip: float | None = None  # the norm that the gradient is cut to

    def __post_init__(self) -> None:
        schedule_of(self.schedule)
        if self.lr < 0 or self.weight_decay < 0:
            raise UserError(f"lr={self.lr} and weight_decay={self.weight_decay} must not be negative")


def _constant() -> Schedule:
    return lambda p: 1.0


def _cos(ratio: float = 1.0) -> Schedule:
    return lambda p: ramps.cosine(p, ratio)


def _cos716() -> Schedule:
    return lambda p: ramps.cosine_7_16(p, 1)


def _linear(start: float = 0.0) -> Schedule:
    if not 0 <= start < 1:
        raise ValueError(f"start={start}")
    return lambda p: min(1.0, (1 - p) / (1 - start))


def te_fall(progress: float, down: float) -> float:
    """exp(-(d/2)^2/50) with d = 50 at the end of training and 0 where its last `down` begins."""
    return ramps.te_rampdown(50 * progress / down, 50 / down, 50) if down > 0 else 1.0


def _te(up: float = 80 / 300, down: float = 50 / 300) -> Schedule:
    return lambda p: ramps.exp_rampup(p, up) * te_fall(p, down)


def _steps(*drops: tuple[float, float]) -> Schedule:
    def factor(p: float) -> float:
        return ([1.0] + [f for start, f in sorted(drops) if p >= start])[-1]

    return factor


_MAKERS: dict[str, Callable[..., Schedule]] = {
    "constant": _constant,
    "cos": _cos,
    "cos7/16": _cos716,
    "linear": _linear,
    "te": _te,
    "steps": _steps,
}


def number(text: str) -> float:
    """0.25, or a fraction, which six digits would not hold: 2/3."""
    above, _, below = text.partition("/")
    return float(above) / float(below or 1)


def named(text: str) -> tuple[str, list[str]]:
    """A schedule's name and what stands between its brackets."""
    match = re.fullmatch(r"\s*([a-z0-9/]+)\s*(?:\((.*)\))?\s*", text)
    if not match or match[1] not in _MAKERS:
        raise UserError(f"there is no schedule {text!r}; {nearest(match[1] if match else text, _MAKERS)}")
    return match[1], [v for v in (match[2] or "").split(",") if v.strip()]


@functools.cache
def schedule_of(text: str) -> Schedule:
    """The function that a schedule's text names."""
    name, values = named(text)
    try:
        if name == "steps":
            return _steps(*((number(a), number(b)) for a, b in (v.split(":") for v in values)))
        return _MAKERS[name](*map(number, values))
    except (TypeError, ValueError, ZeroDivisionError):
        raise UserError(f"schedule {text!r} has wrong numbers in its brackets; write it like cos(1.17)") from None


def groups(parameters: Iterable[nn.Parameter], spec: Optim) -> list[dict[str, object]]:
    """Decayed and undecayed parameters (vectors are biases and batch norm), apart by their share of the rate.

    A parameter's attribute `share` is what a fine-tuned backbone's layers have (model/tuned.py); without one it is 1.
    """
    found: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for p in parameters:
        if p.requires_grad:
            decayed = spec.decay_all or spec.weight_decay == 0 or p.ndim > 1
            found.setdefault((getattr(p, "share", 1.0), decayed), []).append(p)
    return [
        {"params": ps, "weight_decay": spec.weight_decay if decayed else 0.0, "share": share}
        for (share, decayed), ps in sorted(found.items(), key=lambda item: item[0], reverse=True)
    ]


class _Bare:
    """An optimiser of torch without the wrappers that hide it from torch.compile, which never sees it here.

    Such a wrapper loads the compiler when it is first called, and that is a quarter of the start of a run.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)


class SGD(_Bare, torch.optim.SGD):
    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


class Adam(_Bare, torch.optim.Adam):
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class AdamW(_Bare, torch.optim.AdamW):
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


def make_optimizer(parameters: Iterable[nn.Parameter], spec: Optim) -> torch.optim.Optimizer:
    """A torch optimiser that updates all parameters in one fused pass."""
    parts = groups(parameters, spec)
    if spec.kind == "sgd":
        nesterov = spec.nesterov and spec.momentum > 0
        return SGD(parts, lr=spec.lr, momentum=spec.momentum, nesterov=nesterov, fused=True)
    if spec.kind == "adam":
        return Adam(parts, lr=spec.lr, betas=spec.betas, fused=True)
    return AdamW(parts, lr=spec.lr, betas=spec.betas, fused=True)


def beta1_share(schedule: str, progress: float) -> float:
    """How much of Adam's first beta1 is left: VAT changes it at once where its rate begins to fall, TE little by little."""
    name, values = named(schedule)
    numbers = [number(v) for v in values] if name in ("linear", "te") else []
    if name == "linear":
        return 1.0 if progress < (numbers[0] if numbers else 0.0) else 0.0
    return te_fall(progress, numbers[1] if len(numbers) > 1 else 50 / 300)


def rises_until(schedule: str) -> float:
    """The progress at which a te schedule has risen; 0 for others."""
    name, values = named(schedule)
    if name != "te":
        return 0.0
    return number(values[0]) if values else 80 / 300


def set_rates(optimizer: torch.optim.Optimizer, spec: Optim, progress: float) -> None:
    """The rate (and Adam's beta1) at this point of the stage."""
    lr = spec.lr * schedule_of(spec.schedule)(progress)
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("share", 1.0)  # runs of before there were shares go on
        if "betas" in group:
            beta1, beta2 = spec.betas
            if spec.beta1_end is not None:
                beta1 = spec.beta1_end + (beta1 - spec.beta1_end) * beta1_share(spec.schedule, progress)
            if spec.beta2_start is not None and progress < rises_until(spec.schedule):
                beta2 = spec.beta2_start
            group["betas"] = (beta1, beta2)
