"""The page's tables and sentences, as plain rows of text: what `page.html` only has to lay out."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from halfseen.report.record import Array, Record
from halfseen.training import metrics

VIEWS_OF = ("weak", "strong", "labelled")
PARTS = {"test": "test", "val": "validation"}
MOST_PAIRS = 20
MOST_SKIPPED = 200


@dataclass(frozen=True)
class Score:
    """One row of the table of scores."""

    which: str  # last step, best on validation
    predictor: str
    part: str
    n: int
    accuracy: str
    interval: str
    balanced: str
    macro_f1: str
    ece: str
    brier: str
    nll: str
    headline: bool


@dataclass(frozen=True)
class Contender:
    """One row of a comparison: a way to use the same labels."""

    name: str
    what: str  # in a few words
    accuracy: float
    interval: tuple[float, float]
    minutes: float
    headline: bool = False


@dataclass(frozen=True)
class Comparison:
    """Several ways to use the same labels, scored on the same images."""

    title: str
    contenders: tuple[Contender, ...]
    note: str


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}%"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def minutes(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.1f} minutes"


def interval(pair: Sequence[float]) -> str:
    return f"{percent(pair[0])} to {percent(pair[1])}"


def many(n: int, thing: str) -> str:
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def headline_sentence(record: Record) -> str:
    """The result in one sentence."""
    m, scores = record.metrics, record.scores
    count = m["images"]
    learned = f"learned from {many(count['labelled'], 'label')}"
    if record.unlabelled is not None:
        learned += f" and {many(hidden(record), 'unlabelled image')}"
    time = f"{many(m['steps'], 'step')}, {minutes(m['seconds'])}"
    if scores is None:
        return f"{m['method']} on {m['data']} {learned} ({time}); there was no test or validation image to score it on."
    part = PARTS[record.part or "test"]
    return (
        f"{percent(scores['accuracy'])} of {many(scores['n'], f'{part} image')} recognised "
        f"(95% interval {interval(scores['interval'])}), {learned} ({time})."
    )


def hidden(record: Record) -> int:
    """Unlabelled images, without the labelled ones that a method also uses as such."""
    return int((~torch.isin(record.split.unlabelled, record.split.labelled)).sum())


def calibration(record: Record) -> str:
    """The calibration error at the temperature that validation images chose, where there were any."""
    scores = record.headline.get("test", {})
    if "temperature" not in scores:
        return ""
    return (
        f"With its logits divided by {scores['temperature']:.2f}, which the validation images chose, the ECE on the test "
        f"images is {percent(scores['ece_at_temperature'])} in place of {percent(scores['ece'])}."
    )


def how_chosen(record: Record) -> list[str]:
    """Which network is the headline, and on what grounds; what the test images had to do with it: nothing."""
    m, head = record.metrics, record.headline
    said = []
    if m["best"] is None:
        said.append(
            f"No validation image was held out, so nothing was chosen: the headline is the network of the last step "
            f"that the method itself puts first ({head['predictor']})."
        )
    else:
        n = m["best"]["val"]["n"]
        said.append(
            f"The headline is the step and the network ({head['predictor']}, step {head['step']:,}) with the best accuracy "
            f"on {many(n, 'validation image')}, which took no part in training. "
            "Having been chosen on them, its validation score is a little too good."
        )
    if record.test is None:
        said.append("There are no test images.")
    elif any("test" in parts for row in record.evaluations for parts in row["predictors"].values()):
        said.append("Test accuracy was logged while training went on (--test-curve); it chose nothing.")
    else:
        said.append("The test images were scored once, after training; nothing was chosen on them.")
    return said


def score_rows(record: Record) -> list[Score]:
    """Last step (each predictor) and best on validation, apart; on the test images first."""
    m = record.metrics
    found: list[tuple[str, str, dict[str, Any]]] = [("last step", name, s) for name, s in m["last"].items()]
    if m["best"] is not None:
        found.append((f"best on validation (step {m['best']['step']:,})", m["best"]["predictor"], m["best"]))
    best = m["best"] is not None
    rows = []
    for part, title in PARTS.items():
        for i, (which, name, scores) in enumerate(found):
            if part not in scores:
                continue
            s = scores[part]
            chosen = i == len(found) - 1 if best else name == record.headline["predictor"]
            rows.append(
                Score(
                    which,
                    name,
                    title,
                    s["n"],
                    percent(s["accuracy"]),
                    interval(s["interval"]),
                    percent(s["balanced_accuracy"]) if "balanced_accuracy" in s else "",  # earlier runs do not say
                    number(s["macro_f1"]),
                    number(s["ece"]),
                    number(s["brier"]),
                    number(s["nll"]),
                    chosen,
                )
            )
    return rows


def confused_pairs(counts: Array, classes: Sequence[str]) -> list[tuple[str, str, int, str]]:
    """(true, predicted, images, share of the true class), the most frequent first."""
    found = metrics.most_confused(counts.tolist(), MOST_PAIRS)
    return [(classes[true], classes[called], n, percent(share)) for true, called, n, share in found]


def unlabelled_sentence(record: Record) -> str:
    """How right the final network is about the unlabelled images."""
    found = record.unlabelled
    if found is None:
        return "There were no unlabelled images."
    summary = record.metrics["unlabelled"]
    n, known = summary["count"], summary["labels_known"]
    seen = int(np.isin(found.ids, record.split.labelled.numpy()).sum())
    also = f"; {seen} of them are the labelled images, which this method also uses without their labels" if seen else ""
    if not known:
        return (
            f"In the end the network labels {many(n, 'unlabelled image')}, whose true labels are not known here{also}."
        )
    but = f" (the {seen} labelled ones, which this method also uses, not counted)" if seen else ""
    whose = f"{many(known, 'unlabelled image')} whose true label is known here"
    return (
        f"In the end the network is right about {percent(summary['accuracy'])} of the {whose}{but}. "
        "Hidden labels score it and teach it nothing."
    )


def facts(record: Record) -> list[tuple[str, str]]:
    """How the run was made: (what, value)."""
    c, e, m = record.config, record.environment, record.metrics
    count = m["images"]
    batch = " + ".join(str(n) for n in c["batch"])
    processes = f" over {c['processes']} processes" if c["processes"] > 1 else ""
    shape = "x".join(str(n) for n in c["facts"]["shape"])
    rows = [
        ("Command", command(e["command"])),
        ("Data", f"{c['data']}, {len(record.classes)} classes, each image {shape}"),
        (
            "Images",
            f"{count['labelled']:,} labelled, {hidden(record):,} unlabelled, {count['validation']:,} validation",
        ),
        ("Method", f"{m['method']} on {m['net']}, {m['steps']:,} steps of {batch} images{processes}"),
        ("Views", ", ".join(f"{of}: {name}" for of, name in zip(VIEWS_OF, c["policies"], strict=False))),
        ("Seeds", f"{c['settings']['seed']} (training), {c['settings']['split_seed']} (choice of labels)"),
        ("Time", f"{minutes(m['seconds'])} of training on {e['device']}, {e['threads']} of {e['cpus']} cores"),
        ("Started", e["started"]),
        ("Versions", f"halfseen {e['halfseen']}, torch {e['torch']}, numpy {e['numpy']}, Python {e['python']}"),
        ("Git revision", e["git"] or "installed without a checkout"),
        ("Machine", e["platform"]),
        ("Fingerprint of the data", c["fingerprint"]),
        ("Run folder", str(record.folder.path)),
    ]
    if c["note"]:
        rows.insert(2, ("Note on the data", c["note"]))
    return rows


def command(line: str) -> str:
    """The command that was typed, with the program's name instead of its place."""
    program, _, rest = line.partition(" ")
    return shlex.join([program.rpartition("/")[2]]) + (f" {rest}" if rest else "")


def settings(record: Record) -> list[tuple[str, str]]:
    """Every setting as it was resolved, the method's and the network's after the run's own."""
    c = record.config
    groups = (("", c["settings"]), ("method.", c["method"]), ("net.", c["net_options"]))
    return [(f"{prefix}{k}", shown(v)) for prefix, group in groups for k, v in group.items()]


def shown(value: Any) -> str:
    if value is None:
        return "–"
    return " ".join(map(str, value)) or "–" if isinstance(value, list) else str(value)


def files(record: Record) -> list[tuple[str, list[tuple[str, str]], int]]:
    """Of the files left out and of those unlike the others: a title, the first of them with the reason, how many more."""
    found = []
    for key, one, many in (
        ("skipped", "file was left out", "files were left out"),
        ("odd", "picture is unlike the others", "pictures are unlike the others"),
    ):
        if rows := record.config.get(key, []):
            title = f"{len(rows)} {one if len(rows) == 1 else many}"
            found.append((title, [(path, why) for path, why in rows[:MOST_SKIPPED]], max(0, len(rows) - MOST_SKIPPED)))
    return found
