"""How a method does on labelled images that it was not shown: runs without a folder, one for each fold of the labels."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from halfseen.data import ImageSet, Split
from halfseen.method import Method
from halfseen.probes.rows import folds
from halfseen.run.session import Session, draw_split
from halfseen.settings import Settings


@dataclass(frozen=True)
class Held:
    """What was said of the labelled images while they were held out, and of the others by the whole set of labels."""

    right: Tensor  # [L] share of the times that it was right; nan for an image that was never held out
    said: Tensor  # [N, K] probabilities of the unlabelled images


def said_of(images: ImageSet, s: Settings, ids: Tensor, without: Tensor) -> Tensor:
    """[n, K] probabilities of the images `ids` from a run whose labels lack those of `without`."""

    def rule(images: ImageSet, method: type[Method[Any]], s: Settings) -> Split:
        split = draw_split(images, method, s)
        kept = split.labelled[~torch.isin(split.labelled, without)]
        hidden = torch.cat([split.unlabelled, without]).unique()
        return replace(split, labelled=kept, unlabelled=hidden)

    session = Session(images, replace(s, quiet=True, report=False, tensorboard=False), None, split=rule)
    trainer = session.train()
    net = next(iter(trainer.method.predictors().values()))
    with trainer.judge.as_scored(trainer.method, net):
        return trainer.judge.logits(net, session.rows.x, ids).softmax(1)


def parts(y: np.ndarray[Any, Any], count: int, repeats: int, seed: int) -> Iterator[np.ndarray[Any, Any]]:
    """Row numbers to hold out, fold after fold."""
    for _, held in folds(y, count, repeats, seed):
        yield held
