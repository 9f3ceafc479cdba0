"""The papers' tables of parts at the size of one CPU core, and what a network can reach at all.

Parts of ComMatch (its Table 3) and DNLL (its Tables 5 and 6) on MNIST with 50 labels, network, views, budget and settings
of recipes/mnist.py, which were chosen on the label draws 100 to 108. CIFAR-10 with 4,000 labels: the methods' own settings,
as their pages have them; nothing was tried on it.
"""

from dataclasses import replace

from halfseen.recipes import Recipe, Row
from halfseen.recipes.mnist import COMMATCH, COMMON, PASSES, SGD
from halfseen.settings import Settings

PARTS = {"negative learning": "use_negative", "dynamic thresholds": "use_dynamic", "stability": "use_stability"}
DNLL = f"lambda_u=2,{SGD}"
WIDER = {"overrides": ("net.width=32",)}
LONGER = {"passes": 10 * PASSES}
ALL_LABELS = Row(f"supervised:{SGD}", 3, changes={"batch": 64})  # FixMatch's rate


def ceiling(name: str, **changes: object) -> Row:
    return replace(ALL_LABELS, name=name, changes={**ALL_LABELS.changes, **changes})


def dnll(name: str, settings: str) -> Row:
    return Row(f"dnll:{settings},{DNLL}", 5, name)


RECIPES = {
    "mnist-ceiling": Recipe(
        "MNIST, all 60,000 labels, the small network at widths 16 and 32, 1.6 and 16 million network passes a run",
        "mnist",
        (
            ceiling("width 16"),
            ceiling("width 32", **WIDER),
            replace(ceiling("width 16, ten times", **LONGER), seeds=1),
            replace(ceiling("width 32, ten times", **WIDER, **LONGER), seeds=1),
        ),
        COMMON,
    ),
    "commatch/t3-small": Recipe(
        "MNIST, 50 labels, ComMatch without its parts in turn (its Table 3, whose numbers are lost)",
        "mnist",
        (
            Row(COMMATCH, 5, "ComMatch"),
            *(Row(f"{COMMATCH},{key}=false", 5, f"without {what}") for what, key in PARTS.items()),
        ),
        COMMON,
        (50,),
    ),
    "dnll/t5-small": Recipe(
        "MNIST, 50 labels, DNLL with m negatives by equal probability (EP) or error perception (EPM), as its Table 5",
        "mnist",
        tuple(
            dnll(f"{'EPM' if epm else 'EP'} m={m}", f"m={m},epm={str(epm).lower()}")
            for m in range(1, 7)
            for epm in (False, True)
        ),
        COMMON,
        (50,),
    ),
    "dnll/t6-small": Recipe(
        "MNIST, 50 labels, DNLL as one network that teaches itself (SL) or two (ML), as its Table 6",
        "mnist",
        (
            dnll("SL without EPM", "m=6,networks=1,epm=false"),
            dnll("SL", "m=6,networks=1"),
            dnll("ML without EPM", "m=6,epm=false"),
            dnll("ML", "m=6"),
        ),
        COMMON,
        (50,),
    ),
    "cifar10-small": Recipe(
        "CIFAR-10, 4,000 labels, a network of 20 million products, 4 million network passes: under an hour a run",
        "cifar10",
        (
            Row("supervised", 2, changes={"batch": 64}),
            Row("fixmatch", 2, "FixMatch"),
            Row("dnll", 2, "DNLL"),
            # a short run: the thresholds rise within its first quarter, as in recipes/mnist.py
            Row("commatch:threshold_every=0.05", 2, "ComMatch"),
        ),
        Settings(
            net="air",
            val="none",
            weak="fm",
            strong="fm+ra",
            batch=32,
            unlabelled_batch=96,
            passes=4e6,
            threads=1,
            overrides=("net.width=24",),
        ),
        (4000,),
    ),
}
