"""The tables of ComMatch (2023), at their own length; papers.py says how."""

from halfseen.recipes import Recipe, Row
from halfseen.recipes.papers import LABELS_ALONE, by_labels
from halfseen.settings import Settings


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


RECIPES = commatch()
