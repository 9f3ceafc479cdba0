"""What only the papers have: accuracies (%) of methods that are not built here, or not as there, with their source.

`TABLES` holds them by recipe, whose table prints them in grey below its own rows. Generative ones train a generator or
decoder beside the classifier; "100% labels" is the paper's network with every label. Where a paper quotes another, the
number was read in the one that is named.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Quoted:
    """A row of a published table."""

    name: str
    source: str  # the table that it was read from
    accuracy: Mapping[int, float]  # %, by labels
    std: Mapping[int, float]  # of its runs, where the table says


Value = float | tuple[float, float] | None  # a mean, or a mean and a deviation


def accuracies(source: str, labels: tuple[int, ...], rows: Mapping[str, tuple[Value, ...]]) -> tuple[Quoted, ...]:
    """Rows of a table of accuracies; None: the table has no number there."""
    found = []
    for name, values in rows.items():
        given = {
            n: v if isinstance(v, tuple) else (v, None) for n, v in zip(labels, values, strict=True) if v is not None
        }
        found.append(
            Quoted(
                name,
                source,
                {n: mean for n, (mean, _) in given.items()},
                {n: s for n, (_, s) in given.items() if s is not None},
            )
        )
    return tuple(found)


def errors(source: str, labels: tuple[int, ...], rows: Mapping[str, tuple[Value, ...]]) -> tuple[Quoted, ...]:
    """Rows of a table of errors, as accuracies."""

    def right(value: Value) -> Value:
        if value is None:
            return None
        return (round(100 - value[0], 2), value[1]) if isinstance(value, tuple) else round(100 - value, 2)

    return accuracies(source, labels, {name: tuple(map(right, values)) for name, values in rows.items()})


# ComMatch's own tables are lost
YARDSTICK = "TorchSSL's README: best accuracy of a run, 3 seeds"
SVHN_YARDSTICK = f"{YARDSTICK}; trained on train + extra with flips, which are not this SVHN"
TORCHSSL: dict[str, tuple[float, ...]] = {  # CIFAR-10: 40, 250, 4000; CIFAR-100: 400, 2500, 10000; SVHN: 40, 250, 1000
    "Pi": (25.66, 53.76, 86.87, 13.04, 41.2, 63.35, 32.52, 86.7, 92.84),
    "Pseudo-Label": (25.39, 53.51, 84.92, 12.55, 42.26, 63.45, 35.39, 84.41, 90.6),
    "Mean Teacher": (29.91, 62.54, 91.9, 18.89, 54.83, 68.25, 63.91, 96.55, 96.73),
    "VAT": (25.34, 58.97, 89.49, 14.8, 53.16, 67.86, 25.25, 95.67, 95.89),
    "MixMatch": (63.81, 86.37, 93.34, 32.41, 60.24, 72.22, 69.4, 95.44, 96.31),
    "ReMixMatch": (90.12, 93.7, 95.16, 57.25, 73.97, 79.98, 75.96, 93.64, 94.84),
    "UDA": (89.38, 94.84, 95.71, 53.61, 72.27, 77.51, 94.88, 98.08, 98.11),
    "FixMatch": (92.53, 95.14, 95.79, 53.58, 71.97, 77.8, 96.19, 97.98, 98.04),
    "FlexMatch": (95.03, 95.02, 95.81, 60.06, 73.51, 78.1, 91.81, 93.41, 93.28),
}
TABLES: dict[str, tuple[Quoted, ...]] = {
    "dnll/t1": accuracies(
        "DNLL, Table 1, which quotes them",
        (1000, 2000, 4000),
        {
            "Temperature CCL": (83.01, 87.43, 89.37),
            "Filtering CCL": (81.78, 85.67, 88.59),  # the same numbers as its Mean Teacher: one row is a misprint
            "TSSDL": (78.87, 85.35, 89.10),
            "TSSDL-MT": (81.59, 86.46, 90.70),
            "TNAR-VAE": (None, None, 91.15),
        },
    ),
    "dnll/t4": accuracies(
        "DNLL, Table 4, which quotes them",
        (20, 50, 100),
        {"Improved GAN": (83.23, 97.79, 99.07), "TripleGAN": (95.19, 98.44, 99.09)},
    ),
    "ccn/t2-mnist": errors(
        "CCN, Table 2, which quotes them",
        (50, 100),
        {
            "Ladder": (None, (1.06, 0.37)),
            "CatGAN": (None, (1.39, 0.28)),
            "Improved GAN": ((2.21, 1.36), (0.93, 0.07)),
            "TripleGAN": ((1.56, 0.72), (0.91, 0.58)),
            "GoodBadGAN": (None, (0.80, 0.10)),
            "SPCTN": ((1.72, 0.13), (1.00, 0.11)),
            "CT-GAN": (None, (0.89, 0.13)),
        },
    ),
    "ccn/t2-svhn": errors(
        "CCN, Table 2, which quotes them",
        (500, 1000),
        {
            "Improved GAN": (None, (8.11, 1.30)),
            "ALI": (None, (7.42, 0.65)),
            "TripleGAN": (None, (5.77, 0.17)),
            "GoodBadGAN": (None, (4.25, 0.03)),
            "SPCTN": ((9.79, 1.24), (7.37, 0.30)),
        },
    ),
    "ccn/t2-cifar10": errors(
        "CCN, Table 2, which quotes them",
        (1000, 2000, 4000),
        {
            "Ladder": (None, None, (20.40, 0.47)),
            "CatGAN": (None, None, (19.58, 0.58)),
            "Improved GAN": (None, (19.61, 2.09), (18.63, 2.32)),
            "ALI": (None, None, (17.99, 1.62)),
            "TripleGAN": (None, None, (16.99, 0.36)),
            "GoodBadGAN": (None, None, (14.41, 0.03)),
            "SPCTN": (None, (17.99, 0.50), (14.17, 0.27)),
            "CT-GAN": (None, None, (9.98, 0.21)),
        },
    ),
    # ImageNet, 128 labels a class, top-1 unless named otherwise; there is no recipe
    "r2d2/t5": errors(
        "R2-D2, Table 5",
        (128_000,),
        {
            "100% labels": (30.43,),
            "100% labels, top 5": (10.76,),
            "10% labels": (52.23,),
            "10% labels, top 5": (27.54,),
            "Stochastic Transformations (AlexNet), top 5": (39.84,),
            "VAE": (51.59,),
            "VAE, top 5": (35.24,),
            "Mean Teacher": (49.07,),
            "Mean Teacher, top 5": (23.59,),
            "DCT, two views": (46.50,),
            "DCT, two views, top 5": (22.73,),
            "R2-D2": (41.55,),
            "R2-D2, top 5": (19.52,),
        },
    ),
    "r2d2/t6": errors("R2-D2, Table 6", (10_000,), {"100% labels": ((26.42, 0.17),)}),
    "r2d2/t7": errors(
        "R2-D2, Table 7",
        (4000,),
        {"100% labels": (2.86,), "HybridNet (Shake-Shake)": (6.09,), "DCT, eight views (13 layers)": ((8.35, 0.06),)},
    ),
    "r2d2/t8": errors("R2-D2, Table 8", (1000,), {"100% labels": ((2.88, 0.03),), "DCT, eight views": ((3.29, 0.03),)}),
    "commatch/t2": accuracies(YARDSTICK, (40, 250, 4000), {name: row[:3] for name, row in TORCHSSL.items()}),
    "commatch/t2-cifar100": accuracies(
        YARDSTICK, (400, 2500, 10_000), {name: row[3:6] for name, row in TORCHSSL.items()}
    ),
    "commatch/t2-svhn": accuracies(SVHN_YARDSTICK, (40, 250, 1000), {name: row[6:] for name, row in TORCHSSL.items()}),
}
