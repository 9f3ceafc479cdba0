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

# Temporal Ensembling, its Pi model and SNTG as their releases train that network: batches of 100 from all images together,
# weight norm with mean-only batch norm that starts from data, Adam in ramps; 300 epochs
TEMPENS = "optim.kind=adam,optim.lr=0.003,optim.schedule=te,optim.beta1_end=0.5,optim.weight_decay=0"
PI = f"weight=100,ramp=0.2667,ramp_form=exp,mixed=true,consistency_on=all,ce_norm=batch,batch_norm_on_u=true,{TEMPENS}"
OF_ALL = {"epochs": None, "batch": 50, "unlabelled_batch": 50, "overrides": ("net.norm=wn_mean_only",)}
ON_CIFAR = {**OF_ALL, "steps": 150_000, "weak": "te", "zca": True}
ON_SVHN = {**OF_ALL, "steps": 219_600, "weak": "te", "per_image": True}
ON_MNIST = {**OF_ALL, "steps": 180_000, "weak": "none", "per_image": True}


def slower(settings: str, lr: str) -> str:
    return settings.replace("optim.lr=0.003", f"optim.lr={lr}")


def sntg(host: str, settings: str, more: str = "") -> str:
    """SNTG on a host: the release pairs the halves of a batch that is drawn from all images."""
    return f"sntg:host={host},{more}settings={settings.replace(',', ' ')}"


PI_CIFAR = Row(f"pi_model:{PI}", name="Pi", changes=ON_CIFAR)
PI_SVHN = Row(f"pi_model:{slower(PI, '0.001')}", name="Pi", changes=ON_SVHN)
PI_MNIST = Row(f"pi_model:{slower(PI, '0.0001')}", name="Pi", changes=ON_MNIST)
SNTG_CIFAR = Row(sntg("pi_model", PI, "offset=0.5,"), name="Pi + SNTG", changes=ON_CIFAR)
SNTG_SVHN = Row(sntg("pi_model", slower(PI, "0.001"), "offset=0.5,"), name="Pi + SNTG", changes=ON_SVHN)
SNTG_MNIST = Row(sntg("pi_model", slower(PI, "0.0001"), "offset=0.5,"), name="Pi + SNTG", changes=ON_MNIST)
TE_CIFAR = Row("temporal_ensembling:mixed=true,ce_norm=batch", name="Temporal Ensembling", changes=ON_CIFAR)
TE_CIFAR100 = replace(TE_CIFAR, method=f"{TE_CIFAR.method},weight=100")
TE_SVHN = Row(f"{TE_CIFAR.method},optim.lr=0.001", name="Temporal Ensembling", changes=ON_SVHN)
# VAdD's release: 300 epochs of 400 steps, 32 + 128 images, mean-only batch norm on CIFAR; beside VAT, that one's eps
VADD = {"epochs": None, "steps": 120_000, "batch": 32, "unlabelled_batch": 128, "weak": "te"}
VADD_CIFAR = Row("vadd", name="VAdD", changes={**VADD, "zca": True, "overrides": ("net.norm=mean_only",)})
VADD_SVHN = Row("vadd", name="VAdD", changes={**VADD, "overrides": ("net.norm=bn",)})
VADD_VAT_CIFAR = replace(VADD_CIFAR, method="vadd:vat=true,eps=8", name="VAdD + VAT")
VADD_VAT_SVHN = replace(VADD_SVHN, method="vadd:vat=true,eps=20", name="VAdD + VAT")
SNTG_VAT_CIFAR = Row(
    sntg("vat", "eps=8"), name="VAT + SNTG", changes={**VAT_CIFAR.changes, "batch": 32, "unlabelled_batch": 128}
)
SNTG_VAT_SVHN = Row(
    sntg("vat", "eps=20,optim.schedule=linear(80/120)"),
    name="VAT + SNTG",
    changes={**VAT_SVHN.changes, "batch": 32, "unlabelled_batch": 128},
)
# LP-DeepSSL: 180 epochs of the labelled images, 180 of the unlabelled ones; beside Mean Teacher as its release has it
LP_STEPS = {"epochs": None, "steps": 173_000, "batch": 50, "unlabelled_batch": 50, "weak": "ds"}
LP_MT = (
    "host=mean_teacher,settings=heads=2 weight=100 ramp=0.0278 ramp_form=exp ce_norm=batch consistency_on=all "
    "batch_norm_on_u=true decay=0.97 optim.lr={lr} optim.schedule=cos(1.1667) optim.weight_decay=2e-4 optim.decay_all=true"
)
LP_CIFAR = Row("label_propagation:first=0.04", name="LP", changes=LP_STEPS)
LP_MT_CIFAR = Row(f"label_propagation:first=0.04,{LP_MT.format(lr=0.05)}", name="LP + Mean Teacher", changes=LP_STEPS)
LP_100 = {
    **LP_STEPS,
    "steps": 88_000,
    "batch": 31,
    "unlabelled_batch": 97,
}  # CIFAR-100: 128 images a step, 10,000 labels
LP_CIFAR100 = Row("label_propagation:first=0.16,optim.lr=0.2", name="LP", changes=LP_100)
LP_MT_CIFAR100 = Row(f"label_propagation:first=0.16,{LP_MT.format(lr=0.2)}", name="LP + Mean Teacher", changes=LP_100)


def dct(labels: int, images: int) -> Row:
    """Deep Co-Training with two networks: 600 epochs, a batch of 100 in the proportion of the images."""
    rows = round(100 * labels / images)
    changes = {"epochs": None, "steps": 6 * images, "batch": rows, "unlabelled_batch": 100 - rows, "weak": "ds"}
    return Row("deep_co_training", name="DCT", changes=changes, labels=(labels,))


MIXMATCH_RAMP = "ramp=0.015625"  # 1/64 of training, of MixMatch and ReMixMatch


def published(row: Row, paper: dict[int, float], seeds: int, name: str = "", **changes: Any) -> Row:
    """The row in another table: beside other numbers, on other draws."""
    return replace(row, paper=paper, seeds=seeds, name=name or row.name, changes={**row.changes, **changes})


def by_labels(labels: tuple[int, ...], *accuracies: float | None) -> dict[int, float]:
    return {n: a for n, a in zip(labels, accuracies, strict=True) if a is not None}
