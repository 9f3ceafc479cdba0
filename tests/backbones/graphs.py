"""Small ONNX graphs, written by hand: mean and largest value of each channel."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest


def write(
    file: Path, shape: Sequence[int | str], gives: Sequence[str] = ("features",), kind: str = "FLOAT", inputs: int = 1
) -> Path:
    """From pictures of this shape `features` [n, 2c], `both` [n, 2c, 1, 1] and `maps` as large as the pictures."""
    onnx: Any = pytest.importorskip("onnx", reason="pip install halfseen[onnx]")
    h, number = onnx.helper, getattr(onnx.TensorProto, kind)
    nodes = [
        h.make_node("GlobalAveragePool", ["x"], ["mean"]),
        h.make_node("GlobalMaxPool", ["x"], ["top"]),
        h.make_node("Concat", ["mean", "top"], ["both"], axis=1),
        h.make_node("Flatten", ["both"], ["features"], axis=1),
        h.make_node("Relu", ["x"], ["maps"]),
    ]
    places = [h.make_tensor_value_info(name, number, shape) for name in ("x", "z")[:inputs]]
    assert isinstance(shape[1], int)
    n, d = shape[0], 2 * shape[1]
    shapes = {"features": [n, d], "both": [n, d, 1, 1], "maps": shape}
    graph = h.make_graph(nodes, "small", places, [h.make_tensor_value_info(o, number, shapes[o]) for o in gives])
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), file)
    return file
