"""Which labels a run sees, as its settings say it."""

from collections.abc import Callable
from typing import Protocol

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
