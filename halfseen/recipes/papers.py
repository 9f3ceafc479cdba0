"""What the tables of the papers' recipes share; the tables are in dnll.py, ccn.py, r2d2.py, commatch.py.

They are the papers' own tables, at their own length: days of a GPU. The numbers beside the rows are the papers' (accuracy,
%), rows that no method here makes are in quoted.py.

`--share 0.01` runs a hundredth of the length. What a paper does not say is the default of `halfseen explain METHOD`.
An epoch is another number of steps for each method; `reproduce` says how many steps every row takes.
"""

from dataclasses import replace

from halfseen.recipes import Row
from halfseen.settings import Settings

CNN13 = Settings(net="cnn13", val="none", epochs=300)
WHITENED = replace(CNN13, zca=True)
VAT_WRN = "vat:weight=0.3,entmin=0.06,eps=6,ramp=0.4"
LABELS_ALONE = Row("supervised", changes={"epochs": None, "steps": 100_000})  # about as many steps as the others


def by_labels(labels: tuple[int, ...], *accuracies: float | None) -> dict[int, float]:
    return {n: a for n, a in zip(labels, accuracies, strict=True) if a is not None}
