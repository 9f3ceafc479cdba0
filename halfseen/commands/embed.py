"""`halfseen embed`: a backbone's features of images, for whoever wants only those."""

from pathlib import Path
from typing import Any

import numpy as np

from halfseen.backbones import best_installed, load_backbone
from halfseen.data.bank import Bank, banked
from halfseen.data.store import Views
from halfseen.errors import UserError
from halfseen.machine.files import write_whole
from halfseen.run.beginning import open_images
from halfseen.run.start import sized
from halfseen.settings import Settings


def embed(data: str, out: Path, backbone: str = "auto", size: int | None = None, root: Path | None = None) -> Path:
    """`features` [n, d] float32 of the images that train would see; test images beside them, as `test_features`."""
    if out.exists():
        raise UserError(f"{out} exists; choose another --out, or remove it")
    if out.suffix != ".npz":
        raise UserError(f"{out} is written as an .npz file; give it that ending")
    name = backbone
    if name == "auto":
        name, why = best_installed()
        if name == "none":
            raise UserError(why)
    settings = sized(data, Settings(backbone=name, size=size, root=root))
    images = open_images(data, settings)
    made = banked(images, load_backbone(name), Views(), only_clean=True)
    bank = made.bank
    assert isinstance(bank, Bank)
    arrays: dict[str, Any] = {"features": bank.clean(made.x[:, 0]).numpy(), "classes": np.array(images.classes)}
    arrays["labels"] = np.where(images.given.numpy(), images.y.numpy(), -1)
    if images.paths is not None:
        arrays["paths"] = np.array(images.paths)
    if made.test_x is not None and images.test_y is not None:
        arrays |= {"test_features": bank.clean(made.test_x[:, 0]).numpy(), "test_labels": images.test_y.numpy()}
    if images.test_paths is not None:
        arrays["test_paths"] = np.array(images.test_paths)
    write_whole(out, lambda file: np.savez(file, **arrays))
    print(f"{out}: {len(made.x):,} images, {bank.dim} features each, of {name} at {images.shape[1]} px")
    return out
