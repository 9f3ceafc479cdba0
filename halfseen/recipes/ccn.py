"""The tables of CCN (Wu et al. 2019), at their own length; papers.py says how."""

from halfseen.recipes import Recipe, Row
from halfseen.recipes.papers import (
    CNN13,
    LABELS_ALONE,
    MT_CIFAR,
    MT_SVHN,
    PI_CIFAR,
    PI_MNIST,
    PI_SVHN,
    SNTG_CIFAR,
    SNTG_MNIST,
    SNTG_SVHN,
    SNTG_VAT_CIFAR,
    SNTG_VAT_SVHN,
    TE_CIFAR,
    TE_CIFAR100,
    TE_SVHN,
    VADD_CIFAR,
    VADD_SVHN,
    VADD_VAT_CIFAR,
    VADD_VAT_SVHN,
    VAT_CIFAR,
    VAT_SVHN,
    WHITENED,
    by_labels,
    published,
)
from halfseen.settings import Settings

VARIANTS = {  # of CCN's Table 3: flags, accuracy at 1,000, 2,000 and 4,000 labels
    "Baseline (DML)": ("dml", 70.43, 79.03, 84.67),
    "w/o ML": ("ccn:eps=8,use_ml=false", 80.29, 85.41, 88.50),
    "w/o CCN": ("ccn:eps=8,use_ccn=false", 79.59, 86.66, 88.55),
    "w/o VAT": ("ccn:eps=8,use_vat=false", 83.26, 86.94, 89.46),
    "CCN": ("ccn:eps=8", 87.95, 89.63, 91.20),
}


def ccn() -> dict[str, Recipe]:
    few, house, many = (50, 100), (500, 1000), (1000, 2000, 4000)
    digits = "w_max=100,optim.lr=0.0001"
    variants = [Row(m, 10, name, paper=by_labels(many, *paper)) for name, (m, *paper) in VARIANTS.items()]
    return {
        "ccn/t2-mnist": Recipe(
            "Table 2, MNIST: 13-layer network, images as they are",
            "mnist",
            (
                LABELS_ALONE,
                published(PI_MNIST, by_labels(few, 98.98, 99.11), 10),
                published(SNTG_MNIST, by_labels(few, 99.06, 99.34), 10),
                Row("dml:optim.lr=0.0001", name="Baseline (DML)", seeds=10, paper=by_labels(few, 91.52, 96.53)),
                Row(f"ccn:{digits}", name="CCN", seeds=10, paper=by_labels(few, 99.33, 99.58)),
            ),
            Settings(net="cnn13", val="none", epochs=300, weak="none", strong="none"),
            few,
        ),
        "ccn/t2-svhn": Recipe(
            "Table 2, SVHN: 13-layer network",
            "svhn",
            (
                LABELS_ALONE,
                Row("dml:optim.lr=0.001", name="Baseline (DML)", seeds=10, paper=by_labels(house, 84.97, 89.26)),
                published(PI_SVHN, by_labels(house, 93.35, 95.18), 10),
                published(TE_SVHN, by_labels(house, 94.88, 95.58), 10),
                published(MT_SVHN, by_labels(house, 95.82, 96.05), 10),
                published(VAT_SVHN, by_labels(house, None, 96.26), 10, "VAT"),
                published(VADD_SVHN, by_labels(house, None, 95.84), 10),
                published(VADD_VAT_SVHN, by_labels(house, None, 96.45), 10),
                published(SNTG_SVHN, by_labels(house, 95.48, 96.18), 10),
                published(SNTG_VAT_SVHN, by_labels(house, None, 96.17), 10),
                Row("ccn:optim.lr=0.001,eps=20", name="CCN", seeds=10, paper=by_labels(house, 96.37, 96.64)),
            ),
            CNN13,
            house,
        ),
        "ccn/t2-cifar10": Recipe(
            "Table 2, CIFAR-10: 13-layer network",
            "cifar10",
            (
                LABELS_ALONE,
                *variants[:1],
                published(PI_CIFAR, by_labels(many, 68.35, 82.43, 87.64), 10),
                published(TE_CIFAR, by_labels(many, 76.69, 84.36, 87.84), 10),
                published(MT_CIFAR, by_labels(many, None, 84.27, 87.69), 10),
                published(VAT_CIFAR, by_labels(many, None, None, 88.04), 10, "VAT"),
                published(VADD_CIFAR, by_labels(many, None, None, 88.32), 10),
                published(VADD_VAT_CIFAR, by_labels(many, None, None, 89.93), 10),
                published(SNTG_CIFAR, by_labels(many, 78.77, 85.35, 89.00), 10),  # DNLL's Table 1: 88.64
                published(SNTG_VAT_CIFAR, by_labels(many, None, None, 90.11), 10),
                *variants[-1:],
            ),
            WHITENED,
            many,
        ),
        "ccn/t3": Recipe(
            "Table 3: CIFAR-10, 13-layer network, without the parts of CCN in turn",
            "cifar10",
            (
                LABELS_ALONE,
                *variants,
            ),
            WHITENED,
            many,
        ),
        "ccn/t4": Recipe(
            "Table 4: CIFAR-100, 13-layer network",
            "cifar100",
            (
                LABELS_ALONE,
                published(PI_CIFAR, {10000: 60.81}, 10),
                published(TE_CIFAR100, {10000: 61.35}, 10),
                published(SNTG_CIFAR, {10000: 62.03}, 10),
                Row("dml", name="Baseline (DML)", seeds=10, paper=by_labels((5000, 10000), 46.42, 59.17)),
                Row("ccn:w_max=100,eps=8", name="CCN", seeds=10, paper=by_labels((5000, 10000), 56.58, 64.72)),
            ),
            WHITENED,
            (5000, 10000),
        ),
    }


RECIPES = ccn()
