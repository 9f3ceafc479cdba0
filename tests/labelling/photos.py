"""A folder of small pictures that nobody has labelled, what they show, and a backbone that sees it in no time."""

from pathlib import Path

import numpy as np
from PIL import Image

BACKBONE = """
import torch
from torch import nn

class Toy(nn.Module):
    side, least, dim = 24, 8, 12

    def forward(self, x):
        grid = torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)
        return torch.cat([grid[:, :12]], 1)
"""
COLOURS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (50, 70, 210), "grey": (130, 130, 130)}


def toy(folder: Path) -> str:
    file = folder / "toy.py"
    file.write_text(BACKBONE)
    return f"{file}:Toy"


def painted(folder: Path, count: int = 60, kinds: int = 3, seed: int = 0) -> dict[str, str]:
    """{file: colour} of pictures of one colour each with a good deal of noise, all in one folder."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    truth = {}
    for i in range(count):
        name = list(COLOURS)[i % kinds]
        x = np.array(COLOURS[name]) + random.normal(0, 25, 3) + random.normal(0, 20, (24, 24, 3))
        path = f"photo-{i}.png"
        Image.fromarray(x.clip(0, 255).astype(np.uint8)).save(folder / path)
        truth[path] = name
    return truth
