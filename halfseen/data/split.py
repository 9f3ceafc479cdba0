"""Which images show their label, which hide it and which are held out: chosen by seed, saved as ids."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from halfseen.errors import UserError

AUTO_VAL_LABELS = 10  # labels that every class must have before some are held out of training


@dataclass(frozen=True, eq=False)
class Split:
    """Positions in the training set, int64, ascending."""

    labelled: Tensor
    unlabelled: Tensor
    val: Tensor  # held out: in neither of the others

    def as_json(self) -> dict[str, list[int]]:
        return {"labelled": self.labelled.tolist(), "unlabelled": self.unlabelled.tolist(), "val": self.val.tolist()}

    @classmethod
    def from_json(cls, saved: Mapping[str, Sequence[int]]) -> "Split":
        try:
            parts = [torch.tensor(list(saved[key]), dtype=torch.int64) for key in ("labelled", "unlabelled", "val")]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                "The saved split is damaged: it must hold lists of ids named labelled, unlabelled and val."
            ) from error
        return cls(*parts)

    def checked(self, y: Tensor) -> "Split":
        """This split, if it can be one of images with these labels."""
        ids = torch.cat([self.labelled, self.unlabelled, self.val])
        inside = not len(ids) or (int(ids.min()) >= 0 and int(ids.max()) < len(y))
        if not inside or (y[self.labelled] < 0).any() or torch.isin(self.val, ids[: len(ids) - len(self.val)]).any():
            raise UserError(
                "The saved split is damaged: it names images that are not there, without a label, or held out twice."
            )
        return self


def stable_seed(*parts: int | str) -> int:
    """A seed for a generator that depends on the parts and on nothing else (Python's hash() changes by process)."""
    text = "/".join(str(p) for p in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def shuffled(rows: Tensor, *seed: int | str) -> Tensor:
    generator = torch.Generator().manual_seed(stable_seed(*seed))
    return rows[torch.randperm(len(rows), generator=generator)]


def choose_split(
    y: Tensor,
    given: Tensor,
    *,
    num_labels: int | None = None,
    labels_per_class: int | None = None,
    balanced: bool = True,
    seed: int = 0,
    val: str | float = "auto",
    val_folds: int = 5,
    val_fold: int = 0,
    extra_val_per_class: int = 0,
    include_labelled_in_unlabelled: bool = False,
    need_unlabelled: bool = True,
    classes: Sequence[str] | None = None,
) -> Split:
    """The labelled, unlabelled and held-out rows.

    Labels that are given but not chosen are hidden: their rows are unlabelled. The order in which a class's
    rows are drawn depends on the seed and the class only, so 20 labels are a part of 100 drawn with the same seed.
    `val` is held out of the chosen labelled rows, class by class: "auto" holds out fold `val_fold` of `val_folds` when
    every class has at least 10 labels, a float that share of each class, a whole number that many of each class.
    `extra_val_per_class` is the papers' protocol: so many given rows of each class are drawn first, belong to neither
    part, and "auto" then holds out no more.
    """
    names = list(classes) if classes is not None else [str(k) for k in range(int(y.max()) + 1 if len(y) else 0)]
    shown = (given & (y >= 0)).nonzero().flatten()
    by_class = torch.split(shown[y[shown].argsort(stable=True)], y[shown].bincount(minlength=len(names)).tolist())
    pools = [shuffled(rows, "labels", seed, k) for k, rows in enumerate(by_class)]
    _check_request(pools, names, num_labels, labels_per_class, val_folds, val_fold)

    extra = [pool[len(pool) - extra_val_per_class :] for pool in pools] if extra_val_per_class else []
    if extra_val_per_class:
        for name, pool in zip(names, pools, strict=True):
            if len(pool) <= extra_val_per_class:
                raise UserError(
                    f"Class {name!r} has {len(pool)} labels, too few to hold out {extra_val_per_class} and keep one: "
                    "hold out fewer."
                )
        pools = [pool[: len(pool) - extra_val_per_class] for pool in pools]

    quotas = _quotas([len(p) for p in pools], names, num_labels, labels_per_class, balanced, seed)
    chosen = [pool[:quota] for pool, quota in zip(pools, quotas, strict=True)]
    if val == "auto" and extra_val_per_class:
        val = "none"
    if val == "auto" and min(len(rows) for rows in chosen) < max(AUTO_VAL_LABELS, val_folds):
        val = "none"
    held = [_held_out(rows, k, val, val_folds, val_fold) for k, rows in enumerate(chosen)]
    kept = [rows[~torch.isin(rows, out)] for rows, out in zip(chosen, held, strict=True)]
    for name, rows in zip(names, kept, strict=True):
        if not len(rows):
            raise UserError(
                f"No labelled image of class {name!r} is left to train on after {val!r} was held out for validation: "
                "label more images of it, or hold out none."
            )

    labelled = torch.cat(kept).sort().values
    held_out = torch.cat(held + extra).sort().values
    hidden = torch.ones(len(y), dtype=torch.bool)
    hidden[held_out] = False
    if not include_labelled_in_unlabelled:
        hidden[labelled] = False
    unlabelled = hidden.nonzero().flatten()
    if need_unlabelled and not len(unlabelled):
        raise UserError(
            "Every image is labelled, so none is left to learn from without its label: hide some labels with "
            "--labels-per-class or --num-labels, add unlabelled images, or use the method supervised."
        )
    return Split(labelled, unlabelled, held_out)


def _check_request(
    pools: list[Tensor], names: list[str], num_labels: int | None, labels_per_class: int | None, folds: int, fold: int
) -> None:
    if num_labels is not None and labels_per_class is not None:
        raise UserError("Give either the number of labels or the labels per class, not both.")
    if not any(len(pool) for pool in pools):
        raise UserError("No image has a label: label a few of each class.")
    for name, pool in zip(names, pools, strict=True):
        if not len(pool):
            raise UserError(f"Class {name!r} has no labelled image: label at least one, or remove the class.")
    if labels_per_class is not None and labels_per_class < 1:
        raise UserError(f"{labels_per_class} labels per class teach nothing: give at least 1.")
    if num_labels is not None and num_labels < len(names):
        raise UserError(f"{num_labels} labels are too few for {len(names)} classes: give at least {len(names)}.")
    if folds < 2 or not 0 <= fold < folds:
        raise UserError(
            f"Validation fold {fold} of {folds} does not exist: folds count from 0, and there are at least 2."
        )


def _quotas(
    sizes: list[int], names: list[str], num_labels: int | None, per_class: int | None, balanced: bool, seed: int
) -> list[int]:
    """How many labels each class shows."""
    if per_class is not None:
        for name, size in zip(names, sizes, strict=True):
            if size < per_class:
                raise UserError(
                    f"Class {name!r} has {size} labelled images, fewer than the {per_class} asked for: ask for at most "
                    f"{min(sizes)} per class."
                )
        return [per_class] * len(sizes)
    if num_labels is None:
        return sizes
    if num_labels > sum(sizes):
        raise UserError(f"{num_labels} labels were asked for and {sum(sizes)} are there: ask for no more than these.")
    # the classes in a seeded order, which decides ties: who gets the remainder
    order = shuffled(torch.arange(len(sizes)), "remainder", seed).tolist()
    quotas = [1] * len(sizes)  # a class without any label could never be learned
    if not balanced:
        share = [num_labels * size / sum(sizes) for size in sizes]
        quotas = [min(size, max(1, int(s))) for size, s in zip(sizes, share, strict=True)]
        while sum(quotas) > num_labels:  # the floor of 1 for rare classes is paid for by the classes above their share
            k = max((k for k in order if quotas[k] > 1), key=lambda k: quotas[k] - share[k])
            quotas[k] -= 1
        while sum(quotas) < num_labels:
            k = max((k for k in order if quotas[k] < sizes[k]), key=lambda k: share[k] - quotas[k])
            quotas[k] += 1
        return quotas
    left = num_labels - sum(quotas)
    while left:  # in rounds: every class that has images left gets the same, what remains goes by the seeded order
        open_ = [k for k in order if quotas[k] < sizes[k]]
        step = min(max(1, left // len(open_)), min(sizes[k] - quotas[k] for k in open_))
        for k in open_[: left // step]:
            quotas[k] += step
            left -= step
    return quotas


def _held_out(rows: Tensor, k: int, val: str | float, folds: int, fold: int) -> Tensor:
    """The validation part of one class's chosen rows, which come in random order."""
    if val == "none":
        return rows[:0]
    if val == "auto":
        # the offset k spreads the remainders of the classes over the folds, so that all folds have about one size
        return rows[(torch.arange(len(rows)) + k) % folds == fold]
    if isinstance(val, str):
        raise UserError(
            f"{val!r} is no way to hold out images: give auto, none, a share such as 0.2, or a number per class."
        )
    if val < 0 or (val > 1 and val != int(val)):
        raise UserError(f"{val} images cannot be held out: give a share between 0 and 1, or a whole number per class.")
    number = int(val) if isinstance(val, int) or val >= 1 else round(val * len(rows))
    if number >= len(rows):
        return rows
    return rows.roll(-fold * number)[:number]
