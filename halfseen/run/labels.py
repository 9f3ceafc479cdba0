"""Which labels a run sees, as its settings say it; and what is said of them before it begins."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from halfseen.data import ImageSet, Split, choose_split
from halfseen.settings import Settings


class Wants(Protocol):
    """What a method asks of the split."""

    @property
    def labelled_in_unlabelled(self) -> bool: ...
    @property
    def needs_unlabelled(self) -> bool: ...


SplitRule = Callable[[ImageSet, Wants, Settings], Split]


def draw_split(images: ImageSet, method: Wants, s: Settings) -> Split:
    """Which labels are seen, as the settings say it."""
    return choose_split(
        images.y,
        images.given,
        num_labels=s.num_labels,
        labels_per_class=s.labels_per_class,
        balanced=s.balanced,
        seed=s.split_seed,
        val=s.val_value(),
        val_folds=s.val_folds,
        val_fold=s.val_fold,
        extra_val_per_class=s.extra_val_per_class,
        classes=images.classes,
        # the labelled images of another domain are no examples of this one
        include_labelled_in_unlabelled=method.labelled_in_unlabelled and not images.two_domains,
        need_unlabelled=method.needs_unlabelled,
    )


FEW = 5  # labels below which a class is warned of
TIMES = 10  # as many as another class
NAMED = 12  # classes that are all told by name
EXAMPLES = 5


def labels_of(y: Tensor, classes: Sequence[str], s: Settings) -> list[str]:
    """Lines for the start of a run: how many labels each class has, and what to do where they are few or uneven."""
    n = torch.bincount(y, minlength=len(classes)).tolist()
    rare = sorted(range(len(n)), key=lambda k: n[k])
    least, most = rare[0], max(rare, key=lambda k: n[k])
    if n[least] == n[most]:
        said = [f"labels: {n[least]} of each class"]
    elif len(n) <= NAMED:
        said = ["labels: " + counted(range(len(n)), n, classes)]
    else:
        said = [f"labels: {n[least]} to {n[most]} a class, fewest of {counted(rare[:EXAMPLES], n, classes)}"]
    few = [k for k in rare if n[k] < FEW]
    if few:
        more = f" and {len(few) - EXAMPLES} more" if len(few) > EXAMPLES else ""
        which = "every class" if len(few) == len(n) else counted(few[:EXAMPLES], n, classes) + more
        said.append(
            f"fewer than {FEW} labels: {which}; one picture that is not typical leads such a class astray, so label a few "
            "more (halfseen suggest names them)"
        )
    if n[most] >= TIMES * n[least]:
        warning = f"{classes[most]} has {n[most] / n[least]:.0f} times the labels of {classes[least]}"
        if s.class_weight == "none" and s.logit_adjust == 0:
            warning += (
                ", and rare classes are then hardly ever predicted: --class-weight balanced or --logit-adjust 1 helps"
            )
        said.append(warning)
    return said


def counted(which: Sequence[int], n: Sequence[int], classes: Sequence[str]) -> str:
    return ", ".join(f"{classes[k]} {n[k]}" for k in which)
