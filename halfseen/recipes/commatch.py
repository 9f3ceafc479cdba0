"""The tables of ComMatch (2023), at their own length; papers.py says how."""

from dataclasses import replace

from halfseen.recipes import Recipe, Row
from halfseen.recipes.papers import LABELS_ALONE, MIXMATCH_RAMP, by_labels
from halfseen.settings import Settings

LONG = Settings(net="wrn-28-2", val="none", steps=2**20)
WIDE = replace(LONG, net="wrn-28-8", overrides=("method.optim.weight_decay=0.001",))


def table(own: str, lambda_u: int, papers: dict[str, dict[int, float]], balanced: int = 6) -> tuple[Row, ...]:
    """Table 2's methods; `own`: what the two with AdamW keep of their settings; balanced: rounds of UPS."""
    rows = (
        LABELS_ALONE,
        Row("mean_teacher"),
        Row(f"mixmatch:lambda_u={lambda_u},{MIXMATCH_RAMP}{own}", name="mixmatch"),
        Row(f"remixmatch:{MIXMATCH_RAMP}{own}", name="remixmatch"),
        Row("uda"),
        Row("fixmatch"),
        Row("flexmatch"),
        Row(
            f"ups:rounds=20,seen=strong,batches=proportional,balanced_rounds={balanced},optim.weight_decay=0",
            name="ups",
        ),
        Row("commatch"),
    )
    return tuple(replace(row, paper=papers.get(row.title, {})) for row in rows)


def commatch() -> dict[str, Recipe]:
    labels, hundred, house = (40, 250, 4000), (400, 2500, 10_000), (40, 250, 1000)
    without = {"negative learning": "use_negative", "dynamic thresholds": "use_dynamic", "stability": "use_stability"}
    known = {
        "mixmatch": {4000: 93.43},
        "fixmatch": by_labels(labels, 88.15, None, 95.54),
        "flexmatch": {40: 89.93},
        "commatch": by_labels(labels, 91.75, 95.26, 96.08),
    }
    return {
        "commatch/t2": Recipe(
            "CIFAR-10, WRN-28-2 (the paper's table is lost; others' numbers than ComMatch's follow from its text)",
            "cifar10",
            table("", 75, known),
            LONG,
            labels,
        ),
        "commatch/t2-cifar100": Recipe(
            "CIFAR-100, WRN-28-8 (the paper's table is lost)",
            "cifar100",
            table(",optim.weight_decay=0.02", 150, {}, balanced=0),
            WIDE,
            hundred,
        ),
        "commatch/t2-svhn": Recipe(
            "SVHN, WRN-28-2 (the paper's table is lost)", "svhn", table("", 250, {}), LONG, house
        ),
        "commatch/t3": Recipe(
            "CIFAR-10, WRN-28-2, without the parts of ComMatch in turn (the paper's numbers are lost)",
            "cifar10",
            (
                Row("commatch"),
                *(Row(f"commatch:{key}=false", name=f"without {what}") for what, key in without.items()),
            ),
            LONG,
            (40, 4000),
        ),
    }


RECIPES = commatch()
