"""The end of a run: scores of the last and the best networks, kept apart; outputs; the exported model."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from halfseen.data import ImageSet, Split
from halfseen.machine import distributed
from halfseen.model.facts import Facts
from halfseen.model.model import save_model
from halfseen.probes.strange import Familiar
from halfseen.run.belongs import Strangers, features_of, strangers, twins_of
from halfseen.run.belongs import told as of_pictures
from halfseen.run.beside import ALONE, beside
from halfseen.run.folder import Folder
from halfseen.run.verdict import verdict
from halfseen.training import checkpoint, metrics
from halfseen.training.judge import Judge
from halfseen.training.trainer import Trainer

UNEVEN = 1.5  # images of the most frequent class over those of the rarest from which both accuracies are said


def conclude(
    trainer: Trainer,
    folder: Folder,
    about: dict[str, Any],
    facts: Facts,
    images: ImageSet,
    pictures: ImageSet,
    split: Split,
    finish: Callable[[nn.Module], tuple[nn.Module, Facts]],
) -> dict[str, Any]:
    """Score everything once, export the headline network, write metrics.json last: with it, the run is finished.

    pictures: what the images are, where a bank knows them by their numbers.
    """
    method, judge = trainer.method, trainer.judge
    trainer.save("last", trainer.seconds)
    last = judge.at_end(method, len(images.classes))
    first = next(iter(last))
    found: dict[str, Any] = {"last": last, "best": None}
    name, which, step = first, "last", trainer.total
    if trainer.best:
        method.load_state_dict(checkpoint.load(folder.path / "checkpoints" / "best.pt")["method"])
        name, which, step = trainer.best["predictor"], "best on validation", trainer.best["step"]
    net = method.predictors()[name]
    with judge.as_scored(method, net):
        logits = {part: judge.logits(net, x) for part, (x, _) in judge.parts.items()}
        hidden = judge.logits(net, images.x, split.unlabelled) if len(split.unlabelled) else None
        strange = strangers(images, split, features_of(images), logits, hidden)
        if distributed.rank() == 0:
            whole, of_whole = finish(net)
            save_model(folder.path / "model", whole, {**about, "predictor": name}, of_whole, familiar_of(strange))
    scores = scored(judge, logits, images)
    if trainer.best:
        found["best"] = {"predictor": name, "step": step, **scores}
    shares = None if hidden is None else hidden.softmax(1)
    outputs, unlabelled = probabilities(judge, logits, shares, images, split)
    result = {
        "headline": {"which": which, "predictor": name, "step": step, **scores},
        **found,
        "unlabelled": unlabelled,
        "probes": {},
        "bytes_an_image": remembered(method, facts.samples),
        **told(about, facts, split, images, trainer.seconds),
    }
    if distributed.rank() == 0:
        said = {part: values.argmax(1) for part, values in logits.items()}
        balanced = trainer.data.shown is not trainer.data.labelled
        result["probes"] = beside(images, split, judge.parts, said, balanced=balanced, adjust=facts.adjust)
        looked_at(result, outputs, strange, pictures, images, split)
        finished(folder, result, outputs, images)
    distributed.wait()
    return result


def conclude_fit(
    head: nn.Module,
    hidden: Tensor | None,
    strange: Strangers | None,
    judge: Judge,
    folder: Folder,
    about: dict[str, Any],
    facts: Facts,
    images: ImageSet,
    pictures: ImageSet,
    split: Split,
    finish: Callable[[nn.Module], tuple[nn.Module, Facts]],
    seconds: float,
) -> dict[str, Any]:
    """The same of a head that needed no training loop. hidden: its probabilities of the unlabelled images."""
    name = about["predictor"]
    logits = {part: judge.logits(head, x) for part, (x, _) in judge.parts.items()}
    scores = scored(judge, logits, images)
    outputs, unlabelled = probabilities(judge, logits, hidden, images, split)
    whole, of_whole = finish(head)
    save_model(folder.path / "model", whole, about, of_whole, familiar_of(strange))
    result = {
        "headline": {"which": "last", "predictor": name, "step": 0, **scores},
        "last": {name: scores},
        "best": None,
        "unlabelled": unlabelled,
        "probes": {},
        **told(about, facts, split, images, seconds),
    }
    if name != ALONE:
        said = {part: values.argmax(1) for part, values in logits.items()}
        balanced = bool(about["method_settings"].get("balanced"))
        result["probes"] = beside(images, split, judge.parts, said, but=name, balanced=balanced, adjust=facts.adjust)
    looked_at(result, outputs, strange, pictures, images, split)
    finished(folder, result, outputs, images)
    return result


def familiar_of(strange: Strangers | None) -> Familiar | None:
    return None if strange is None else strange.familiar


def looked_at(
    result: dict[str, Any],
    outputs: dict[str, Any],
    strange: Strangers | None,
    pictures: ImageSet,
    images: ImageSet,
    split: Split,
) -> None:
    """Which of the pictures may be of no class, and which are there twice."""
    if strange is not None:
        result["strangers"] = strange.as_json(split)
        outputs.update(strange.arrays())
    result["twins"] = twins_of(pictures, images, split)


def scored(judge: Judge, logits: Mapping[str, Tensor], images: ImageSet) -> dict[str, Any]:
    """By part; where there are validation images, also the calibration at the temperature that is best on those."""
    found = {part: metrics.summary(logits[part], judge.parts[part][1], len(images.classes)) for part in logits}
    if "val" in found and "test" in found:
        T = metrics.temperature(logits["val"], judge.parts["val"][1])
        scaled = (logits["test"].double() / T).softmax(1)
        found["test"] |= {"temperature": T, "ece_at_temperature": metrics.ece(scaled, judge.parts["test"][1])}
    return found


def finished(folder: Folder, result: dict[str, Any], outputs: Mapping[str, Any], images: ImageSet) -> None:
    """The verdict, and the last files of the run; after metrics.json it is finished."""
    log = [row for row in folder.rows() if row.get("event") != "evaluation"]
    result["verdict"] = verdict(result, log, images.classes, on=learned_from(images), out=str(folder.path))
    folder.write_arrays("outputs.npz", dict(outputs))
    folder.write("metrics.json", result)


def learned_from(images: ImageSet) -> str:
    """What the probe beside the run was fitted to."""
    if images.bank is not None:
        return "the same features"
    return "small pixels" if images.is_images else "the same vectors"


def told(about: dict[str, Any], facts: Facts, split: Split, images: ImageSet, seconds: float) -> dict[str, Any]:
    """What every result says of its run."""
    hidden = int((~torch.isin(split.unlabelled, split.labelled)).sum())  # without labelled ones that are used there too
    return {
        "images": {"labelled": facts.labelled, "unlabelled": hidden, "validation": len(split.val)},
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
    judge: Judge, logits: Mapping[str, Tensor], p: Tensor | None, images: ImageSet, split: Split
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """What the network says of the test and the unlabelled images (p), and how right the latter is where that is known."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    if "test" in judge.parts:
        arrays["test"] = logits["test"].softmax(1).numpy().astype(np.float32)
        arrays["test_y"] = judge.parts["test"][1].numpy()
    if p is None:
        return arrays, {}
    ids = split.unlabelled
    arrays["unlabelled"], arrays["unlabelled_ids"] = p.numpy().astype(np.float16), ids.numpy()
    truth = images.y[ids]
    known = (truth >= 0) & ~torch.isin(ids, split.labelled)  # some methods use the labelled images unlabelled too
    summary: dict[str, Any] = {"count": len(ids), "labels_known": int(known.sum())}
    if known.any():
        summary["accuracy"] = metrics.accuracy(p[known], truth[known])
        summary["balanced_accuracy"] = metrics.balanced_accuracy(p[known], truth[known])
    return arrays, summary


def headline_of(metrics: dict[str, Any]) -> str:
    """The scores that a person wants to see first."""
    head = metrics["headline"]
    lines = []
    for part in ("test", "val"):
        if part in head:
            low, high = head[part]["interval"]
            name = {"test": "test", "val": "validation"}[part]
            said = f"{name} accuracy {head[part]['accuracy']:.2%} (95% interval {low:.2%} to {high:.2%})"
            counts = [sum(row) for row in head[part]["confusion"] if sum(row)]
            if max(counts) >= UNEVEN * min(counts):
                said += f", {head[part]['balanced_accuracy']:.2%} on average of the classes"
            lines.append(said)
    if not lines:
        return "Nothing could be scored: there was no test or validation image."
    return f"{head['which']}, {head['predictor']}: " + ", ".join(lines)


def ending(metrics: dict[str, Any]) -> list[str]:
    """What a run says when it is finished, line by line."""
    return [headline_of(metrics), *metrics.get("verdict", []), *of_pictures(metrics)]
