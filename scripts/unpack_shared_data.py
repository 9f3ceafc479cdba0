"""Makes NAME.npz of MNIST, USPS, CIFAR-10 and CIFAR-100 from the small forms in ../shared/data, pixels checked.

python scripts/unpack_shared_data.py --root data            # all four, about 400 MB
python scripts/unpack_shared_data.py --root data mnist usps
"""

import argparse
import importlib
import os
import sys
import tempfile
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from halfseen.data.named import Part, default_root, pixel_sum, usps_greys
from halfseen.data.published import PUBLISHED
from halfseen.data.sources import open_data
from halfseen.errors import UserError, nearest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
NAMES = ("mnist", "usps", "cifar10", "cifar100")


def unpack(name: str, shared: Path, root: Path) -> Path:
    """Write root/NAME.npz (x, y, test_x, test_y; uint8), whole or not at all."""
    train, test = {"mnist": _mnist, "usps": _usps, "cifar10": _sheets, "cifar100": _sheets}[name](name, shared / name)
    sums = (pixel_sum(train), pixel_sum(test))
    if sums not in [known[:2] for known in PUBLISHED[name].pixels]:
        raise UserError(f"{shared / name} does not hold the known pixels of {name}: check it against its SHA256SUMS.")
    root.mkdir(parents=True, exist_ok=True)
    target = root / f"{name}.npz"
    handle, building = tempfile.mkstemp(suffix=".npz", dir=root)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, x=train[0], y=train[1], test_x=test[0], test_y=test[1])
            file.flush()
            os.fsync(file.fileno())
        os.chmod(building, 0o644)
        os.replace(building, target)
    except BaseException:
        os.unlink(building)
        raise
    return target


def _mnist(name: str, folder: Path) -> tuple[Part, Part]:
    data = open_data(name, root=folder)
    parts = (data.x, data.y), (cast(Tensor, data.test_x), cast(Tensor, data.test_y))  # idx files always have both
    train, test = ((x[:, 0].numpy(), y.numpy().astype(np.uint8)) for x, y in parts)
    return train, test


def _usps(name: str, folder: Path) -> tuple[Part, Part]:
    with np.load(folder / "usps.npz", allow_pickle=False) as stored:
        train, test = ((usps_greys(stored[f"x_{p}"]), stored[f"y_{p}"]) for p in ("train", "test"))
    return train, test


def _sheets(name: str, folder: Path) -> tuple[Part, Part]:
    ending = "webp"
    if name == "cifar100":
        ending = "jxl"
        try:
            importlib.import_module("pillow_jxl")
        except ImportError as error:
            raise UserError("cifar100 is stored as JPEG XL: run `pip install pillow-jxl-plugin` first.") from error
    with np.load(folder / "labels.npz", allow_pickle=False) as labels:
        train_y, test_y = labels["train"], labels["test"]
    train_x = np.concatenate([_tiles(folder / f"train-{i}.{ending}") for i in range(5)])
    return (train_x, train_y), (_tiles(folder / f"test.{ending}"), test_y)


def _tiles(path: Path) -> NDArray[np.uint8]:
    """A sheet of 100 x 100 pictures as [10000, 32, 32, 3]."""
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB"), dtype=np.uint8)
    return pixels.reshape(100, 32, 100, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"which sets (default: all of {', '.join(NAMES)})")
    parser.add_argument("--shared", type=Path, default=SHARED, help="the folder of the small forms")
    parser.add_argument(
        "--root", type=Path, default=None, help="where NAME.npz goes (default: HALFSEEN_DATA or ./data)"
    )
    chosen = parser.parse_args(arguments)
    failed = False
    for name in chosen.names or NAMES:
        try:
            if name not in NAMES:
                raise UserError(f"{name} is no set of the shared data: {nearest(name, NAMES)}")
            print(unpack(name, chosen.shared, chosen.root or default_root()))
        except (UserError, OSError) as error:
            print(error, file=sys.stderr)  # the other sets may still be made
            failed = True
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
