"""The first step of every stage of a method, by plain gradient descent, in one process or in several."""

from typing import Any

import pytest
import torch

from halfseen.model import build
from halfseen.training import trainer as loop
from tests.contract.cases import PICTURES, case, is_aligned, source
from tests.toy import make_trainer

STEPS = 60
RATE = 0.1
MIXED = ("mean_teacher", "pi_model", "temporal_ensembling")  # methods that have the key `mixed`
# in float32, of the largest number in a tensor, but at least of 1; batch norm of few rows, and a graph of what comes out of
# it, divide small numbers by small ones
NEAR = {"blobs": 1e-6, "aligned": 1e-6, "mixed": 1e-6, "pictures": 5e-5}
DTYPES = (torch.float32, torch.float64)


def problems(name: str) -> dict[str, dict[str, Any]]:
    """With dropout, noise on the input and batch norm, whatever the other cases leave out."""
    settings = {k: v for k, v in case(name)["settings"].items() if not k.startswith("use_")}
    blobs = {**case(name), "steps": STEPS, "net_options": {"dropout": 0.3}, "settings": settings}
    pictures = {
        **PICTURES,
        "steps": STEPS,
        "settings": settings,
        "net_options": {"width": 8, "dropout": 0.3, "early_dropout": 0.2},
    }
    found = {"blobs": blobs, "pictures": pictures}
    if source(name) in MIXED:
        found["mixed"] = {**blobs, "settings": {**settings, "mixed": True}, "batch": (5, 31), "labels_per_class": 40}
    if is_aligned(name):
        found["aligned"] = {**blobs, "settings": {**settings, "align": True, "align_to": "estimate"}}
    return found


def first_steps(name: str, given: dict[str, Any], dtype: torch.dtype, rank: int = 0, world: int = 1) -> dict[str, Any]:
    """What the method is after the first step of each stage, half-way in its ramps, and what was reported."""
    with pytest.MonkeyPatch.context() as patch:
        make = build.make_policy
        patch.setattr(build, "make_policy", lambda *a, **k: Cast(make(*a, **k), dtype))
        # Adam divides a gradient by its own size, and so would make something of what is nothing but rounding
        patch.setattr(loop, "make_optimizer", lambda parameters, spec: torch.optim.SGD(parameters, RATE))
        patch.setattr(loop, "set_rates", lambda *_: None)
        trainer = make_trainer(source(name), **given, rank=rank, world=world)
        trainer.method.to(dtype)
        found: dict[str, Any] = {}
        for index, stage in enumerate(trainer.stages):
            trainer.stage_index, trainer.step, trainer.optimizers = index, 0, {}
            trainer.enter()
            trainer.step = stage.steps // 2
            trainer.train_step(trainer.data.batch(trainer.streams(), 0), trainer.clock())
            means, bad = trainer.tally.read()
            assert bad is None
            found |= {f"{index}/{k}": v.clone() for k, v in trainer.method.state_dict().items()}
            found |= {f"{index}/{k}": torch.tensor(v, dtype=torch.float64) for k, v in means.items()}
        return found


class Cast:
    """A view whose images have this kind of number."""

    def __init__(self, view: Any, dtype: torch.dtype) -> None:
        self.view, self.dtype = view, dtype

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.view(x).to(self.dtype)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.view, name)
