"""What the tables of the papers' recipes share; the tables are in dnll.py, ccn.py, r2d2.py, commatch.py.

They are the papers' own tables, at their own length: days of a GPU. The numbers beside the rows are the papers' (accuracy,
%), rows that no method here makes are in quoted.py.

`--share 0.01` runs a hundredth of the length. What a paper does not say is the default of `halfseen explain METHOD`.
An epoch is another number of steps for each method; `reproduce` says how many steps every row takes.
"""

from dataclasses import replace
from typing import Any

from halfseen.recipes import Row
from halfseen.settings import Settings

CNN13 = Settings(net="cnn13", val="none", epochs=300)
WHITENED = replace(CNN13, zca=True)
VAT_WRN = "vat:weight=0.3,entmin=0.06,eps=6,ramp=0.4"
LABELS_ALONE = Row("supervised", changes={"epochs": None, "steps": 100_000})  # about as many steps as the others

# Mean Teacher as its first release trains the 13-layer network. Beside a mean over the labelled rows its weight of
# 100 N_L/N is 100 (its labelled sum is over all rows); 10 of 100 rows show their label here, N_L/N of them there
MT_LONG = "ramp_form=exp,batch_norm_on_u=true,optim.kind=adam,optim.lr=0.003,optim.weight_decay=0,optim.beta1_end=0.5"
MT_CIFAR = Row(
    f"mean_teacher:weight=100,ramp=0.2667,consistency_on=all,{MT_LONG},optim.schedule=te(40/150,25/150)",
    name="Mean Teacher",
    changes={"epochs": None, "steps": 150_000, "batch": 10, "unlabelled_batch": 90, "weak": "te", "zca": True},
)
MT_SVHN = Row(
    f"mean_teacher:weight=100,ramp=0.2222,decay_in_ramp=0.99,{MT_LONG},optim.schedule=te(40/180,25/180)",
    name="Mean Teacher",
    changes={"epochs": None, "steps": 180_000, "batch": 1, "unlabelled_batch": 99, "weak": "te", "per_image": True},
)
# VAT as its release trains that network, in 400 steps an epoch; on SVHN with batch norm on the logits, and eps 3.5 in pixels
VAT_CIFAR = Row("vat:eps=8", changes={"epochs": None, "steps": 200_000, "zca": True})
VAT_SVHN = Row(
    "vat:eps=20,optim.schedule=linear(80/120)",
    changes={"epochs": None, "steps": 48_000, "overrides": ("net.norm=bn", "net.logits_norm=true")},
)

MIXMATCH_RAMP = "ramp=0.015625"  # 1/64 of training, of MixMatch and ReMixMatch


def published(row: Row, paper: dict[int, float], seeds: int, name: str = "", **changes: Any) -> Row:
    """The row in another table: beside other numbers, on other draws."""
    return replace(row, paper=paper, seeds=seeds, name=name or row.name, changes={**row.changes, **changes})


def by_labels(labels: tuple[int, ...], *accuracies: float | None) -> dict[int, float]:
    return {n: a for n, a in zip(labels, accuracies, strict=True) if a is not None}
