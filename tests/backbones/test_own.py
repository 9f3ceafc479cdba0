"""FILE.py:factory as a backbone."""

from pathlib import Path

import torch

from halfseen.backbones import load_backbone

MEAN = """
import torch
from torch import nn

class Mean(nn.Module):
    side, least = 16, 4

    def __init__(self, bias=0.0):
        super().__init__()
        self.bias = nn.Parameter(torch.full((3,), bias))
        self.last = nn.Identity()

    def layers(self):
        return [self.last]

    def forward(self, x):
        return x.mean((2, 3)) + self.bias

def made():
    return Mean(1.0)
"""


def test_a_network_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MEAN)
    net = load_backbone(f"{tmp_path}/mine.py:made")
    assert (net.side, net.least, net.dim, net.trainable) == (16, 4, 3, True)
    x = torch.rand(2, 3, 8, 8)
    assert torch.allclose(net(x), x.mean((2, 3)) + 1)
    assert len(net.layers()) == 1
    other = load_backbone(f"{tmp_path}/mine.py:Mean")  # a class is a factory too
    assert other.key != net.key == load_backbone(f"{tmp_path}/mine.py:made").key
    (tmp_path / "mine.py").write_text(MEAN.replace("x.mean", "x.square().mean"))
    assert load_backbone(f"{tmp_path}/mine.py:made").key != net.key


def test_a_backbone_of_ones_own_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from halfseen.backbones.lite0 import Lite\n\ndef small():\n    return Lite('lite0').train()\n"
    )
    net = load_backbone(f"{tmp_path}/mine.py:small")
    assert (type(net).__name__, net.name, net.training) == ("Lite", f"{tmp_path}/mine.py:small", False)
