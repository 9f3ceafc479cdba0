"""The tables of CCN (Wu et al. 2019), at their own length; papers.py says how."""

from halfseen.recipes import Recipe, Row
from halfseen.recipes.papers import (
    CNN13,
    LABELS_ALONE,
    MT_CIFAR,
    MT_SVHN,
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
                published(MT_SVHN, by_labels(house, 95.82, 96.05), 10),
                published(VAT_SVHN, by_labels(house, None, 96.26), 10, "VAT"),
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
                published(MT_CIFAR, by_labels(many, None, 84.27, 87.69), 10),
                published(VAT_CIFAR, by_labels(many, None, None, 88.04), 10, "VAT"),
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
                Row("dml", name="Baseline (DML)", seeds=10, paper=by_labels((5000, 10000), 46.42, 59.17)),
                Row("ccn:w_max=100,eps=8", name="CCN", seeds=10, paper=by_labels((5000, 10000), 56.58, 64.72)),
            ),
            WHITENED,
            (5000, 10000),
        ),
    }


RECIPES = ccn()
