"""A trained model on disk: weights in safetensors, everything else in one json file; and what it predicts."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from halfseen import catalog
from halfseen.build import Facts, build, views
from halfseen.checkpoint import write_bytes, write_json
from halfseen.config import with_settings
from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.evaluate import logits_of

FORMAT = 1


class Model:
    """A classifier for raw images like those that it was trained on."""

    def __init__(self, net: nn.Module, facts: Facts, about: dict[str, Any], device: torch.device) -> None:
        self.net, self.facts, self.about, self.device = net.eval(), facts, about, device
        self.clean = views(facts, device, Draws.seeded(0, device))("none")

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
        return logits_of(self.net, x, self.clean, self.device).softmax(1)


def save_model(folder: Path, net: nn.Module, about: dict[str, Any], facts: Facts) -> None:
    """Write `model.safetensors` and `model.json` into the folder."""
    from safetensors.torch import save as to_bytes

    weights = {k: v.detach().cpu().contiguous().clone() for k, v in net.state_dict().items()}
    write_bytes(folder / "model.safetensors", to_bytes(weights))
    write_json(folder / "model.json", {"format": FORMAT, **about, "facts": facts.as_json()})


def load_model(path: Path, device: torch.device | str = "cpu") -> Model:
    """The model of a run folder, or of its `model/` folder."""
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    folder = path / "model" if (path / "model").is_dir() else path
    if not (folder / "model.json").is_file():
        hint = (
            "the run has not finished; go on with --resume" if (path / "config.json").is_file() else "name a run folder"
        )
        raise UserError(f"{path} holds no model: {hint}")
    place = torch.device(device)
    try:
        about = json.loads((folder / "model.json").read_text())
        facts = Facts.from_json(about["facts"])
        own_file = folder.parent / "method.py"
        entry = catalog.load(str(own_file) if about["method"].endswith(".py") else about["method"])
        config = with_settings(entry.config(), about["method_settings"], "method")
        method = build(
            entry,
            config,
            facts,
            net=about["net"],
            net_options=about["net_options"],
            policies=("none", "none"),
            device=place,
            draws=Draws.seeded(0, place),
        )
        net = method.predictors()[about["predictor"]]
        net.load_state_dict(from_bytes((folder / "model.safetensors").read_bytes()))
    except (KeyError, TypeError, ValueError, OSError, RuntimeError, SafetensorError) as e:
        raise UserError(f"the model in {folder} is damaged or of another version ({e}); export the run again") from e
    return Model(net, facts, about, place)


def flat(config: Any) -> dict[str, Any]:
    """A config's settings by dotted key, ready for json and for `with_settings`."""

    def walk(d: dict[str, Any], prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for k, v in d.items():
            found.update(walk(v, f"{prefix}{k}.") if isinstance(v, dict) else {f"{prefix}{k}": v})
        return found

    return walk(asdict(config), "")
