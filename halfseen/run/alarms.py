"""What goes wrong while a run trains, by the lines of its log: an alarm is a sentence that says what to do, said once."""

from collections.abc import Sequence
from typing import Any

from halfseen.machine.progress import Display

FEW_STEPS = 500
EARLY = 0.3  # of the run: until then a method may still be finding its feet
LINES = 3  # in a row that must say the same
RARE = 0.1  # of an equal share of the predictions
FALL = 0.1  # of `right`, below the best it was
LEARNT = 0.05  # loss of the labelled images that are known by heart
UNUSED = 0.01  # share of the images
LABELLED = ("L_s", "L_x", "L_l", "l_sup", "CE", "L_CE")  # what methods call their term of the labelled images


class Alarms:
    """A watcher that says what `alarms` finds, when it is first found."""

    def __init__(self, display: Display, classes: Sequence[str], steps: int) -> None:
        self.display, self.classes, self.steps = display, classes, steps
        self.rows: list[dict[str, Any]] = []
        self.heard: set[str] = set()

    def logged(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        for kind, sentence in alarms(self.rows, self.steps, self.classes).items():
            if kind not in self.heard:
                self.heard.add(kind)
                self.display.say(f"step {row['step']}: {sentence}")

    def evaluated(self, row: dict[str, Any]) -> None: ...
    def at(self, step: int, steps: int, stage: str) -> None: ...


def alarms(rows: Sequence[dict[str, Any]], steps: int, classes: Sequence[str]) -> dict[str, str]:
    """By kind. rows: of the log's training steps so far."""
    found: dict[str, str] = {}
    if 0 < steps < FEW_STEPS:
        found["short"] = (
            f"{steps} steps are few: below {FEW_STEPS} most methods have not begun to use the unlabelled images; train "
            "longer, or take a smaller network or --size, or a backbone"
        )
    late = [row for row in rows if row["step"] > EARLY * steps][-LINES:]
    if len(late) < LINES:
        return found
    if all(row.get("rarest", 1.0) < RARE for row in late):
        name = classes[int(late[-1]["rarest_class"])]
        found["class"] = (
            f"the class {name!r} is hardly ever predicted of the unlabelled images; unless it is so rare, label more of "
            "it, or align what is taught with --set method.align=true"
        )
    right = [row["pseudo_accuracy"] for row in rows if "pseudo_accuracy" in row]
    if len(right) > LINES and all(r < max(right[:-LINES]) - FALL for r in right[-LINES:]):
        found["right"] = (
            f"what is taught is less right than it was ({right[-1]:.0%}, and {max(right):.0%} before): lower "
            "method.optim.lr, or look at the views in the report"
        )
    used = [row["mask_rate"] for row in late if "mask_rate" in row]
    if len(used) == LINES and max(used) < UNUSED:
        known = max(labelled_loss(row) for row in late) < LEARNT
        found["unused"] = (
            "hardly any unlabelled image is sure enough to be used"
            + (", while the labels are learnt by heart" if known else "")
            + ": lower the method's threshold (see halfseen explain), label a few more, or train longer"
        )
    return found


def labelled_loss(row: dict[str, Any]) -> float:
    """The largest of its terms on labelled images, by the names that methods give them."""
    terms = [v for k, v in row.items() if k.rpartition("/")[2] in LABELLED]
    return max(terms, default=float("inf"))
