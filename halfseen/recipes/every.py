"""Tables of all methods: the same network, views, labels and budget of network passes for each, on MNIST and on digits.

Each method has its page's settings and its own optimiser; those that share FixMatch's SGD have its rate here, 0.1, and what
recipes/mnist.py found for the four on tuning draws (100 to 108, which no row uses) stays. Nothing else was tuned: so a
method that has many settings, or was made for other lengths and sets, has more to gain from a search than it shows.
"""

from dataclasses import replace

from halfseen.recipes import Recipe, Row
from halfseen.recipes.mnist import CCN, COMMATCH, COMMON, DNLL, R2D2, SGD, SUPERVISED

AS_FIXMATCH = (  # whose optimiser is FixMatch's
    "fixmatch",
    "flexmatch",
    "freematch",
    "softmatch",
    "adamatch",
    "uda",
    "finessl",
    "pseudo_label",
    "mean_teacher",
    "pi_model",
    "ups",
    "vpet",
)
OWN = (
    "mixmatch",
    "remixmatch",
    "temporal_ensembling",
    "vat",
    "vadd",
    "sntg",
    "label_propagation",
    "deep_co_training",
    "curriculum_labeling",
    "dmt",
    "dual_student",
    "on_discarded",
)
# of what recipes/mnist.py chose; DML has CCN's optimiser, since it is what CCN's paper compares with
CHOSEN = {
    "ccn": CCN,
    "dml": f"dml:optim.kind=sgd,optim.schedule=cos,{SGD}",
    "dnll": DNLL,
    "commatch": COMMATCH,
    "r2d2": R2D2,
}


def rows(seeds: int) -> tuple[Row, ...]:
    found = {name: f"{name}:{SGD}" for name in AS_FIXMATCH} | {name: name for name in OWN} | CHOSEN
    return (replace(SUPERVISED, seeds=seeds), *(Row(found[name], seeds, name) for name in sorted(found)))


RECIPES = {
    "mnist-all": Recipe(
        "MNIST, every method, small network of width 16, 1.6 million network passes a run: minutes each",
        "mnist",
        rows(5),
        COMMON,
        (20, 100),
    ),
    "digits-all": Recipe(
        "Digits of 8x8 pixels (scikit-learn's), every method, small network of width 16, 200,000 network passes a run",
        "digits",
        rows(10),
        replace(COMMON, passes=2e5),
        (40,),
    ),
}
