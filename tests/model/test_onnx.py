"""ONNX files: every network, any batch, the run's own answers; what is in them suffices; none that differs is left."""

import csv
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import halfseen
from halfseen.cli import main
from halfseen.commands.export import export, largest_difference
from halfseen.commands.predict import predict
from halfseen.data import open_data
from halfseen.errors import UserError
from halfseen.model import load_model
from halfseen.model import onnx as exporting
from halfseen.model.facts import Facts
from halfseen.model.model import Model, save_model
from halfseen.model.onnx import Graph, as_is, load_onnx, session, to_onnx
from halfseen.nets import NETS, make_net
from halfseen.nets.net import Net
from halfseen.nets.shake_shake import ShakeShake
from halfseen.nets.wrn import WRN

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

CPU = torch.device("cpu")
KINDS = {getattr(factory, "func", factory): name for name, factory in reversed(NETS.items())}  # widths are not kinds
SHAPES = {
    "mlp": (5,),
    "linear": (5,),
    "cnn3": (3, 24, 24),
    "cnn13": (1, 12, 13),
    "lenet": (1, 16, 16),
    "lenet5": (1, 12, 12),
    "resnet18": (3, 32, 32),
    "air": (3, 16, 16),
}


def short_and_narrow(name: str, shape: tuple[int, ...]) -> Net:
    """The network, but of a wide one a narrow one with one block of each kind: an export takes its time by the layer."""
    if name.startswith("wrn"):
        net: Net = WRN(3, shape, width=2, bias=True, dropout=0.3)
        kept = (0, 1, 4, 8)  # of the first stage also a block that keeps its width
    elif name.startswith("shake"):
        net, kept = ShakeShake(3, shape, width=2), (0, 1, 4, 8)
    elif name.startswith("resnet"):
        net, kept = make_net(name, classes=3, shape=shape), (0, 2, 4, 6)
    else:
        return make_net(name, classes=3, shape=shape)
    net.blocks = nn.Sequential(*(net.blocks[i] for i in kept))
    return net


def settled(net: nn.Module, seed: int = 0) -> nn.Module:
    """Batch norms that have seen something, and a loud head."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is not None:
            module.running_mean.copy_(0.1 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))
    nn.init.normal_(net.head.weight, generator=generator)
    return net


def rows(shape: tuple[int, ...], n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if len(shape) == 1:
        return torch.randn(n, *shape, generator=generator)
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)


def model_of(net: nn.Module, shape: tuple[int, ...], per_image: bool = False, classes: str = "abc") -> Model:
    mean, std = [0.1 + 0.3 * i for i in range(shape[0])], [0.2 + 0.1 * i for i in range(shape[0])]
    facts = Facts(tuple(classes), shape, tuple(mean), tuple(std), False, 9, 4, 5, per_image)
    return Model(net, facts, {"net": "this one"}, CPU)


def opened(payload: bytes, like: Model) -> Model:
    return Model(Graph(session(payload)), like.facts, like.about, CPU, as_is)


def saved(folder: Path, shape: tuple[int, ...], net: str, per_image: bool = False) -> Path:
    """The folder of a run that has ended, and whose data are gone."""
    torch.manual_seed(0)
    made = settled(make_net(net, classes=3, shape=shape))
    facts = model_of(made, shape, per_image).facts
    about = {"method": "supervised", "method_settings": {}, "net": net, "net_options": {}, "predictor": "net"}
    save_model(folder / "model", made, about, facts)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the 8x8 digits."""
    out = tmp_path_factory.mktemp("trained") / "run"
    before = torch.get_num_threads()
    halfseen.train(
        "digits", out=out, labels_per_class=10, steps=25, net="small", batch=8, unlabelled_batch=8, threads=1,
        report=False, quiet=True,
    )  # fmt: skip
    torch.set_num_threads(before)
    return out


@pytest.fixture(scope="module")
def said_and_file(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the command prints, and the file that it writes."""
    import contextlib
    import io

    out = tmp_path_factory.mktemp("exported") / "digits.onnx"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        main(["export", str(run), str(out)])
    return said.getvalue(), out


@pytest.fixture
def file(said_and_file: tuple[str, Path]) -> Path:
    return said_and_file[1]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Handwritten digits as files of several kinds and sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    x = open_data("digits").test_x
    assert x is not None
    for i, plane in enumerate(x[:20, 0].numpy()):
        picture = Image.fromarray(plane).resize((8 + 3 * i, 60 - i), Image.Resampling.BICUBIC)
        if i % 4 == 0:
            picture.save(folder / f"{i}.png")
        elif i % 4 == 1:
            exif = Image.Exif()
            exif[0x0112] = 6  # lying on its side
            picture.convert("RGB").save(folder / f"{i}.jpg", exif=exif)
        elif i % 4 == 2:
            faded = picture.convert("RGBA")
            faded.putalpha(picture.point(lambda v: 255 - v // 2))
            faded.save(folder / f"{i}.png")
        else:
            Image.merge("RGB", (picture, picture.rotate(9), picture)).save(folder / f"{i}.bmp")
    return folder


# ---- the graph -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS.values())
def test_every_network_in_any_batch(name: str) -> None:
    shape = SHAPES.get(name, (3, 9, 8))
    torch.manual_seed(0)
    net = settled(short_and_narrow(name, shape))
    model = model_of(net, shape)
    with torch.no_grad():  # so that every class wins sometimes
        net.head.bias -= model.probabilities(rows(shape, 50)).clamp_min(1e-30).log().mean(0)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    file = opened(to_onnx(model, {}), model)
    labels = set()
    for n in (1, 7, 3):
        x = rows(shape, n, seed=n)
        P = model.probabilities(x)
        torch.testing.assert_close(file.probabilities(x), P, atol=1e-4, rtol=0)
        labels |= set(P.argmax(1).tolist())
    assert len(labels) > 1  # otherwise the agreement would prove little
    after = net.state_dict()
    assert list(after) == list(before)  # weight norm too is as it was
    assert all(torch.equal(after[k], before[k]) for k in before)


def test_each_image_by_its_own_mean() -> None:
    torch.manual_seed(0)
    model = model_of(settled(make_net("small", classes=3, shape=(3, 8, 9))), (3, 8, 9), per_image=True)
    file = opened(to_onnx(model, {}), model)
    x = rows((3, 8, 9), 6)
    x[0] = 7  # constant: its deviation is 0
    x[1] = x[1] // 9
    torch.testing.assert_close(file.probabilities(x), model.probabilities(x), atol=1e-5, rtol=0)
    plain = Model(model.net, model_of(model.net, (3, 8, 9)).facts, {}, CPU)
    assert (plain.probabilities(x) - model.probabilities(x)).abs().max() > 1e-2  # it is another normalisation


class Undecided(Net):
    """No graph can hold it: which branch it takes depends on the numbers."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :4] if x.sum() > 0 else x.flatten(1)[:, 4:8]


def test_a_network_that_has_no_graph() -> None:
    with pytest.raises(UserError, match=r"the net this one cannot be written as ONNX \(.+\); change the net"):
        to_onnx(model_of(Undecided(), (1, 3, 3)), {})


# ---- the file ------------------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_checked(said_and_file: tuple[str, Path]) -> None:
    said, file = said_and_file
    assert re.fullmatch(
        rf"{re.escape(str(file))}: 0\.\d MB, opset 18; onnxruntime gives 180 test images of digits the labels of the run, "
        r"probabilities to \de-\d\d\n",
        said,
    )
    assert [p.name for p in file.parent.iterdir()] == ["digits.onnx"]


def test_the_file_says_how_to_use_it(run: Path, file: Path) -> None:
    proto = onnx.load(file)
    onnx.checker.check_model(proto, full_check=True)
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 18)]
    given, found = proto.graph.input[0], proto.graph.output[0]
    assert (given.name, found.name) == ("images", "probabilities")
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim] == ["n", 1, 8, 8]
    assert [d.dim_param or d.dim_value for d in found.type.tensor_type.shape.dim] == ["n", 10]
    told = {p.key.removeprefix("halfseen."): p.value for p in proto.metadata_props}
    assert json.loads(told["classes"]) == [str(k) for k in range(10)]
    assert json.loads(told["shape"]) == [1, 8, 8]
    assert (told["version"], told["method"], told["net"]) == (halfseen.__version__, "fixmatch", "small")
    assert told["data"] == "digits"
    assert "height 8 and width 8" in told["resize"]
    assert "grey" in told["channels"]
    weights = (run / "model" / "model.safetensors").read_bytes()
    assert told["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    facts = load_model(run).facts
    assert str(facts.mean) in told["normalisation"]
    assert str(facts.std) in told["normalisation"]
    everything = file.read_bytes()
    assert b".py" not in everything  # where the code lay that was exported
    assert str(Path(halfseen.__file__).parent).encode() not in everything


def table(path: Path) -> list[list[str]]:
    with open(path, newline="") as f:
        return list(csv.reader(f))


def test_the_same_csv_as_from_the_run(run: Path, file: Path, pictures: Path, tmp_path: Path) -> None:
    for source, name in ((run, "run.csv"), (file, "file.csv")):
        main(["predict", str(source), str(pictures), "--out", str(tmp_path / name), "--all-probabilities"])
    one, two = table(tmp_path / "run.csv"), table(tmp_path / "file.csv")
    assert one[0] == two[0]
    assert len(one) == len(two) == 21
    for a, b in zip(one[1:], two[1:], strict=True):
        assert a[:2] == b[:2]
        assert [float(v) for v in a[2:]] == pytest.approx([float(v) for v in b[2:]], abs=1e-5)
    assert len({row[1] for row in one[1:]}) > 2


def test_the_example_without_halfseen(file: Path, pictures: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    example = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    assert "halfseen." not in example.replace('"halfseen.', "")  # it takes the metadata, and not the package
    model = load_model(file)
    paths = model.paths(pictures)
    code = example.replace("model.onnx", str(file))
    for one, two in zip(paths[::2], paths[1::2], strict=True):
        names: dict[str, Any] = {}
        exec(code.replace('"one.jpg"', repr(str(one))).replace('"two.png"', repr(str(two))), names)
        np.testing.assert_allclose(names["P"], model.predict_proba([one, two]), atol=1e-5)


def test_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = saved(tmp_path / "run", (5,), "mlp")
    export(run, tmp_path / "m.onnx")
    assert "gives 256 random rows (the data of the run could not be opened) the labels" in capsys.readouterr().out
    x = np.random.default_rng(0).normal(size=(30, 5))
    np.savez(tmp_path / "x.npz", x=x)
    for source, name in ((run, "a.csv"), (tmp_path / "m.onnx", "b.csv")):
        predict(source, tmp_path / "x.npz", tmp_path / name, False, "cpu")
    assert [row[:2] for row in table(tmp_path / "a.csv")] == [row[:2] for row in table(tmp_path / "b.csv")]
    np.testing.assert_allclose(
        load_model(run).predict_proba(x), load_model(tmp_path / "m.onnx").predict_proba(x), atol=1e-5
    )


# ---- the check -----------------------------------------------------------------------------------------------------------


def test_a_file_that_differs_is_not_left(
    run: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = onnx.load(file)
    head = next(w for w in proto.graph.initializer if w.name.endswith("head.weight"))
    half_a_percent = onnx.numpy_helper.to_array(head) * np.float32(1.005)  # more than rounding
    head.CopyFrom(onnx.numpy_helper.from_array(half_a_percent, head.name))
    monkeypatch.setattr("halfseen.commands.export.to_onnx", lambda model, metadata: proto.SerializeToString())
    with pytest.raises(UserError, match=r"probabilities differ by up to 0\.\d+, so it was not written"):
        export(run, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_labels_must_agree_unless_they_are_tied() -> None:
    class Fixed(nn.Module):
        def __init__(self, p: list[float]) -> None:
            super().__init__()
            self.p = torch.tensor(p)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.p.log().expand(len(x), 3)

    def says(p: list[float]) -> Model:
        return model_of(Fixed(p), (1, 2, 2))

    x = rows((1, 2, 2), 12)
    assert largest_difference(says([0.5, 0.3, 0.2]), says([0.5, 0.3, 0.2]), x) == 0
    assert largest_difference(says([0.400001, 0.4, 0.199999]), says([0.4, 0.400001, 0.199999]), x) < 1e-5
    with pytest.raises(UserError, match="gives 12 of 12 images another label"):
        largest_difference(says([0.40002, 0.4, 0.19998]), says([0.4, 0.40002, 0.19998]), x)
    with pytest.raises(UserError, match="gives 0 of 12 images another label"):
        largest_difference(says([0.5, 0.3, 0.2]), says([0.4998, 0.3002, 0.2]), x)
    with pytest.raises(UserError, match="up to nan"):
        largest_difference(says([0.5, 0.3, 0.2]), says([0.5, float("nan"), 0.2]), x)


def test_data_that_have_changed_are_called_so(
    run: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("halfseen.commands.export.to_onnx", lambda model, metadata: file.read_bytes())
    moved = tmp_path / "run"
    moved.mkdir()
    (moved / "model").symlink_to(run / "model")
    config = json.loads((run / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(config | {"fingerprint": "another"}))
    export(moved, tmp_path / "one.onnx")
    assert "180 test images of digits, changed since the run the labels" in capsys.readouterr().out
    (moved / "config.json").write_text(json.dumps(config | {"data": "arrays"}))  # given from Python
    export(moved, tmp_path / "two.onnx")
    assert "256 random rows (the data of the run could not be opened) the labels" in capsys.readouterr().out


# ---- mistakes ------------------------------------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *args: str | Path) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in args])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("halfseen: ")
    assert said.count("\n") == 1
    return said


def test_mistakes_of_export(
    run: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("halfseen.commands.export.to_onnx", lambda model, metadata: file.read_bytes())
    old = tmp_path / "old.onnx"
    old.write_text("mine")
    assert "old.onnx exists already; remove it, or choose another name" in refused(capsys, "export", run, old)
    assert old.read_text() == "mine"
    assert "does not end in .onnx; name the file to write" in refused(capsys, "export", run, tmp_path / "m.bin")
    (tmp_path / "f.onnx").mkdir()
    assert "does not end in .onnx" in refused(capsys, "export", run, tmp_path / "f.onnx")
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "config.json").write_text("{}")
    assert "the run has not finished; go on with --resume" in refused(capsys, "export", begun, tmp_path / "m.onnx")
    assert "is a file; name the folder of the run" in refused(capsys, "export", file, tmp_path / "m.onnx")
    assert "holds no model: name a run folder" in refused(capsys, "export", tmp_path / "gone", tmp_path / "m.onnx")
    assert "could not be written" in refused(capsys, "export", run, old / "below.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_files_that_are_not_ours(
    file: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def labelling(path: Path) -> str:
        return refused(capsys, "predict", path, pictures, "--out", tmp_path / "p.csv")

    bad = tmp_path / "bad.onnx"
    assert "there is no file" in labelling(bad)
    for content in (b"", b"no graph", file.read_bytes()[:5000]):
        bad.write_bytes(content)
        assert "is no ONNX file that can be used (" in labelling(bad)
    proto = onnx.load(file)
    onnx.helper.set_model_props(proto, {"halfseen.model": '{"facts": {}}'})
    onnx.save(proto, bad)
    assert "the metadata of" in labelling(bad)
    onnx.helper.set_model_props(proto, {"author": "somebody"})
    onnx.save(proto, bad)
    assert "was not written by halfseen export" in labelling(bad)
    assert "is not the folder of a run" in refused(capsys, "evaluate", file)
    assert not (tmp_path / "p.csv").exists()


def test_what_must_be_installed(run: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = exporting.importlib.util.find_spec
    for missing in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setattr(
            exporting.importlib.util,
            "find_spec",
            lambda name, without=missing: None if name == without else found(name),
        )
        with pytest.raises(UserError, match=rf"^{missing} must be installed .* pip install 'halfseen\[onnx\]'"):
            export(run, tmp_path / "m.onnx")
    with pytest.raises(UserError, match="onnxruntime must be installed"):
        load_model(file)


def test_a_gpu_that_onnxruntime_does_not_know(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(UserError, match="this onnxruntime cannot use a GPU"):
        load_onnx(file, torch.device("cuda", 0))
