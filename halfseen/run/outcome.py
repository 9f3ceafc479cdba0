"""The end of a run: scores of the last and the best networks, kept apart; outputs; the exported model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from halfseen.data import ImageSet, Split
from halfseen.machine import distributed
from halfseen.model.facts import Facts
from halfseen.model.model import save_model
from halfseen.run.beside import beside
from halfseen.run.folder import Folder
from halfseen.training import checkpoint, metrics
from halfseen.training.judge import Judge
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
        hidden = judge.logits(net, images.x, split.unlabelled).softmax(1) if len(split.unlabelled) else None
        outputs, unlabelled = probabilities(judge, net, hidden, images, split)
        if distributed.rank() == 0:
            whole, of_whole = finish(net)
            save_model(folder.path / "model", whole, {**about, "predictor": name}, of_whole)
    result = {
        "headline": headline,
        **found,
        "unlabelled": unlabelled,
        "probes": beside(images, split, judge.parts) if distributed.rank() == 0 else {},
        "bytes_an_image": remembered(method, facts.samples),
        **told(about, facts, split, images, trainer.seconds),
    }
    if distributed.rank() == 0:
        folder.write_arrays("outputs.npz", outputs)
        folder.write("metrics.json", result)
    distributed.wait()
    return result


def conclude_fit(
    head: nn.Module,
    hidden: Tensor | None,
    judge: Judge,
    folder: Folder,
    about: dict[str, Any],
    facts: Facts,
    images: ImageSet,
    split: Split,
    finish: Callable[[nn.Module], tuple[nn.Module, Facts]],
    seconds: float,
) -> dict[str, Any]:
    """The same of a head that needed no training loop. hidden: its probabilities of the unlabelled images."""
    name = about["predictor"]
    scores = {part: judge.full(head, part, images.classes) for part in judge.parts}
    outputs, unlabelled = probabilities(judge, head, hidden, images, split)
    whole, of_whole = finish(head)
    save_model(folder.path / "model", whole, about, of_whole)
    result = {
        "headline": {"which": "last", "predictor": name, "step": 0, **scores},
        "last": {name: scores},
        "best": None,
        "unlabelled": unlabelled,
        "probes": {},
        **told(about, facts, split, images, seconds),
    }
    folder.write_arrays("outputs.npz", outputs)
    folder.write("metrics.json", result)
    return result


def told(about: dict[str, Any], facts: Facts, split: Split, images: ImageSet, seconds: float) -> dict[str, Any]:
    """What every result says of its run."""
    return {
        "images": {"labelled": facts.labelled, "unlabelled": facts.unlabelled, "validation": len(split.val)},
        "method": about["method"],
        "net": about["net"],
        "data": about["data"],
        "seed": about["seed"],
        "steps": about["steps"],
        "seconds": round(seconds, 2),
        "passes": about["passes"],
        "note": images.note,
        "skipped": len(images.skipped),
    }


def remembered(method: nn.Module, samples: int) -> int:
    """Bytes that the method keeps of each image of the training set: its tensors with a row for each."""
    rows = [*method.parameters(), *method.buffers()]  # each once, however many modules share it
    return sum(t[0].numel() * t.element_size() for t in rows if t.ndim and len(t) == samples)


def probabilities(
    judge: Judge, net: nn.Module, p: Tensor | None, images: ImageSet, split: Split
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """What the network says of the test and the unlabelled images (p), and how right the latter is where that is known."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    if "test" in judge.parts:
        x, y = judge.parts["test"]
        arrays["test"] = judge.logits(net, x).softmax(1).numpy().astype(np.float32)
        arrays["test_y"] = y.numpy()
    if p is None:
        return arrays, {}
    ids = split.unlabelled
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
