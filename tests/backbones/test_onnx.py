"""ONNX files as backbones: the same numbers as the network that was written."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from halfseen.backbones import load_backbone
from halfseen.backbones.pixels import IMAGENET
from tests.backbones.graphs import write

pytest.importorskip("onnxruntime", reason="pip install halfseen[onnx]")


def usual(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(t).view(3, 1, 1) for t in IMAGENET)
    return (x - mean) / std


def mean_and_top(x: Tensor) -> Tensor:
    """What the graphs of `write` compute: [n, 6]."""
    return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


def test_any_side_and_any_number(tmp_path: Path) -> None:
    net = load_backbone(str(write(tmp_path / "net.onnx", ["n", 3, "h", "w"])))
    assert (net.side, net.dim, net.fixed, net.trainable, net.layers()) == (224, 6, False, False, [])
    for n, side in ((1, 8), (5, 20)):
        x = torch.rand(n, 3, side, side)
        assert torch.allclose(net(x), mean_and_top(usual(x)), atol=1e-6)
    assert net.frozen() is net


@pytest.mark.parametrize("rows", [1, 4])
def test_a_side_and_a_number_that_are_fixed(rows: int, tmp_path: Path) -> None:
    net = load_backbone(str(write(tmp_path / "net.onnx", [rows, 3, 16, 16])))
    assert (net.side, net.least, net.fixed) == (16, 16, True)
    x = torch.rand(6, 3, 16, 16)
    assert torch.allclose(net(x), mean_and_top(usual(x)), atol=1e-6)


def test_the_key_and_the_pixels(tmp_path: Path) -> None:
    file = write(tmp_path / "net.onnx", ["n", 3, "h", "w"])
    before = load_backbone(str(file)).key
    assert load_backbone(str(file)).key == before
    (tmp_path / "preprocessor_config.json").write_text('{"size": 32, "do_normalize": false}')
    net, x = load_backbone(str(file)), torch.rand(2, 3, 8, 8)
    assert net.key != before
    assert net.side == 32
    assert torch.allclose(net(x), mean_and_top(x))
    for copied in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):  # what is handed to other processes
        assert torch.equal(copied(x), net(x))


def test_the_output_that_is_pooled(tmp_path: Path) -> None:
    """Of several outputs the features are taken; maps of one place are features too."""
    x = torch.rand(2, 3, 16, 16)
    for gives in (["maps", "both", "features"], ["maps", "both"]):
        net = load_backbone(str(write(tmp_path / "net.onnx", ["n", 3, "h", "w"], gives=gives)))
        assert torch.allclose(net(x), mean_and_top(usual(x)), atol=1e-6)
