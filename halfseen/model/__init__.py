"""A method built, saved and loaded."""

import os
from pathlib import Path

import torch

from halfseen.errors import UserError, quoted
from halfseen.machine.device import pick_device
from halfseen.model.hub import MARK, fetched
from halfseen.model.model import Model, load_run
from halfseen.model.onnx import load_onnx


def load_model(path: Path | str, device: torch.device | str = "cpu") -> Model:
    """The model of a run folder or its `model/` folder, of a file that `halfseen export` wrote, or hf:USER/NAME."""
    if not isinstance(path, str | Path):
        raise UserError(f"a model is loaded from a run folder or an .onnx file, not from {quoted(str(path))}; name one")
    if str(path).startswith(MARK):
        path = fetched(str(path))
    path = Path(os.path.expanduser(path))  # not Path.expanduser, which raises for a user who does not exist
    place = pick_device(device) if isinstance(device, str) else device
    if path.suffix == ".onnx" and not path.is_dir():
        return load_onnx(path, place)
    return load_run(path, place)
