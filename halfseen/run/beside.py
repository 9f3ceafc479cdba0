"""What the same labels give without a training loop: every run is told beside it, so that nobody has to guess what it won.

On a bank all probes are fitted to the same features; elsewhere logistic regression alone, to vectors as they are, or to the
pixels of pictures made small.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from halfseen.data import ImageSet, Split
from halfseen.data.bank import Bank
from halfseen.probes import PROBES
from halfseen.probes.rows import Array
from halfseen.training.judge import adjusted

LABELLED = 2_000  # more labels, or a larger pool, would not be a matter of seconds
POOL = 20_000
SMALL = 16  # side of pictures whose pixels are features
ALONE = "probe"  # what "the labels alone" means


def beside(
    rows: ImageSet,
    split: Split,
    parts: Mapping[str, tuple[Tensor, Tensor]],
    said: Mapping[str, Tensor],
    but: str = "",
    balanced: bool = False,
    adjust: tuple[float, ...] = (),
) -> dict[str, Any]:
    """By probe: its accuracy on the parts and on the unlabelled images whose labels are known.

    said: the run's own classes of the parts; but: the probe that the run itself is; balanced, adjust: of uneven labels, as
    the run has them, so that like is compared with like. `against`: on how many images of a part the run was right and the
    probe wrong, and the reverse.
    """
    bank = rows.bank
    if len(split.labelled) > LABELLED:
        return {}
    y = rows.y[split.labelled].numpy()
    pool = torch.unique(torch.cat([split.labelled, split.unlabelled]))[:POOL]
    hidden = split.unlabelled[(rows.y[split.unlabelled] >= 0) & ~torch.isin(split.unlabelled, split.labelled)]
    asked = dict(parts)
    if len(hidden):
        asked["unlabelled"] = (rows.x[hidden[:POOL]], rows.y[hidden[:POOL]])
    look: Callable[[Tensor], Array]
    if isinstance(bank, Bank):
        labelled, names = (
            bank.every_view(rows.x[split.labelled, 0]).numpy(),
            tuple(name for name in PROBES if name != but),
        )
        look = clean_rows(bank)
    else:
        look = plain
        labelled, names = look(rows.x[split.labelled]), (ALONE,)
    features = look(rows.x[pool])
    found: dict[str, Any] = {}
    for name in names:
        began = time.monotonic()
        fitted = PROBES[name].fit(labelled, y, features, config_of(name, balanced), classes=rows.num_classes)
        found[name] = {"against": {}}
        for part, (x, truth) in asked.items():
            p = torch.from_numpy(fitted.predict_proba(look(x)))
            right = adjusted(p.log(), adjust).argmax(1) == truth
            found[name][part] = float(right.double().mean())
            if part in said:
                ours = said[part] == truth
                found[name]["against"][part] = [int((ours & ~right).sum()), int((right & ~ours).sum())]
        found[name]["seconds"] = round(time.monotonic() - began, 2)
    return found


def config_of(name: str, balanced: bool) -> Any:
    """Of a probe, with every class counted once where that is asked for and would change something."""
    cfg = PROBES[name].config()
    return replace(cfg, balanced=True) if balanced and hasattr(cfg, "balanced") else cfg


def clean_rows(bank: Bank) -> Callable[[Tensor], Array]:
    def look(numbers: Tensor) -> Array:
        found: Array = bank.clean(numbers[:, 0]).numpy()
        return found

    return look


def plain(x: Tensor) -> Array:
    """[n, d] float32: vectors, or small pictures' pixels."""
    if x.ndim == 2:
        vectors: Array = x.float().numpy()
        return vectors
    side = min(SMALL, *x.shape[2:])
    small = [F.adaptive_avg_pool2d(part.float() / 255, side).flatten(1) for part in torch.split(x, 1000)]
    pixels: Array = torch.cat(small).numpy()
    return pixels
