"""The end of a run: scores of the last and the best networks, kept apart; outputs; the exported model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from halfseen.data import ImageSet, Split
from halfseen.machine import distributed
from halfseen.model.facts import Facts
from halfseen.model.model import save_model
from halfseen.run.beside import beside
from halfseen.run.folder import Folder
from halfseen.training import checkpoint, metrics
from halfseen.training.trainer import Trainer


def conclude(
    trainer: Trainer,
    folder: Folder,
    about: dict[str, Any],
    facts: Facts,
    images: ImageSet,
    split: Split,
    finish: Callable[[nn.Module], tuple[nn.Module, Facts]],
) -> dict[str, Any]:
    """Score everything once, export the headline network, write metrics.json last: with it, the run is finished."""
    method, judge = trainer.method, trainer.judge
    trainer.save("last", trainer.seconds)
    last = judge.at_end(method, len(images.classes))
    first = next(iter(last))
    headline: dict[str, Any] = {"which": "last", "predictor": first, "step": trainer.total, **last[first]}
    found: dict[str, Any] = {"last": last, "best": None}
    name = first
    if trainer.best:
        method.load_state_dict(checkpoint.load(folder.path / "checkpoints" / "best.pt")["method"])
        name = trainer.best["predictor"]
    net = method.predictors()[name]
    with judge.as_scored(method, net):
        if trainer.best:
            scores = {p: judge.full(net, p, images.classes) for p in judge.parts}
            found["best"] = {"predictor": name, "step": trainer.best["step"], **scores}
            headline = {"which": "best on validation", **found["best"]}
        outputs, unlabelled = probabilities(trainer, net, images, split)
        if distributed.rank() == 0:
            whole, of_whole = finish(net)
            save_model(folder.path / "model", whole, {**about, "predictor": name}, of_whole)
    result = {
        "headline": headline,
        **found,
        "unlabelled": unlabelled,
        "probes": beside(images, split, judge.parts) if distributed.rank() == 0 else {},
        "images": {"labelled": facts.labelled, "unlabelled": facts.unlabelled, "validation": len(split.val)},
        "method": about["method"],
        "net": about["net"],
        "data": about["data"],
        "seed": about["seed"],
        "steps": trainer.total_steps,
        "seconds": round(trainer.seconds, 2),
        "passes": about["passes"],
        "bytes_an_image": remembered(method, facts.samples),
        "note": images.note,
        "skipped": len(images.skipped),
    }
    if distributed.rank() == 0:
        folder.write_arrays("outputs.npz", outputs)
        folder.write("metrics.json", result)
    distributed.wait()
    return result


def remembered(method: nn.Module, samples: int) -> int:
    """Bytes that the method keeps of each image of the training set: its tensors with a row for each."""
    rows = [*method.parameters(), *method.buffers()]  # each once, however many modules share it
    return sum(t[0].numel() * t.element_size() for t in rows if t.ndim and len(t) == samples)


def probabilities(
    trainer: Trainer, net: torch.nn.Module, images: ImageSet, split: Split
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """What the network says of the test and the unlabelled images, and how right the latter is where that is known."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    if "test" in trainer.judge.parts:
        x, y = trainer.judge.parts["test"]
        arrays["test"] = trainer.judge.logits(net, x).softmax(1).numpy().astype(np.float32)
        arrays["test_y"] = y.numpy()
    ids = split.unlabelled
    if len(ids) == 0:
        return arrays, {}
    p = trainer.judge.logits(net, images.x, ids).softmax(1)
    arrays["unlabelled"], arrays["unlabelled_ids"] = p.numpy().astype(np.float16), ids.numpy()
    truth = images.y[ids]
    known = (truth >= 0) & ~torch.isin(ids, split.labelled)  # some methods use the labelled images unlabelled too
    summary: dict[str, Any] = {"count": len(ids), "labels_known": int(known.sum())}
    if known.any():
        summary["accuracy"] = metrics.accuracy(p[known], truth[known])
    return arrays, summary


def headline_of(metrics: dict[str, Any]) -> str:
    """The scores that a person wants to see first."""
    head = metrics["headline"]
    lines = []
    for part in ("test", "val"):
        if part in head:
            low, high = head[part]["interval"]
            name = {"test": "test", "val": "validation"}[part]
            lines.append(f"{name} accuracy {head[part]['accuracy']:.2%} (95% interval {low:.2%} to {high:.2%})")
    if not lines:
        lines.append("there was no test or validation image to score the model on")
    said = f"{head['which']}, {head['predictor']}: " + ", ".join(lines)
    alone = metrics.get("probes", {}).get("probe", {})
    scored = [alone[part] for part in ("test", "val") if part in alone]
    if not scored:
        return said
    return f"{said}; the labels alone, by logistic regression on the same features: {scored[0]:.2%}"
