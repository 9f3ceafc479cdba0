"""Runs from Python: any data, honest choices, a folder that says everything, a model that loads."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import halfseen
from halfseen.data import open_data
from halfseen.errors import UserError
from halfseen.machine.progress import Display
from halfseen.run.budget import steps_that_fit
from tests.toy import make_trainer

QUICK = {"steps": 12, "batch": 8, "unlabelled_batch": 16, "threads": 1, "report": False, "quiet": True}
SMALL = {"net.width": 8}


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def arrays(labels: int = 60) -> dict[str, np.ndarray]:
    digits = open_data("digits", progress=False)
    y = digits.y.numpy().copy()
    y[labels:] = -1
    return {"x": digits.x.numpy(), "y": y, "x_test": digits.test_x.numpy(), "y_test": digits.test_y.numpy()}


def test_train_on_arrays_and_load(tmp_path: Path) -> None:
    data = arrays()
    result = halfseen.train(data, out=tmp_path / "run", overrides=SMALL, **QUICK)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["facts"]["labelled"] == 60
    model = halfseen.load(tmp_path / "run")
    x = torch.from_numpy(data["x_test"])
    p = model.probabilities(x)
    assert p.shape == (len(x), 10)
    torch.testing.assert_close(p.sum(1), torch.ones(len(x)))
    accuracy = (p.argmax(1).numpy() == data["y_test"]).mean()
    assert accuracy == pytest.approx(result.metrics["headline"]["test"]["accuracy"])
    with pytest.raises(UserError, match="resize"):
        model.probabilities(torch.zeros(2, 3, 9, 9, dtype=torch.uint8))


def test_vectors_train_an_mlp(tmp_path: Path) -> None:
    result = halfseen.train("two-spirals", out=tmp_path / "run", num_labels=40, method="mean_teacher", **QUICK)
    assert result.metrics["net"] == "mlp"
    assert 0 <= result.metrics["headline"]["test"]["accuracy"] <= 1


def test_the_test_labels_choose_nothing(tmp_path: Path) -> None:
    """With other test labels, the same network is chosen, of the same step, with the same weights."""
    data, wrong = arrays(200), arrays(200)
    wrong["y_test"] = (wrong["y_test"] + 1) % 10
    one, two = (
        halfseen.train(d, out=tmp_path / n, overrides=SMALL, val=2, test_curve=True, **QUICK)
        for d, n in ((data, "a"), (wrong, "b"))
    )
    for key in ("which", "predictor", "step"):
        assert one.metrics["headline"][key] == two.metrics["headline"][key]
    assert (tmp_path / "a/model/model.safetensors").read_bytes() == (
        tmp_path / "b/model/model.safetensors"
    ).read_bytes()
    assert one.metrics["headline"]["test"]["accuracy"] != two.metrics["headline"]["test"]["accuracy"]


def test_validation_is_a_fifth_of_the_labels_when_classes_have_ten(tmp_path: Path) -> None:
    few = halfseen.train("digits", out=tmp_path / "few", labels_per_class=9, overrides=SMALL, **QUICK)
    many = halfseen.train("digits", out=tmp_path / "many", labels_per_class=10, overrides=SMALL, **QUICK)
    assert few.metrics["images"]["validation"] == 0
    assert few.metrics["headline"]["which"] == "last"
    assert few.metrics["best"] is None
    assert many.metrics["images"]["validation"] == 20
    assert many.metrics["headline"]["which"] == "best on validation"
    split = json.loads((tmp_path / "many" / "split.json").read_text())
    assert not set(split["val"]) & (set(split["labelled"]) | set(split["unlabelled"]))


def test_the_same_settings_give_the_same_run(tmp_path: Path) -> None:
    for name in "ab":
        halfseen.train("digits", out=tmp_path / name, num_labels=20, overrides=SMALL, **QUICK)
    one, two = (
        [{k: v for k, v in row.items() if k != "seconds"} for row in lines(tmp_path / n / "log.jsonl")] for n in "ab"
    )
    assert one == two
    assert (tmp_path / "a/model/model.safetensors").read_bytes() == (
        tmp_path / "b/model/model.safetensors"
    ).read_bytes()


def test_a_user_method_and_network_from_files(tmp_path: Path) -> None:
    """The run folder keeps the method's source, and the model loads from that copy."""
    method, net = tmp_path / "mine.py", tmp_path / "net.py"
    method.write_text(Path(halfseen.__file__).with_name("methods").joinpath("supervised.py").read_text())
    net.write_text(
        "from torch import nn\n"
        "class Tiny(nn.Module):\n"
        "    def __init__(self, *, classes, shape):\n"
        "        super().__init__()\n"
        "        self.num_features = shape[0] * shape[1] * shape[2]\n"
        "        self.head = nn.Linear(self.num_features, classes)\n"
        "    def features(self, x): return x.flatten(1)\n"
        "    def forward(self, x): return self.head(self.features(x))\n"
    )
    halfseen.train("digits", out=tmp_path / "run", method=str(method), net=f"{net}:Tiny", num_labels=20, **QUICK)
    method.unlink()
    assert halfseen.load(tmp_path / "run").probabilities(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)).shape == (1, 10)


def test_minutes_become_steps_that_are_written_down(tmp_path: Path) -> None:
    trainer = make_trainer("fixmatch", steps=100)
    assert steps_that_fit(0.01, trainer) >= 1
    more, fewer = (steps_that_fit(s, make_trainer("fixmatch", steps=100)) for s in (60, 6))
    assert more > fewer
    halfseen.train("blobs", out=tmp_path / "run", num_labels=20, minutes=0.03, **{**QUICK, "steps": None})
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    log = lines(tmp_path / "run" / "log.jsonl")
    assert config["steps"] == max(row["step"] for row in log)


def test_epochs_are_the_methods_own(tmp_path: Path) -> None:
    settings = {**QUICK, "steps": None, "epochs": 0.01}
    result = halfseen.train("blobs", out=tmp_path / "run", num_labels=20, **settings)
    assert result.metrics["steps"] == 10  # of FixMatch's 1024


def test_two_processes_from_the_command_line(tmp_path: Path) -> None:
    words = ["train", "digits", "--num-labels", "20", "--steps", "5", "--batch", "8", "--unlabelled-batch", "16"]
    words += [
        "--method",
        "fixmatch",
        "--set",
        "net.width=8",
        "--set",
        "method.tau=0.2",
        "--threads",
        "1",
        "--no-report",
        "--out",
    ]
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "halfseen"]
    subprocess.run([*start, *words, str(tmp_path / "two")], check=True, capture_output=True, timeout=120)
    from halfseen.cli import main

    main([*words, str(tmp_path / "one")])
    logs = [lines(tmp_path / n / "log.jsonl") for n in ("one", "two")]
    assert len(logs[0]) == len(logs[1]) > 0
    for a, b in zip(*logs, strict=True):
        assert a["L_s"] == pytest.approx(b["L_s"], rel=1e-3)
        assert a["mask_rate"] == pytest.approx(b["mask_rate"], abs=0.1)
    assert json.loads((tmp_path / "two" / "config.json").read_text())["processes"] == 2


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from halfseen.machine import distributed

    monkeypatch.setattr(distributed, "world", lambda: 2)
    with pytest.raises(UserError, match="multiple"):
        halfseen.train("blobs", out=tmp_path / "run", num_labels=20, **{**QUICK, "batch": 7})
    assert not (tmp_path / "run").exists()


def test_wrong_settings_leave_no_folder(tmp_path: Path) -> None:
    for wrong in ({"overrides": {"method.tau": "high"}}, {"strong": "raa"}, {"net": "cnn31"}, {"device": "tpu0"}):
        with pytest.raises(UserError):
            halfseen.train("digits", out=tmp_path / "run", num_labels=20, **{**QUICK, **wrong})
        assert not (tmp_path / "run").exists()


# ---- from Python ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_arrays_are_given_again_after_ctrl_c(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The advice is a line of Python, and following it ends the run; a loop that catches Exception does not go on."""
    data, run, begun = arrays(), tmp_path / "run", []

    def press(self: Display, step: int, steps: int, stage: str) -> None:
        if step == 5:
            os.kill(os.getpid(), number)

    def several() -> None:
        for out in (run, tmp_path / "next"):
            begun.append(out)
            try:
                halfseen.train(data, out=out, overrides=SMALL, **QUICK)
            except Exception:  # as a script does that tries several settings
                continue

    with monkeypatch.context() as patch:
        patch.setattr(Display, "at", press)
        with pytest.raises(KeyboardInterrupt):
            several()
    assert begun == [run]
    advice = f"halfseen.train(<the same data>, out={str(run)!r}, resume=True)"
    assert f"Stopped at step 5 of 12, all is saved. Go on with: {advice}\n" in capsys.readouterr().out

    for lacking in (None, "digits", tmp_path):
        with pytest.raises(UserError, match="was trained on data from a Python program") as found:
            halfseen.train(lacking, out=run, resume=True)
        assert str(found.value).endswith(advice)
    with pytest.raises(UserError, match="have changed since"):
        halfseen.train(arrays(labels=61), out=run, resume=True)
    result = halfseen.train(data, out=run, resume=True)
    assert (result.folder, result.metrics["steps"]) == (run, 12)
    assert halfseen.train(out=run, resume=True) == result  # finished: nothing is read again


def test_a_missing_page_is_made_by_resuming(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As after a full disk under the page: the run counts as finished, since its metrics.json is there."""
    data, run = arrays(), tmp_path / "run"
    halfseen.train(data, out=run, overrides=SMALL, **{**QUICK, "steps": 2, "report": True})
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    page = run / "report.html"
    size = page.stat().st_size
    page.unlink()
    for lacking, said in ((None, "data from a Python program"), (arrays(labels=61), "have changed since")):
        with pytest.raises(UserError, match=said):
            halfseen.train(lacking, out=run, resume=True)
        assert not page.exists()
    capsys.readouterr()
    halfseen.train(data, out=run, resume=True, quiet=False)
    assert page.stat().st_size == size
    assert all(p.read_bytes() == content for p, content in before.items() if p != page)
    halfseen.train(out=run, resume=True)  # nothing is left to do
    (run / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match=r"metrics\.json is damaged; remove it, and the same command makes it again"):
        halfseen.train(out=run, resume=True)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown name": ({"metod": "fixmatch"}, "train has no setting 'metod'; did you mean 'method'?"),
    "a name of the command line": ({"output": "x"}, "train has no setting 'output'; did you mean 'out'?"),
    "a word for a number": ({"steps": "many"}, "steps is int or NoneType, not 'many'"),
    "a fraction of steps": ({"steps": 2.5}, "steps is int or NoneType, not 2.5"),
    "a yes for a number": ({"num_labels": True}, "num_labels is int or NoneType, not True"),
    "a number for a word": ({"strong": 3}, "strong is str, not 3"),
    "a function for a net": ({"net": print}, "net is str, not <built-in function print>"),
    "no choice": ({"precision": "fp8"}, "precision cannot be 'fp8'; did you mean"),
    "a text for a list": ({"overrides": "method.tau=1"}, "overrides is a tuple, not 'method.tau=1'"),
    "a number in a list": ({"overrides": [3]}, "overrides is str, not 3"),
    "a validation part that is none": ({"val": "lots"}, "--val is auto, none, a share such as 0.2"),
    "a folder that is none": ({"out": 3}, "out is str or Path or NoneType, not 3"),
    "a resume that is none": ({"resume": "yes"}, "resume is bool, not 'yes'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_keyword_is_a_sentence(name: str, tmp_path: Path) -> None:
    wrong, said = WRONG[name]
    with pytest.raises(UserError, match=re.escape(said)):
        halfseen.train("blobs", **{**QUICK, "out": tmp_path / "run", "num_labels": 20, **wrong})
    assert not (tmp_path / "run").exists()


def test_without_data_it_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"say what to train on: a folder of images.*or arrays as"):
        halfseen.train(out=tmp_path / "run", **QUICK)
    with pytest.raises(UserError, match="--resume needs --out"):
        halfseen.train(resume=True)


def test_what_python_programs_have_for_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists, numbers of numpy, paths, and ~ for the home folder are taken for what they mean."""
    monkeypatch.setenv("HOME", str(tmp_path))
    method = tmp_path / "mine.py"
    method.write_text(Path(halfseen.__file__).with_name("methods").joinpath("supervised.py").read_text())
    result = halfseen.train(
        "blobs", out="~/run", method=method, overrides=["net.width=8"], val=None, root="sets", num_labels=np.int64(20),
        **{**QUICK, "steps": np.int32(2)},
    )  # fmt: skip
    assert result.folder == tmp_path / "run"
    assert repr(result) == f"Result(folder={result.folder!r})"  # the scores alone would fill screens
    settings = json.loads((tmp_path / "run/config.json").read_text())["settings"]
    assert settings["overrides"] == ["net.width=8"]
    assert (settings["method"], settings["val"], settings["root"]) == (str(method), "none", "sets")
    assert (settings["num_labels"], settings["steps"]) == (20, 2)


def test_the_run_folder_says_everything(tmp_path: Path) -> None:
    halfseen.train("digits", out=tmp_path / "run", num_labels=20, overrides=SMALL, **QUICK)
    names = {str(p.relative_to(tmp_path / "run")) for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert names == {
        "config.json", "environment.json", "split.json", "log.jsonl", "metrics.json", "method.py", "outputs.npz",
        "checkpoints/last.pt", "model/model.json", "model/model.safetensors",
    }  # fmt: skip
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert {"torch", "numpy", "git", "command", "device"} <= environment.keys()


def test_tensorboard_gets_the_numbers_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a writer in place of the extra's, which need not be installed here."""
    import types

    written: list[tuple[str, float, int]] = []

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            assert folder == str(tmp_path / "run" / "tensorboard")

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def flush(self) -> None:
            pass

    monkeypatch.setattr("halfseen.run.session.need_tensorboard", lambda: None)
    stub = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stub)
    halfseen.train("blobs", out=tmp_path / "run", num_labels=20, tensorboard=True, **QUICK)
    log = lines(tmp_path / "run" / "log.jsonl")
    assert [v for n, v, _ in written if n == "L_s"] == [row["L_s"] for row in log if "L_s" in row]


def test_compiled_networks_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--compile changes speed, not the run; torch's eager backend stands for the compiler, which takes a minute."""
    from torch import nn

    real, calls = nn.Module.compile, []

    def compile_eagerly(module: nn.Module, *args: object, **kwargs: object) -> None:
        calls.append(module)
        real(module, *args, backend="eager", **kwargs)

    monkeypatch.setattr(nn.Module, "compile", compile_eagerly)
    for name, compiled in (("plain", False), ("compiled", True)):
        halfseen.train("blobs", out=tmp_path / name, num_labels=20, compile=compiled, **QUICK)
    assert calls
    plain, compiled = (lines(tmp_path / n / "log.jsonl")[-1] for n in ("plain", "compiled"))
    assert plain["L_s"] == pytest.approx(compiled["L_s"], rel=1e-5)
