"""A trained model on disk: weights in safetensors, everything else in one json file; and what it predicts."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from halfseen.augment import Whitening
from halfseen.backbones import rebuild
from halfseen.backbones.backbone import Backbone
from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.machine.files import write_bytes, write_json
from halfseen.method import View
from halfseen.model.blueprint import Blueprint
from halfseen.model.build import views
from halfseen.model.facts import Facts
from halfseen.model.pixels import BACKBONE, HEAD, OnPixels, WithDistance, on_pixels
from halfseen.model.tuned import Base, Tuned
from halfseen.overrides import tuples, with_settings
from halfseen.probes import PROBES
from halfseen.probes.strange import SHARE, Familiar, energy
from halfseen.training.judge import adjusted, logits_of

FORMAT = 1
WHITENING_PREFIX = "whitening."  # what its tensors are called beside the weights
STRANGE_PREFIX = "strange."
BACKBONE_FOLDER = "backbone"  # beside the weights: files that its network is made from


class Model:
    """A classifier for raw images like those that it was trained on: the network of a run, or an ONNX file."""

    def __init__(
        self,
        net: nn.Module,
        facts: Facts,
        about: dict[str, Any],
        device: torch.device,
        clean: View | None = None,
        familiar: Familiar | None = None,
    ) -> None:
        """clean: what makes of raw rows what the net takes (default: the normalisation of the run).

        familiar: what strangeness is measured by.
        """
        self.net, self.facts, self.about, self.device = net.eval(), facts, about, device
        self.familiar = familiar
        self.clean = clean or views(facts, device, Draws.seeded(0, device))("none")

    def __repr__(self) -> str:
        """What it is, for who meets it in a session."""
        shape, about = self.facts.shape, self.about
        kind = f"{shape[1]}x{shape[2]} pictures of {shape[0]}" if len(shape) == 3 else f"vectors of {shape[0]}"
        kind += (" channels" if shape[0] > 1 else " channel") if len(shape) == 3 else " numbers"
        below = f" on {about['backbone']['name']}" if "backbone" in about else ""
        how = f"{about.get('method', 'a method')} with {about.get('net', 'a network')}{below}"
        names = ", ".join(self.classes[:4]) + (", ..." if len(self.classes) > 4 else "")
        source = f", learned from {self.facts.labelled} labels of {about['data']}" if "data" in about else ""
        return f"<halfseen model: {kind} to {len(self.classes)} classes ({names}); {how}{source}; on {self.device}>"

    @property
    def classes(self) -> tuple[str, ...]:
        return self.facts.classes

    def probabilities(self, x: Tensor) -> Tensor:
        """[n, K] for raw uint8 images [n, c, h, w] of the training size, or feature vectors [n, d]."""
        if tuple(x.shape[1:]) != self.facts.shape:
            raise UserError(
                f"the model wants images of shape {self.facts.shape}, not {tuple(x.shape[1:])}; resize them"
            )
        if len(x) == 0:
            return torch.empty(0, len(self.classes))
        return self.logits(x).softmax(1)

    def logits(self, x: Tensor) -> Tensor:
        """[n, K] of the same: probabilities are their softmax."""
        return adjusted(logits_of(self.net, x, self.clean, self.device), self.facts.adjust)

    def looked(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[n, K] logits and [n] strangeness, for about the price of the logits."""
        familiar = self.need_familiar()
        if familiar.score == "energy":
            logits = self.logits(x)
            return logits, energy(logits)
        if not isinstance(self.net, OnPixels):  # of vectors, which are their own features
            return self.logits(x), familiar.distance(x)
        both = logits_of(WithDistance(self.net, familiar), x, self.clean, self.device)
        return adjusted(both[:, :-1], self.facts.adjust), both[:, -1]

    def need_familiar(self) -> Familiar:
        if self.familiar is None:
            raise UserError(
                "this model does not hold what strangeness is measured by: load the folder of its run in place of an .onnx "
                "file, and train again what an older version made"
            )
        return self.familiar

    def strangeness(self, images: Any) -> NDArray[np.float32]:
        """[n] how little each image is like those that were labelled; images as `predict_proba` takes them."""
        from halfseen.data.inputs import given

        self.need_familiar()
        found = [self.looked(x)[1] for x in given(images, self.facts.shape) if len(x)]
        return np.asarray(torch.cat([torch.empty(0), *found]).numpy(), dtype=np.float32)

    def known(self, images: Any, reject: float = SHARE) -> NDArray[np.bool_]:
        """[n] whether each image is of one of the classes. reject: the share of those that are which may be lost."""
        found: NDArray[np.bool_] = (
            self.need_familiar().known(torch.from_numpy(self.strangeness(images)), reject).numpy()
        )
        return found

    def predict(self, images: Any) -> NDArray[np.str_]:
        """The names of the most probable classes [n], one for each image; `predict_proba` says what images may be."""
        P = self.predict_proba(images)
        names: NDArray[np.str_] = np.array(self.classes)[P.argmax(1)]
        return names

    def predict_proba(self, images: Any) -> NDArray[np.float32]:
        """[n, K] in the order of `classes`, of images of any size, resized by the rule of the run.

        images: a path, a folder (its images in natural order: `paths` names them) or an .npz file; an array or tensor
        [n, h, w], [n, h, w, c] or [n, c, h, w] of bytes, or of floats in [0, 1]; a picture of Pillow's; or a list of
        paths, pictures and arrays of single images. For a model of feature vectors: numbers [n, d], or an .npz file.
        What cannot be read is an error, so that there is a row for each image.
        """
        from halfseen.data.inputs import given

        found = [self.probabilities(x) for x in given(images, self.facts.shape)]
        return np.asarray(torch.cat(found).numpy(), dtype=np.float32)

    def paths(self, folder: Path | str) -> list[Path]:
        """The images in a folder and below it, in the order in which `predict` takes them."""
        from halfseen.data.inputs import LeftOut, files

        root, names = files(Path(os.path.expanduser(folder)), LeftOut())
        return [root / name for name in names]


def save_model(
    folder: Path, net: nn.Module, about: dict[str, Any], facts: Facts, familiar: Familiar | None = None
) -> None:
    """Write `model.safetensors` and `model.json` into the folder, and beside them what a backbone is made from."""
    from safetensors.torch import save as to_bytes

    weights = {k: v.detach().cpu().contiguous().clone() for k, v in net.state_dict().items()}
    if "backbone" in about and not about["backbone"]["held"]:
        weights = {k: v for k, v in weights.items() if not k.startswith(BACKBONE)}
    else:
        for name, payload in kept_of(net).items():
            write_bytes(folder / BACKBONE_FOLDER / name, payload)
    if facts.whitening is not None:
        weights |= {WHITENING_PREFIX + k: v for k, v in facts.whitening.tensors().items()}
    if familiar is not None:
        weights |= {STRANGE_PREFIX + k: v.contiguous() for k, v in familiar.tensors().items()}
        about = {**about, "strange": familiar.about()}
    write_bytes(folder / "model.safetensors", to_bytes(weights))
    write_json(folder / "model.json", {"format": FORMAT, **about, "facts": facts.as_json()})


def kept_of(net: nn.Module) -> dict[str, bytes]:
    """The files that its backbone is made from, if it has one."""
    return next((dict(part.kept) for part in net.modules() if isinstance(part, Backbone)), {})


@dataclass(frozen=True)
class Parts:
    """What was saved."""

    about: dict[str, Any]
    facts: Facts
    weights: dict[str, Tensor]
    kept: dict[str, bytes]  # the files of its backbone
    familiar: Familiar | None


def read_model(path: Path) -> Parts:
    """What was saved in a run folder, or in its `model/` folder."""
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    folder = folder_of(path)
    try:
        about = json.loads((folder / "model.json").read_text())
        facts = read_facts(about["facts"])
        weights = from_bytes((folder / "model.safetensors").read_bytes())
        if facts.zca:
            stored = {k: weights.pop(WHITENING_PREFIX + k) for k in ("mean", "matrix")}
            facts = replace(facts, whitening=Whitening.of(stored, math.prod(facts.shape)))
        familiar = None
        if "strange" in about:
            of_strange = {k.removeprefix(STRANGE_PREFIX): k for k in weights if k.startswith(STRANGE_PREFIX)}
            familiar = Familiar.read(about["strange"], {k: weights.pop(name) for k, name in of_strange.items()})
        held = folder / BACKBONE_FOLDER
        kept = {file.name: file.read_bytes() for file in sorted(held.iterdir())} if held.is_dir() else {}
    except (*DAMAGED, SafetensorError) as e:
        raise damaged(folder, e) from e
    return Parts(about, facts, weights, kept, familiar)


DAMAGED = (KeyError, TypeError, ValueError, AttributeError, OSError, RuntimeError)


def damaged(folder: Path, error: Exception) -> UserError:
    return UserError(f"the model in {folder} is damaged or of another version ({error}); export the run again")


def folder_of(path: Path) -> Path:
    folder = path / "model" if (path / "model").is_dir() else path
    if not (folder / "model.json").is_file():
        begun = (path / "config.json").is_file()
        hint = "the run has not finished; go on with --resume" if begun else "name a run folder or an .onnx file"
        raise UserError(f"{path} holds no model: {hint}")
    return folder


def load_run(path: Path, place: torch.device) -> Model:
    """The model of a run folder, or of its `model/` folder."""
    found = read_model(path)
    folder = folder_of(path)
    try:
        net = network(found.about, found.facts, found.weights, found.kept, place, str(folder.parent / "method.py"))
    except DAMAGED as e:
        raise damaged(folder, e) from e
    return Model(net, found.facts, found.about, place, familiar=found.familiar)


def network(
    about: Mapping[str, Any],
    facts: Facts,
    weights: Mapping[str, Tensor],
    kept: Mapping[str, bytes],
    place: torch.device,
    own_file: str | None = None,
) -> nn.Module:
    """What was saved, with its weights, ready to be asked. kept: the files of its backbone; own_file: of its method."""
    if "backbone" not in about:
        net = alone(about, facts, weights, place, own_file)
        net.load_state_dict(weights)
        return net
    of_head = read_facts(about["head_facts"])
    below = rebuild(about["backbone"], kept)
    if "tune" in about:
        base = Base(below, of_head, about["tune"])
        method = Blueprint.from_json(dict(about), own_file).build(facts, place, Draws.seeded(0, place), base=base)
        tuned = method.predictors()[about["predictor"]]
        tuned.load_state_dict(weights)
        for part in [part for part in tuned.modules() if isinstance(part, Tuned)]:
            part.backbone = part.backbone.frozen()
        return tuned
    if not about["backbone"].get("held", True):
        weights = {**weights, **{BACKBONE + k: v for k, v in below.state_dict().items()}}
    top = {k.removeprefix(HEAD): v for k, v in weights.items() if k.startswith(HEAD)}
    whole = on_pixels(below, alone(about, of_head, top, place, own_file), of_head, place)
    whole.load_state_dict(weights)
    whole.backbone = whole.backbone.frozen()
    return whole


def alone(
    about: Mapping[str, Any], facts: Facts, weights: Mapping[str, Tensor], place: torch.device, own_file: str | None
) -> nn.Module:
    """The network of a method, freshly made; of a probe, with its weights, whose shapes say what it is."""
    if about["method"] in PROBES:
        kind = PROBES[about["method"]]
        cfg = with_settings(kind.config(), tuples(about["method_settings"]), "method")
        return kind.head(cfg, weights).to(place)
    method = Blueprint.from_json(dict(about), own_file).build(facts, place, Draws.seeded(0, place))
    return method.predictors()[about["predictor"]]


def read_facts(stored: Any) -> Facts:
    """What is wrong with the facts is wrong with the file that they stand in."""
    try:
        return Facts.from_json(stored)
    except UserError as e:
        raise ValueError(str(e)) from e
