"""Small random vision models of transformers, saved to folders as people have them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViTConfig", {"image_size": 32, "patch_size": 8, **SMALL}),
    "dinov2": (
        "Dinov2Config",
        {"image_size": 28, "patch_size": 14, "mlp_ratio": 2, **{k: v for k, v in SMALL.items() if k[0] != "i"}},
    ),
    "dinov3": ("DINOv3ViTConfig", {"image_size": 32, "patch_size": 16, **SMALL}),
    "clip": ("CLIPVisionConfig", {"image_size": 32, "patch_size": 8, **SMALL}),
    "siglip": ("SiglipVisionConfig", {"image_size": 32, "patch_size": 8, **SMALL}),
    "resnet": ("ResNetConfig", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2], "layer_type": "basic"}),
    "convnext": ("ConvNextConfig", {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 2, 1]}),
    "bert": ("BertConfig", {"vocab_size": 50, "max_position_embeddings": 32, **SMALL}),
}


def saved(kind: str, folder: Path, **said: Any) -> Any:
    """The model that was saved to the folder; with `said`, a preprocessor_config.json lies beside it."""
    transformers: Any = pytest.importorskip("transformers", reason="pip install halfseen[pretrained]")
    name, settings = KINDS[kind]
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(getattr(transformers, name)(**settings)).eval()
    for parameter in model.parameters():  # layer scales and class tokens begin at nearly nothing
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    if said:
        (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return model


def changed(file: Path, **settings: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
