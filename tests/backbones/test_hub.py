"""Models of transformers: small random ones, saved to a folder and loaded through the front door."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from halfseen.backbones import load_backbone
from halfseen.backbones.pixels import CLIP, HALVES, IMAGENET
from tests.backbones.small import KINDS, SMALL, changed, saved

USUAL = {"vit": HALVES, "clip": CLIP, "siglip": HALVES}
LEAST = {"vit": 8, "dinov2": 14, "dinov3": 16, "clip": 8, "siglip": 8, "resnet": 32, "convnext": 32}


def feature(kind: str, model: Any, x: Tensor) -> Tensor:
    """As the model cards have it."""
    found = model(pixel_values=x)
    if kind in ("vit", "dinov2", "dinov3"):
        token: Tensor = found.last_hidden_state[:, 0]
        return token
    if kind == "resnet":
        mean: Tensor = found.last_hidden_state.mean((2, 3))
        return mean
    pooled: Tensor = found.pooler_output
    return pooled


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"bert"}))
def test_each_kind(kind: str, tmp_path: Path) -> None:
    model = saved(kind, tmp_path)
    net = load_backbone(str(tmp_path))
    side = KINDS[kind][1].get("image_size", 224)
    assert (net.side, net.dim, net.least, net.fixed, net.training) == (side, 16, LEAST[kind], False, False)
    x = torch.rand(2, 3, side, side)
    mean, std = (torch.tensor(t).view(3, 1, 1) for t in USUAL.get(kind, IMAGENET))
    with torch.no_grad():
        there = feature(kind, model, (x - mean) / std)
        assert there.std() > 0.01
        assert torch.allclose(net(x), there, atol=1e-5)
        for other in (net.least, 3 * net.least):
            assert net(torch.rand(1, 3, other, other)).shape == (1, 16)
        frozen = net.frozen()
        assert torch.allclose(frozen(x), there, atol=1e-5)
    assert not any(p.requires_grad for p in frozen.parameters())
    assert all(p.requires_grad for p in net.parameters())
    inside = [id(p) for layer in net.layers() for p in layer.parameters()]
    assert len(inside) == len(set(inside)) == len(list(net.parameters()))
    assert len(net.layers()) >= 3


@pytest.mark.parametrize("kind", ["vit", "clip"])
def test_every_layer_trains(kind: str, tmp_path: Path) -> None:
    saved(kind, tmp_path)
    net = load_backbone(str(tmp_path))
    net(torch.rand(2, 3, 32, 32)).square().sum().backward()
    for layer in net.layers():
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters()), layer


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_the_tower_of_a_model_of_pictures_and_words(kind: str, tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    own = {"clip": ("CLIP", "CLIP"), "siglip": ("Siglip", "Siglip")}[kind][0]
    vision = getattr(transformers, f"{own}VisionConfig")(**KINDS[kind][1])
    words = getattr(transformers, f"{own}TextConfig")(vocab_size=50, **SMALL)
    config = getattr(transformers, f"{own}Config")(text_config=words.to_dict(), vision_config=vision.to_dict())
    model = transformers.AutoModel.from_config(config).eval()
    model.save_pretrained(tmp_path)
    net = load_backbone(str(tmp_path))
    x = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(t).view(3, 1, 1) for t in USUAL[kind])
    with torch.no_grad():
        assert torch.allclose(net(x), model.vision_model((x - mean) / std).pooler_output, atol=1e-5)


def test_what_the_preprocessor_says(tmp_path: Path) -> None:
    model = saved("vit", tmp_path, size={"height": 48, "width": 48}, image_mean=[0.1, 0.2, 0.3], image_std=[1, 2, 4])
    net = load_backbone(str(tmp_path))
    x = torch.rand(2, 3, 32, 32)
    mean, std = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1), torch.tensor([1.0, 2, 4]).view(3, 1, 1)
    assert net.side == 48
    with torch.no_grad():
        assert torch.allclose(net(x), feature("vit", model, (x - mean) / std), atol=1e-5)
    said = tmp_path / "preprocessor_config.json"
    for size, side in (
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 40, "width": 40}}, 40),
        ({"size": {"shortest_edge": 64}, "crop_size": 40, "do_center_crop": False}, 64),
        ({"size": 24}, 24),
        ({}, 32),
    ):
        said.write_text(json.dumps(size))
        assert load_backbone(str(tmp_path)).side == side
    said.write_text(json.dumps({"do_normalize": False}))
    with torch.no_grad():
        assert torch.allclose(load_backbone(str(tmp_path))(x), feature("vit", model, x), atol=1e-5)


def test_the_key_goes_with_weights_and_settings(tmp_path: Path) -> None:
    for kind, folder in (("vit", "a"), ("vit", "b"), ("clip", "c")):
        saved(kind, tmp_path / folder)
    a, b, c = (load_backbone(str(tmp_path / folder)).key for folder in "abc")
    assert a == b != c
    (tmp_path / "b" / "preprocessor_config.json").write_text('{"size": 48}')
    assert load_backbone(str(tmp_path / "b")).key != a
    changed(tmp_path / "a" / "config.json", layer_norm_eps=1e-3)
    assert load_backbone(str(tmp_path / "a")).key != a


def test_a_checkpoint_in_shards(tmp_path: Path) -> None:
    model = saved("vit", tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    assert not (tmp_path / "shards" / "model.safetensors").exists()
    x = torch.rand(1, 3, 32, 32)
    whole, shards = (load_backbone(str(tmp_path / folder)) for folder in ("whole", "shards"))
    with torch.no_grad():
        assert torch.equal(whole(x), shards(x))


def test_a_name_that_was_fetched_before_needs_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub: Any = pytest.importorskip("huggingface_hub")
    asked: list[dict[str, Any]] = []

    def from_cache(name: str, **options: Any) -> str:
        asked.append({"name": name, **options})
        return str(tmp_path)

    saved("vit", tmp_path)
    monkeypatch.setattr(hub, "snapshot_download", from_cache)
    monkeypatch.setattr(socket, "socket", None)
    net = load_backbone("someone/small-vit")
    assert (net.name, net.dim) == ("someone/small-vit", 16)
    assert asked == [{"name": "someone/small-vit", "local_files_only": True}]


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    code = (
        "import sys, halfseen.backbones; halfseen.backbones.best_installed();"
        "print([m for m in ('transformers', 'onnxruntime', 'onnx', 'sklearn', 'scipy') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
