"""What of a run's pictures is of no class, and what is there twice: measured at its end, or before, and told.

Strangers are measured by probes/strange.py, twins by probes/twins.py; --leave-out takes the strangers from the pool before
anything is trained.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from halfseen.data import ImageSet, Split
from halfseen.data.bank import Bank
from halfseen.errors import UserError
from halfseen.probes import strange, twins
from halfseen.probes.strange import SHARE, Familiar, of_features, of_logits
from halfseen.probes.twins import Kind, Twins

ENOUGH = 20  # validation pictures whose energies say what is usual
MANY = 2  # times what was to be expected, from which on strangers are told of
LISTED = 12  # pairs of twins

Features = Callable[[Tensor], Tensor]  # of images by number [n] -> [n, d]


@dataclass(frozen=True)
class Strangers:
    """What a model will measure by, and how strange the pictures of the pool are."""

    familiar: Familiar
    ids: Tensor  # [n] of the images without a label
    scores: Tensor  # [n]

    def as_json(self, split: Split) -> dict[str, Any]:
        """beyond: so many are stranger than what belongs; learned_from: so many of these were not left out."""
        beyond = ~self.familiar.known(self.scores, SHARE)
        kept = beyond & torch.isin(self.ids, split.unlabelled)
        return {
            **self.familiar.about(),
            "share": SHARE,
            "beyond": int(beyond.sum()),
            "learned_from": int(kept.sum()),
            "pictures": len(self.ids),
        }

    def arrays(self) -> dict[str, Any]:
        return {"strange_ids": self.ids.numpy(), "strange": self.scores.float().numpy()}


def features_of(rows: ImageSet, part: str = "x", vectors: bool = False) -> Features | None:
    """What distances are measured in: the clean rows of a bank; vectors, where these are features and stay what they are."""
    x = getattr(rows, part)
    if isinstance(rows.bank, Bank):
        bank = rows.bank
        return lambda ids: bank.clean(x[ids, 0])
    return (lambda ids: x[ids]) if vectors and not rows.is_images else None


def strangers(
    rows: ImageSet, split: Split, look: Features | None, logits: Mapping[str, Tensor], hidden: Tensor | None
) -> Strangers | None:
    """logits: of the scored parts; hidden: of the unlabelled images."""
    if look is not None:
        familiar = of_features(look(split.labelled), rows.y[split.labelled])
        if familiar is None:
            return None
        ids = pool_of(rows, split)
        return Strangers(familiar, ids, familiar.distance(look(ids)))
    others = ~torch.isin(split.unlabelled, split.labelled)
    ids = split.unlabelled[others]
    rest = rows.x.new_empty(0, 1) if hidden is None else hidden[others]
    val = logits.get("val")
    if val is not None and len(val) >= ENOUGH:
        familiar = of_logits(val, "validation")
    elif len(rest):
        familiar = of_logits(rest, "unlabelled")
    else:
        return None
    return Strangers(familiar, ids, strange.energy(rest))


def pool_of(rows: ImageSet, split: Split) -> Tensor:
    """The images that show no label, those that were left out of training among them."""
    shown = torch.cat([split.labelled, split.val])
    ids = torch.arange(len(rows.y))
    return ids[~torch.isin(ids, shown)]


def without_strangers(rows: ImageSet, split: Split, share: float, vectors: bool = False) -> tuple[Split, str]:
    """The split without the unlabelled images that belong to no class, and how many those were.

    share: of the images that belong, which may be lost with them.
    """
    strange.checked(share)
    look = features_of(rows, vectors=vectors)
    if look is None:
        raise UserError(
            "--leave-out finds strangers by the features of a frozen backbone, and this run has none: take --backbone "
            "lite0, or leave --leave-out out"
        )
    familiar = of_features(look(split.labelled), rows.y[split.labelled])
    if familiar is None:
        raise UserError("--leave-out measures by the labelled images, and there is one: label more, or leave it out")
    ids = split.unlabelled
    hidden = ~torch.isin(ids, split.labelled)  # some methods use the labelled images unlabelled too
    strangers = hidden & ~familiar.known(familiar.distance(look(ids)), share)
    out, of = int(strangers.sum()), int(hidden.sum())
    if out and out == of:
        raise UserError(
            f"--leave-out {share:g} leaves none of the {of} unlabelled images: none is like the labelled ones; look at "
            "them, or give a smaller share"
        )
    said = f"{out} of {of} unlabelled images are strangers and left out of training"
    return replace(split, unlabelled=ids[~strangers]), said


# ---- twins ---------------------------------------------------------------------------------------------------------------


def twins_of(pictures: ImageSet, rows: ImageSet, split: Split) -> dict[str, Any]:
    """Near-duplicates among the training images, and of test images among these; empty where there are no pictures."""
    if not pictures.is_images:
        return {}
    training = Kind.of(pictures.x, torch.unique(torch.cat([split.labelled, split.unlabelled])), features_of(rows))
    found = {"training": twins.within(training)}
    if pictures.test_x is not None and len(pictures.test_x):
        test = Kind.of(pictures.test_x, torch.arange(len(pictures.test_x)), features_of(rows, "test_x"))
        found["test"] = twins.between(training, test)
    return {name: listed(each) for name, each in found.items()}


def listed(found: Twins) -> dict[str, Any]:
    return {**asdict(found), "pairs": [list(pair) for pair in found.pairs[:LISTED]]}


# ---- said ----------------------------------------------------------------------------------------------------------------


def told(metrics: Mapping[str, Any]) -> list[str]:
    """What a person should know of the pictures, at the end of a run; nothing where there is nothing to say."""
    said = []
    found = metrics.get("strangers")
    usual = MANY * found["share"] * found["pictures"] + 1 if found else 0
    if found and found["score"] == "distance" and found["learned_from"] > usual:
        said.append(
            f"{found['beyond']:,} of {found['pictures']:,} pictures without a label are stranger than "
            f"{1 - found['share']:.0%} of the labelled ones: perhaps of no class, or of a kind that no label shows; "
            f"report.html shows the strangest, train --leave-out {found['share']:g} leaves them out"
        )
    pairs = metrics.get("twins", {})
    within, between = pairs.get("training"), pairs.get("test")
    if within and within["pictures"]:
        said.append(f"{within['pictures']:,} of {within['looked']:,} training images have a near-duplicate among them")
    if between and between["pictures"]:
        said.append(
            f"{between['pictures']:,} of {between['looked']:,} test images have a near-duplicate among the training images, "
            "so the test score flatters"
        )
    return said
