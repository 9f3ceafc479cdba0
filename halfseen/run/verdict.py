"""Three sentences at the end of a run: what it reached against the labels alone, whether to trust it, what to do next."""

from collections.abc import Mapping, Sequence
from typing import Any

from halfseen.run.alarms import alarms
from halfseen.training.metrics import paired_interval

FEW = 100  # scored images below which a score says little
POOR = 0.15  # recall of a class below the mean from which it is named
ALMOST_ALL = 0.98


def verdict(
    metrics: Mapping[str, Any], log: Sequence[dict[str, Any]], classes: Sequence[str], *, on: str, out: str
) -> list[str]:
    """metrics: of the run. on: what it learned from, as in "features of lite0". out: its folder."""
    part = next((p for p in ("test", "val") if p in metrics["headline"]), None)
    found = alarms(log, metrics["steps"], classes)
    return [reached(metrics, part, on), trust(metrics, part, found), following(metrics, part, found, classes, out)]


def reached(metrics: Mapping[str, Any], part: str | None, on: str) -> str:
    if part is None:
        return "There was no test or validation image, so nobody knows how good it is."
    scores = metrics["headline"][part]
    low, high = scores["interval"]
    seen = f"{scores['n']:,} {NAMES[part]} images (95% interval {low:.1%} to {high:.1%})"
    said = f"It recognises {scores['accuracy']:.1%} of {seen}"
    alone = metrics["probes"].get("probe", {})
    if part not in alone:
        return f"{said}."
    d, least, most = difference(metrics, part)
    return (
        f"{said}; the labels alone, by logistic regression on {on}, {alone[part]:.1%}: that is {100 * d:+.1f} points "
        f"({100 * least:+.1f} to {100 * most:+.1f})."
    )


NAMES = {"test": "test", "val": "validation"}


def difference(metrics: Mapping[str, Any], part: str) -> tuple[float, float, float]:
    """To the labels alone, with its interval."""
    gained, lost = metrics["probes"]["probe"]["against"][part]
    return paired_interval(gained, lost, metrics["headline"][part]["n"])


def trust(metrics: Mapping[str, Any], part: str | None, found: Mapping[str, str]) -> str:
    if part is None:
        return "Do not trust it unseen: hold some labels out with --val, or put labelled pictures into a test folder."
    if part in metrics["probes"].get("probe", {}):
        d, low, high = difference(metrics, part)
        if high < 0:
            return "Do not use it: the labels alone are better, so take --method probe, or auto."
        if low <= 0:
            better = "ahead of" if d > 0 else "behind"
            return (
                f"It is {better} the labels alone by no more than chance would bring."
                if d
                else ("It is as good as the labels alone, so the unlabelled images brought nothing that shows.")
            )
    worries = [kind for kind in found if kind != "short"]
    n = metrics["headline"][part]["n"]
    if worries:
        return f"Trust it with care: {found[worries[0]]}."
    if n < FEW:
        return f"Trust it with care: {n} scored images say little, as the interval shows."
    if metrics["headline"]["which"] != "last" and part == "val":
        return "Trust it a little less than its score, which is of the images that chose it."
    return (
        f"Its score can be trusted for pictures like the {NAMES[part]} images, which chose nothing and taught nothing."
    )


def following(
    metrics: Mapping[str, Any], part: str | None, found: Mapping[str, str], classes: Sequence[str], out: str
) -> str:
    """The one thing to do next."""
    if "short" in found:
        return f"Next: {found['short']}."
    more = f"halfseen suggest {out} --num 20"
    if part is not None:
        scores = metrics["headline"][part]
        recalls = [(r, name) for r, name in zip(scores["per_class"], classes, strict=True) if r is not None]
        worst, name = min(recalls)
        if worst < scores["accuracy"] - POOR:
            return f"Next: label more of {name!r}, of which it finds {worst:.0%}; {more} names pictures."
        if scores["accuracy"] > ALMOST_ALL:
            return "Next: use it, halfseen predict; there is little left to win."
    if "class" in found:
        return f"Next: {found['class']}."
    return f"Next: label the pictures that {more} names; that is worth more than another method."
