"""What the same labels give without a training loop, on the same features: every run on a bank is told beside its probes."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from halfseen.data import ImageSet, Split
from halfseen.data.bank import Bank
from halfseen.probes import PROBES

LABELLED = 2_000  # more labels, or a larger pool, would not be a matter of seconds
POOL = 20_000


def beside(rows: ImageSet, split: Split, parts: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """By probe: its accuracy on the parts and on the unlabelled images whose labels are known; nothing without a bank."""
    bank = rows.bank
    if not isinstance(bank, Bank) or len(split.labelled) > LABELLED:
        return {}
    y = rows.y[split.labelled].numpy()
    pool = torch.unique(torch.cat([split.labelled, split.unlabelled]))[:POOL]
    hidden = split.unlabelled[(rows.y[split.unlabelled] >= 0) & ~torch.isin(split.unlabelled, split.labelled)]
    asked = {name: (x[:, 0], truth) for name, (x, truth) in parts.items()}
    if len(hidden):
        asked["unlabelled"] = (hidden, rows.y[hidden])
    labelled, features = bank.every_view(split.labelled).numpy(), bank.clean(pool).numpy()
    found: dict[str, Any] = {}
    for name, kind in PROBES.items():
        began = time.monotonic()
        fitted = kind.fit(labelled, y, features, classes=rows.num_classes)
        scores = {
            part: float((fitted.predict_proba(bank.clean(numbers).numpy()).argmax(1) == truth.numpy()).mean())
            for part, (numbers, truth) in asked.items()
        }
        found[name] = {**scores, "seconds": round(time.monotonic() - began, 2)}
    return found
