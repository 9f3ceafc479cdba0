"""The papers' own tables, at their own length: days of a GPU. The numbers beside the rows are the papers' (accuracy, %).

`--share 0.01` runs a hundredth of the length. What a paper does not say is the default of `halfseen explain METHOD`.
An epoch is another number of steps for each method; `reproduce` says how many steps every row takes.
"""

from dataclasses import replace

from halfseen.recipes import Recipe, Row
from halfseen.settings import Settings

CNN13 = Settings(net="cnn13", val="none", epochs=300)
DNLL_CIFAR = replace(CNN13, extra_val_per_class=500)
SILENT = {"overrides": ("net.input_noise=0",)}  # the strong view of DNLL carries the noise; Dual Student has none
WRN = Settings(net="wrn-28-2", val="none", epochs=300, extra_val_per_class=500, weak="fm", strong="fm+jitter")
IMAGES = {"cifar10": 50_000, "cifar100": 50_000, "svhn": 73_257}  # of the training sets
WHITENED = replace(CNN13, zca=True)
VAT_WRN = "vat:weight=0.3,entmin=0.06,eps=6,ramp=0.4"
LABELS_ALONE = Row("supervised", changes={"epochs": None, "steps": 100_000})  # about as many steps as the others
DISCARDED = (
    "weight=10 ramp=0.05 ramp_form=exp ce_norm=batch heads=2 batch_norm_on_u=true "
    "optim.lr=0.1 optim.schedule=cos optim.weight_decay=1e-4"
)


def by_labels(labels: tuple[int, ...], *accuracies: float | None) -> dict[int, float]:
    return {n: a for n, a in zip(labels, accuracies, strict=True) if a is not None}


def dnll() -> dict[str, Recipe]:
    few, many, two = (20, 50, 100), (1000, 2000, 4000), (1000, 4000)
    mnist = Settings(net="cnn13", epochs=300, extra_val_per_class=50, weak="none", strong="none")
    # DNLL sees SVHN as it is and moved sideways; the other methods have no strong view, and this network no noise of its
    # own: they keep the crops of the tables that their numbers are quoted from
    house = replace(WRN, weak="fm", strong="fm")
    moved = {"weak": "none", "strong": "tx2"}
    grid = {1: (92.9, 93.12), 2: (93.76, 93.84), 3: (94.01, 94.29), 4: (93.78, 93.77)}
    return {
        "dnll/t1": Recipe(
            "Table 1: CIFAR-10, 13-layer network",
            "cifar10",
            (
                LABELS_ALONE,
                Row("mean_teacher", paper=by_labels(many, 81.78, 85.67, 88.59)),
                Row("dual_student", changes=SILENT, paper=by_labels(many, 85.83, 89.28, 91.11)),
                Row("ccn:eps=8", name="ccn", changes={"zca": True}, paper=by_labels(many, 87.95, 89.63, 91.2)),
                Row("dnll", changes=SILENT, paper=by_labels(many, 87.87, 90.65, 92.06)),
            ),
            DNLL_CIFAR,
            many,
        ),
        "dnll/t2": Recipe(
            "Table 2: CIFAR-10, WRN-28-2",
            "cifar10",
            (
                LABELS_ALONE,
                Row(VAT_WRN, name="vat", paper=by_labels(two, 81.36, 88.95)),
                Row("mean_teacher", paper=by_labels(two, 82.68, 89.64)),
                Row("dnll", paper=by_labels(two, 92.03, 94.29)),
            ),
            WRN,
            two,
        ),
        "dnll/t3": Recipe(
            "Table 3: SVHN, WRN-28-2",
            "svhn",
            (
                LABELS_ALONE,
                Row("pseudo_label", paper=by_labels(two, 90.06, None)),
                Row(VAT_WRN, name="vat", paper=by_labels(two, 94.02, 95.80)),
                Row("mean_teacher", paper=by_labels(two, 96.25, 96.61)),
                Row("dnll", changes=moved, paper=by_labels(two, 96.41, 96.84)),
            ),
            house,
            two,
        ),
        "dnll/t4": Recipe(
            "Table 4: MNIST, 13-layer network, images as they are",
            "mnist",
            (LABELS_ALONE, Row("dnll", paper=by_labels(few, 99.19, 99.32, 99.54))),
            mnist,
            few,
        ),
        "dnll/t5": Recipe(
            "Table 5: CIFAR-10, 4,000 labels, m negatives by equal probability (EP) or error perception (EPM)",
            "cifar10",
            tuple(
                Row(
                    f"dnll:m={m},epm={str(epm).lower()}",
                    name=f"{'EPM' if epm else 'EP'} m={m}",
                    paper={4000: grid[m][epm]},
                )
                for epm in (False, True)
                for m in grid
            ),
            WRN,
            (4000,),
        ),
        "dnll/t6": Recipe(
            "Table 6: CIFAR-10, 4,000 labels, one network that teaches itself (SL) or two (ML)",
            "cifar10",
            (
                Row("dnll:networks=1,epm=false", name="SL without EPM", paper={4000: 92.78}),
                Row("dnll:networks=1", name="SL", paper={4000: 93.03}),
                Row("dnll:epm=false", name="ML without EPM", paper={4000: 94.01}),
                Row("dnll", name="ML", paper={4000: 94.29}),
            ),
            WRN,
            (4000,),
        ),
        "dnll/f7": adaptation(),
        "dnll/f6": Recipe(
            "Figure 6: CIFAR-10, 1,000 labels, DNLL on what Dual Student and Mean Teacher discard",
            "cifar10",
            (
                Row("dual_student:ramp=0.05", name="Dual Student"),
                Row("on_discarded:host=dual_student,settings=ramp=0.05", name="Dual Student + DNLL"),
                # the student, as in the row below: a teacher and a student are no pair to compare
                Row(f"mean_teacher:headline=net,{DISCARDED.replace(' ', ',')}", name="Mean Teacher"),
                Row(
                    f"on_discarded:host=mean_teacher,rows=all,source=own,headline=net,settings={DISCARDED}",
                    name="Mean Teacher + DNLL",
                ),
            ),
            Settings(
                net="cnn13",
                val="none",
                steps=98_000,  # 100 epochs of the 49,000; Mean Teacher's own would be longer
                batch=50,
                unlabelled_batch=50,
                overrides=SILENT["overrides"],
            ),
            (1000,),
        ),
    }


def adaptation() -> Recipe:
    """Figure 7 has curves and no numbers: they are in each run's log.jsonl, as `test` of every evaluation."""
    optim = "optim.lr=0.1,optim.schedule=cos,optim.weight_decay=1e-4"
    noisy = {"weak": "noise", "strong": "noise"}
    teacher = f"heads=2,weight=1,ramp=0.05,ramp_form=exp,ce_norm=batch,batch_norm_on_u=true,{optim}"
    return Recipe(
        "Figure 7: USPS to MNIST, three-layer network, test accuracy on MNIST",
        "usps->mnist",
        (
            Row(f"supervised:{optim}", 1, "source only", {"batch": 32, **noisy}),
            Row(f"mean_teacher:{teacher}", 1, "Mean Teacher", noisy),
            Row("dual_student:xi=0.6,consistency=1,stabilisation=1,ramp=0.05", 1, "Dual Student", noisy),
            # the ramp of the other rows: 5 epochs of the 100
            Row(f"dnll:lambda_ramp=0.05,{optim}", 1, "DNLL", {"weak": "none", "strong": "noise"}),
            Row(f"supervised:{optim}", 1, "target, 7,000 labels", {**noisy, "batch": 256, "num_labels": 7000}, "mnist"),
        ),
        Settings(
            net="cnn3",
            val="none",
            steps=26_800,  # 100 epochs of the 60,000
            batch=32,
            unlabelled_batch=224,
            channels=3,
            test_curve=True,
            threads=1,
            overrides=("net.input_noise=0",),
        ),
    )


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
                Row("ccn:optim.lr=0.001,eps=20", name="CCN", seeds=10, paper=by_labels(house, 96.37, 96.64)),
            ),
            CNN13,
            house,
        ),
        "ccn/t3": Recipe(
            "Table 3: CIFAR-10, 13-layer network, without the parts of CCN in turn",
            "cifar10",
            (
                LABELS_ALONE,
                *(Row(m, 10, name, paper=by_labels(many, *paper)) for name, (m, *paper) in VARIANTS.items()),
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

    def table(about: str, data: str, labels: int, common: Settings, own: str, alone: float, paper: float) -> Recipe:
        """R2-D2, and what the labels alone give: a supervised run with the settings of its first stage."""
        recipe = staged(about, data, labels, common, {"R2-D2": own}, {"R2-D2": paper}, seeds=5)
        first = {"weak": "ds+cutout16", "batch": 40, "steps": stage_steps(data, labels, common)[0]}
        optim = "optim.lr=0.05,optim.schedule=cos(1.1667),optim.weight_decay=2e-4,optim.decay_all=true"
        # decay=0: the last weights are scored, as R2-D2's are
        base = Row(f"supervised:decay=0,{optim}", 5, "labels only", first, paper={labels: alone})
        return replace(recipe, rows=(base, *recipe.rows))

    return {
        "r2d2/t1": grid("1", "what repeating and repredicting are worth", "ablation", steps),
        "r2d2/t2": grid("2", "alpha", "alpha", alphas),
        "r2d2/t3": grid("3", "beta", "beta", betas),
        "r2d2/t4": grid("4", "the form of L_c", "lc", forms),
        "r2d2/t6": table("Table 6: CIFAR-100, 13-layer network", "cifar100", 10000, port, "", 61.64, 67.13),
        "r2d2/t7": table("Table 7: CIFAR-10, Shake-Shake 26 2x96d", "cifar10", 4000, shake, four, 85.10, 94.28),
        "r2d2/t8": table("Table 8: SVHN, 13-layer network", "svhn", 1000, port, "", 88.73, 96.36),
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


def commatch() -> dict[str, Recipe]:
    labels = (40, 250, 4000)
    long = Settings(net="wrn-28-2", val="none", steps=2**20)
    without = {"negative learning": "use_negative", "dynamic thresholds": "use_dynamic", "stability": "use_stability"}
    return {
        "commatch/t2": Recipe(
            "CIFAR-10, WRN-28-2 (the paper's table is lost; FixMatch's numbers follow from its text)",
            "cifar10",
            (
                LABELS_ALONE,
                Row("fixmatch", paper=by_labels(labels, 88.15, None, 95.54)),
                Row("commatch", paper=by_labels(labels, 91.75, 95.26, 96.08)),
            ),
            long,
            labels,
        ),
        "commatch/t3": Recipe(
            "CIFAR-10, WRN-28-2, without the parts of ComMatch in turn (the paper's numbers are lost)",
            "cifar10",
            (
                Row("commatch"),
                *(Row(f"commatch:{key}=false", name=f"without {what}") for what, key in without.items()),
            ),
            long,
            (40, 4000),
        ),
    }


RECIPES = dnll() | ccn() | r2d2() | commatch()
