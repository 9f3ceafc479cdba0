"""A model whose backbone is an .onnx file as one graph: what comes before it, the file itself, and the head after it."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from halfseen.backbones.onnx import Graph
from halfseen.errors import UserError
from halfseen.model.pixels import OnPixels
from halfseen.training.judge import adjusted

PIXELS, FEATURES = "pixels", "features"  # where the parts meet


class Before(nn.Module):
    """raw bytes -> what the graph takes"""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.normalise = graph.normalise

    def forward(self, raw: Tensor) -> Tensor:
        x = raw.float() / 255
        found: Tensor = self.normalise(x if x.shape[1] == 3 else x.expand(-1, 3, -1, -1))
        return found


class After(nn.Module):
    """features -> probabilities"""

    mean: Tensor
    std: Tensor

    def __init__(self, net: OnPixels, adjust: tuple[float, ...] = ()) -> None:
        super().__init__()
        self.head, self.adjust = net.head, adjust
        self.register_buffer("mean", net.mean)
        self.register_buffer("std", net.std)

    def forward(self, h: Tensor) -> Tensor:
        logits: Tensor = self.head((h.flatten(1) - self.mean) / self.std)
        return adjusted(logits.float(), self.adjust).softmax(1)


def joined(net: OnPixels, before: Any, after: Any, opset: int) -> Any:
    """The three as one model of ONNX. before, after: of Before and After, from `images` to PIXELS, from FEATURES on."""
    import onnx

    graph = net.backbone
    assert isinstance(graph, Graph)
    if graph.rows:
        raise UserError(
            f"the backbone {graph.name} takes {graph.rows} pictures at a time, and a model takes any number: export it with "
            "a first dimension that is free"
        )
    with tempfile.TemporaryDirectory() as place:
        for name, payload in graph.kept.items():
            (Path(place) / name).write_bytes(payload)
        middle = onnx.load(Path(place) / graph.file)
    if any(part.domain in ("", "ai.onnx") and part.version != opset for part in middle.opset_import):
        middle = onnx.version_converter.convert_version(middle, opset)
    parts = [
        onnx.compose.add_prefix(before, "before/", rename_inputs=False, rename_outputs=False),
        onnx.compose.add_prefix(middle, "backbone/"),
        onnx.compose.add_prefix(after, "after/", rename_inputs=False, rename_outputs=False),
    ]
    for part in parts:
        part.ir_version = max(p.ir_version for p in parts)
    whole = onnx.compose.merge_models(parts[0], parts[1], io_map=[(PIXELS, f"backbone/{graph.input}")])
    output = f"backbone/{graph.output}"
    return onnx.compose.merge_models(whole, parts[2], io_map=[(output, FEATURES)], outputs=["probabilities"])


def example(net: OnPixels) -> Tensor:
    """Two rows of features as the graph gives them."""
    assert isinstance(net.backbone, Graph)
    flat = torch.zeros(2, net.backbone.dim)
    maps = next(o for o in net.backbone.session.get_outputs() if o.name == net.backbone.output)
    return flat.view(2, -1, 1, 1) if len(maps.shape) == 4 else flat
