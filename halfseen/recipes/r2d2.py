"""The tables of R2-D2 (Wang & Wu 2020), at their own length; papers.py says how."""

from dataclasses import replace

from halfseen.recipes import Recipe, Row
from halfseen.recipes.papers import (
    LP_CIFAR100,
    LP_MT_CIFAR100,
    MT_CIFAR,
    MT_SVHN,
    TE_CIFAR,
    TE_CIFAR100,
    TE_SVHN,
    VADD_SVHN,
    VADD_VAT_SVHN,
    VAT_CIFAR,
    VAT_SVHN,
    dct,
    published,
)
from halfseen.settings import Settings

IMAGES = {"cifar10": 50_000, "cifar100": 50_000, "svhn": 73_257}  # of the training sets
# Mean Teacher's PyTorch release on one GPU: 300 epochs of 46,000/97 steps
MT_SHAKE = Row(
    "mean_teacher:heads=2,weight=100,ramp=0.0167,ramp_form=exp,ce_norm=batch,consistency_on=all,batch_norm_on_u=true,"
    "decay=0.99,optim.lr=0.05,optim.schedule=cos(1.1667),optim.weight_decay=2e-4,optim.decay_all=true",
    5,
    "Mean Teacher",
    {"steps": 142_200, "batch": 31, "unlabelled_batch": 97, "weak": "ds"},
    paper={4000: 93.72},
)


def r2d2() -> dict[str, Recipe]:
    shake = Settings(net="shake-26-2x96d", val="none", batch=128, unlabelled_batch=384)
    port = Settings(net="cnn13", val="none", batch=32, unlabelled_batch=96)  # the single-GPU port
    four = "d2.lr=0.12,finetune.lr=0.01,bn_chunks=4"  # the release's, on four GPUs
    alphas = {0.1: 94.22, 0.2: 94.56, 0.3: 94.19, 0.4: 94.10, 0.5: 93.89}
    betas = {0.01: 94.38, 0.02: 94.25, 0.03: 94.22, 0.04: 94.17, 0.05: 94.24}
    steps = {"a": 93.29, "b": 93.63, "c": 93.77, "d": 94.06, "e": 94.22}
    forms = {"kl": 94.22, "kl_pseudo_pred": 91.94, "l2": 93.65}

    def grid(table: str, about: str, key: str, values: dict[str, float] | dict[float, float]) -> Recipe:
        own = {f"{key}={v}": f"{key}={v},{four}" for v in values}
        papers = dict(zip(own, values.values(), strict=True))
        return staged(f"Table {table}: CIFAR-10, 4,000 labels, one draw, {about}", "cifar10", 4000, shake, own, papers)

    def table(
        about: str, data: str, labels: int, common: Settings, own: str, alone: float, paper: float, *others: Row
    ) -> Recipe:
        """R2-D2, what others give, and the labels alone: a supervised run with the settings of its first stage."""
        recipe = staged(about, data, labels, common, {"R2-D2": own}, {"R2-D2": paper}, seeds=5)
        first = {"weak": "ds+cutout16", "batch": 40, "steps": stage_steps(data, labels, common)[0]}
        optim = "optim.lr=0.05,optim.schedule=cos(1.1667),optim.weight_decay=2e-4,optim.decay_all=true"
        # decay=0: the last weights are scored, as R2-D2's are
        base = Row(f"supervised:decay=0,{optim}", 5, "labels only", first, paper={labels: alone})
        return replace(recipe, rows=(base, *others, *recipe.rows))

    return {
        "r2d2/t1": grid("1", "what repeating and repredicting are worth", "ablation", steps),
        "r2d2/t2": grid("2", "alpha", "alpha", alphas),
        "r2d2/t3": grid("3", "beta", "beta", betas),
        "r2d2/t4": grid("4", "the form of L_c", "lc", forms),
        "r2d2/t6": table(
            "Table 6: CIFAR-100, 13-layer network",
            "cifar100",
            10000,
            port,
            "",
            61.64,
            67.13,
            published(TE_CIFAR100, {10000: 61.35}, 5),
            published(LP_CIFAR100, {10000: 61.57}, 5),
            published(MT_CIFAR, {10000: 63.92}, 5),
            published(LP_MT_CIFAR100, {10000: 64.08}, 5),
            # the table does not say of how many views; in Tables 7 and 8, of the same source, it is eight
            published(dct(10_000, 50_000), {10000: 65.37}, 5),
        ),
        "r2d2/t7": table(
            "Table 7: CIFAR-10, Shake-Shake 26 2x96d",
            "cifar10",
            4000,
            shake,
            four,
            85.10,
            94.28,
            published(MT_CIFAR, {4000: 87.69}, 5, "Mean Teacher (13 layers)", net="cnn13"),
            published(TE_CIFAR, {4000: 87.84}, 5, "Temporal Ensembling (13 layers)", net="cnn13"),
            published(
                VAT_CIFAR, {4000: 89.45}, 5, "VAT + EntMin (13 layers)", net="cnn13", batch=32, unlabelled_batch=128
            ),
            MT_SHAKE,
        ),
        "r2d2/t8": table(
            "Table 8: SVHN, 13-layer network",
            "svhn",
            1000,
            port,
            "",
            88.73,
            96.36,
            published(TE_SVHN, {1000: 95.58}, 5),
            published(VADD_SVHN, {1000: 95.84}, 5),
            published(MT_SVHN, {1000: 96.05}, 5),
            published(VAT_SVHN, {1000: 96.14}, 5, "VAT + EntMin", batch=32, unlabelled_batch=128),
            published(VADD_VAT_SVHN, {1000: 96.45}, 5),
        ),
    }


def staged(
    about: str,
    data: str,
    labels: int,
    common: Settings,
    own: dict[str, str],
    papers: dict[str, float],
    seeds: int = 1,
) -> Recipe:
    """Rows of R2-D2 by title, with settings of their own, whose stages last as many epochs as the paper's."""
    steps = stage_steps(data, labels, common)
    shares = "shares=[" + ",".join(map(str, steps)) + "]"  # in steps: only their proportions count
    rows = tuple(
        Row(f"r2d2:{shares},{settings}".rstrip(","), seeds, title, paper={labels: papers[title]})
        for title, settings in own.items()
    )
    return Recipe(about, data, rows, replace(common, steps=sum(steps)), (labels,))


def stage_steps(data: str, labels: int, common: Settings) -> tuple[int, int, int, int]:
    """Of R2-D2: 300 epochs of the labelled images, 300 of the unlabelled ones, 4 x 75 of them again, 50 of all.

    An epoch of a few labels is a few steps: the same shares for all sets would give the first stage of SVHN 7,575 epochs.
    """
    n = IMAGES[data]
    rows_l, rows_u = common.batch or 0, common.unlabelled_batch or 0
    first, second, last = labels // 40, (n - labels) // rows_u, n // (rows_l + rows_u)
    return 300 * first, 300 * second, 4 * 75 * second, 50 * last


RECIPES = r2d2()
