"""What a finished run says of pictures: its model, and each of its networks where it has two or more."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from halfseen.data import ImageSet
from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.machine.progress import Meter
from halfseen.model.blueprint import Blueprint
from halfseen.model.facts import Facts
from halfseen.model.model import Model
from halfseen.model.pixels import OnPixels
from halfseen.nets.net import Net
from halfseen.parts.ema import Ema
from halfseen.probes.rows import Array
from halfseen.training import checkpoint
from halfseen.training.judge import adjusted

ROWS = 500


@dataclass(frozen=True, eq=False)
class Said:
    p: Array  # [N, K]
    features: Array  # [N, d] what the model's last layer is given; the probabilities where that is not known
    committee: Array | None  # [M, N, K]


@torch.no_grad()
def said_by(run: Path, model: Model, images: ImageSet, h: Tensor | None, quiet: bool) -> Said:
    """h: [N, d] features of the backbone that the run stands on, where it does."""
    net = model.net.head if isinstance(model.net, OnPixels) else model.net
    nets = [net, *networks(run, model)]
    of_last: list[Tensor] = []
    last = net.net if isinstance(net, Ema) else net
    hook = None
    if h is None and isinstance(last, Net):
        hook = last.head.register_forward_pre_hook(lambda _, given: of_last.append(given[0].float().cpu()))
    found: list[list[Tensor]] = [[] for _ in nets]
    try:
        with Meter("the run's model looks at pictures", len(images.x), quiet) as meter:
            for x in inputs(model, images, h):
                for each, said in zip(nets, found, strict=True):
                    said.append(adjusted(each.eval()(x).float(), model.facts.adjust).softmax(1).cpu())
                meter.advance(len(x))
    finally:
        if hook is not None:
            hook.remove()
    ps = [torch.cat(said).numpy() for said in found]
    features = ps[0] if h is None else h.numpy()
    return Said(ps[0], torch.cat(of_last).numpy() if of_last else features, np.stack(ps[1:]) if ps[1:] else None)


def inputs(model: Model, images: ImageSet, h: Tensor | None) -> Iterator[Tensor]:
    """What the networks of the run take, a part at a time."""
    for rows in torch.split(torch.arange(len(images.x)), ROWS):
        if h is None:
            yield model.clean(images.x[rows].to(model.device))
        else:
            assert isinstance(model.net, OnPixels)
            yield (h[rows].to(model.device) - model.net.mean) / model.net.std


def networks(run: Path, model: Model) -> list[nn.Module]:
    """The networks that the run trained side by side, if there are two or more; averages of one of them, and what is put
    together from them, have no opinion of their own."""
    file = run / "checkpoints" / "last.pt"
    if not file.is_file():
        return []
    of_net = Facts.from_json(model.about["head_facts"]) if "backbone" in model.about else model.facts
    method = Blueprint.from_json(model.about, str(run / "method.py")).build(
        of_net, model.device, Draws.seeded(0, model.device)
    )
    try:
        method.load_state_dict(checkpoint.load(file)["method"])
    except (KeyError, RuntimeError, AttributeError, TypeError) as e:
        raise UserError(f"the checkpoint {file} is of another run than its model: put the right one back") from e
    nets = [net for net in method.predictors().values() if not isinstance(net, Ema)]
    weights = [{id(w) for w in net.parameters()} for net in nets]
    alone = [n for n, w in zip(nets, weights, strict=True) if not any(other < w for other in weights)]
    return alone if len(alone) > 1 else []
