"""A model's card for the hub: what it is and learned from, how good it is and where that ends. Made of a run's files."""

from collections.abc import Mapping
from typing import Any

from halfseen.report.tables import PARTS, interval, many, minutes, number, percent
from halfseen.run.folder import Folder

TAGS = ("image-classification", "semi-supervised-learning", "halfseen")
MOST_CLASSES = 60  # that are named


def card(folder: Folder, name: str) -> str:
    """README.md of the model USER/NAME."""
    metrics, config, about = folder.read("metrics.json"), folder.read("config.json"), folder.read("model/model.json")
    made_by, facts = folder.read("environment.json"), about["facts"]
    images = len(facts["shape"]) == 3
    given = '"photos"' if images else "X"
    head = ["---", "library_name: halfseen"]
    head += ["pipeline_tag: image-classification"] if images else ["pipeline_tag: tabular-classification"]
    head += ["tags:", *[f"- {tag}" for tag in TAGS], "---"]
    parts = [
        f"# {name.partition('/')[2]}",
        what_it_is(metrics, about),
        "## Use",
        f'```python\nimport halfseen  # pip install "halfseen[hub]"\n\nmodel = halfseen.load("hf:{name}")\n'
        f"model.predict({given})  # names of classes; predict_proba: probabilities\n```",
        classes(facts["classes"]),
        "## What it learned from",
        data(metrics, config),
        "## How good it is",
        scores(metrics),
        "## Limits",
        limits(metrics, facts),
        "## How it was made",
        making(metrics, config, about, made_by),
    ]
    return "\n".join(head) + "\n\n" + "\n\n".join(parts) + "\n"


def what_it_is(metrics: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    shape = about["facts"]["shape"]
    kind = f"pictures at {shape[1]}x{shape[2]} pixels" if len(shape) == 3 else f"vectors of {shape[0]} numbers"
    below = f" on the frozen backbone {about['backbone']['name']}" if "backbone" in about else ""
    return (
        f"A classifier of {kind} into {len(about['facts']['classes'])} classes: the network `{about['net']}`{below}, "
        f"trained by `{metrics['method']}` with few labels and many unlabelled images."
    )


def classes(names: list[str]) -> str:
    shown = ", ".join(f"`{c}`" for c in names[:MOST_CLASSES])
    return f"Classes: {shown}" + (f" and {len(names) - MOST_CLASSES} more." if len(names) > MOST_CLASSES else ".")


def data(metrics: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    count = metrics["images"]
    source = "arrays of a Python program" if config.get("from_python") else f"`{short(config['data'])}`"
    told = (
        f"{many(count['labelled'], 'labelled image')} and {many(count['unlabelled'], 'unlabelled image')} of {source}"
    )
    held = (
        f"; {many(count['validation'], 'more labelled image')} chose epoch and network" if count["validation"] else ""
    )
    note = f" {metrics['note'].capitalize()}." if metrics.get("note") else ""
    return f"{told[0].upper()}{told[1:]}{held}.{note}"


def short(data_name: str) -> str:
    """A named set by its name; of a path its last part: the folders above it are nobody's business."""
    return data_name.rstrip("/").rpartition("/")[2]


def scores(metrics: Mapping[str, Any]) -> str:
    head = metrics["headline"]
    found = [(words, head[part]) for part, words in PARTS.items() if part in head]
    if not found:
        return (
            "There was no test or validation image: nothing is known of how good it is on images that it has not seen."
        )
    rows = ["| images | accuracy | 95% interval | macro-F1 | ECE | NLL |", "| --- | --- | --- | --- | --- | --- |"]
    for words, s in found:
        cells = [f"{s['n']:,} {words}", percent(s["accuracy"]), interval(s["interval"]), number(s["macro_f1"])]
        rows.append(f"| {' | '.join([*cells, number(s['ece']), number(s['nll'])])} |")
    said = [
        "\n".join(rows),
        f"The network is that of {head['which']} ({head['predictor']}). Test images chose nothing.",
    ]
    alone = metrics.get("probes", {}).get("probe", {})
    for part, words in PARTS.items():
        if part in alone:
            said.append(
                f"The labels alone, by logistic regression on the same features: {percent(alone[part])} ({words})."
            )
            break
    return "\n\n".join(said)


def limits(metrics: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    lines = [
        "It knows no other classes than these: an image of something else is given one of them.",
        "The intervals say how far another sample of such images could move a score, not another choice of labels or seed.",
    ]
    part = metrics["headline"].get("test") or metrics["headline"].get("val")
    if part:
        worst = sorted(
            (share, c) for share, c in zip(part["per_class"], facts["classes"], strict=True) if share is not None
        )
        named = ", ".join(f"`{c}` {percent(share)}" for share, c in worst[:3])
        lines.append(f"Recall of the classes that it knows least: {named}.")
        lines.append(f"Its confidence is off by {percent(part['ece'])} on average (expected calibration error).")
    if metrics["unlabelled"].get("labels_known", 0) == 0:
        lines.append("How right it is on its unlabelled images is not known.")
    return "\n".join(f"- {text}" for text in lines)


def making(
    metrics: Mapping[str, Any], config: Mapping[str, Any], about: Mapping[str, Any], made_by: Mapping[str, Any]
) -> str:
    pairs = {
        "method": ", ".join([f"`{metrics['method']}`", *(f"`{o}`" for o in config["settings"]["overrides"])]),
        "steps": f"{metrics['steps']:,} of {config['batch'][0]} labelled and {config['batch'][1]} unlabelled images",
        "time": minutes(metrics["seconds"]),
        "seeds": f"{config['settings']['seed']}; labels drawn by {config['settings']['split_seed']}",
        "made by": f"halfseen {made_by.get('halfseen', '')}, torch {made_by.get('torch', '')}".replace(" ,", ","),
    }
    return "\n".join(["| what | |", "| --- | --- |", *(f"| {k} | {v} |" for k, v in pairs.items())])
