"""The command line as a user runs it: own pictures from training to predictions, stops and resumes, mistakes in words."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from halfseen.cli import COMMANDS, main
from halfseen.machine.progress import Display
from tests.shared import unpacked
from tests.shell import Ended, alone  # noqa: F401  # a fixture for every test here

TINY = ["--net", "small", "--threads", "1", "--batch", "8", "--unlabelled-batch", "16", "--no-report"]
# 8x8 digits with a validation part, so that there is a best checkpoint too
DIGITS = [
    "train",
    "digits",
    "--method",
    "fixmatch",
    "--labels-per-class",
    "10",
    "--steps",
    "40",
    "--log-every",
    "7",
    *TINY,
]
WAIT = 300  # seconds until a test gives up on a process


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def call(*args: str | Path) -> Ended:
        code = 0
        capsys.readouterr()
        try:
            main([str(a) for a in args])
        except SystemExit as e:
            code = int(e.code or 0)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert "\x1b" not in said.out + said.err  # plain lines where there is no terminal
        return Ended(code, said.out, said.err)

    return call


def started(args: list[str]) -> subprocess.Popen[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    env.pop("PYTHONUNBUFFERED", None)  # as in a user's shell
    return subprocess.Popen(
        [sys.executable, "-m", "halfseen", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )


def until(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that a running process does."""
    end = time.monotonic() + WAIT
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


def stopped(args: list[str], run: Path, signum: int, after: int) -> subprocess.CompletedProcess[str]:
    """A command that gets a signal once its log holds so many lines."""
    process = started(args)
    log = run / "log.jsonl"
    until(lambda: log.is_file() and log.read_text().count("\n") >= after, process)
    process.send_signal(signum)
    out, err = process.communicate(timeout=WAIT)
    return subprocess.CompletedProcess(args, process.returncode, out, err)


def timeless(thing: Any) -> Any:
    """Results without what depends on the clock."""
    if isinstance(thing, dict):
        return {k: timeless(v) for k, v in thing.items() if k != "seconds"}
    return [timeless(v) for v in thing] if isinstance(thing, list) else thing


def rows(run: Path) -> list[dict[str, Any]]:
    return [timeless(json.loads(line)) for line in (run / "log.jsonl").read_text().splitlines()]


def metrics(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return found


def same(a: Any, b: Any) -> bool:
    """Equal, bit for bit where there are tensors."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def assert_same_run(one: Path, two: Path) -> None:
    assert timeless(metrics(one)) == timeless(metrics(two))
    assert rows(one) == rows(two)
    for name in ("last", "best"):
        a, b = (torch.load(r / "checkpoints" / f"{name}.pt", weights_only=True) for r in (one, two))
        assert set(a) == set(b)
        for key in a:
            assert key == "seconds" or same(a[key], b[key]), f"{name}.pt: {key}"
    assert (one / "model" / "model.safetensors").read_bytes() == (two / "model" / "model.safetensors").read_bytes()
    for a, b in zip(np.load(one / "outputs.npz").items(), np.load(two / "outputs.npz").items(), strict=True):
        assert a[0] == b[0]
        assert a[1].tobytes() == b[1].tobytes()


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    main([*DIGITS, "--out", str(out)])
    return out


# ---- own pictures --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Blood cells in class folders, of which all but 12 of each are moved into `unlabelled`, and some into `test`."""
    folder = unpacked("blood-cells", tmp_path)
    for kind in ("RBC", "WBC", "Platelets"):
        files = sorted((folder / kind).iterdir())
        for part, chosen in (("unlabelled", files[12:-10]), (f"test/{kind}", files[-10:])):
            (folder / part).mkdir(parents=True, exist_ok=True)
            for file in chosen:
                file.rename(
                    folder / part / f"{kind}-{file.name}" if part == "unlabelled" else folder / part / file.name
                )
    return folder


def test_a_folder_of_pictures_from_training_to_predictions(
    cells: Path, tmp_path: Path, cli: Callable[..., Ended]
) -> None:
    run = tmp_path / "run"
    (cells / "unlabelled" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    ended = cli("train", cells, "--steps", "20", "--size", "24", *TINY, "--out", run)
    assert ended.code == 0, ended.err
    # 36 less a fifth for validation
    assert "29 labelled, 134 unlabelled, 7 validation images of 3 classes" in ended.err
    assert "1 file was left out: unlabelled/broken.jpg" in ended.err
    assert re.search(r"train step 20/20 .* L_s [\d.]+ .* used \d+%", ended.err)
    assert "test accuracy" in ended.err
    for name in ("config.json", "environment.json", "split.json", "log.jsonl", "metrics.json", "method.py"):
        assert (run / name).is_file()
    head = metrics(run)["headline"]

    ended = cli("evaluate", run, "--json")
    scores = json.loads(ended.out)
    for key in ("n", "accuracy", "interval", "macro_f1", "per_class", "confusion"):
        assert scores[key] == head["test"][key]
    for key in ("ece", "brier", "nll"):
        assert scores[key] == pytest.approx(head["test"][key], rel=1e-5)
    assert scores["part"] == "test"

    ended = cli("evaluate", run)
    assert f"{head['test']['accuracy']:.2%}" in ended.out
    assert all(word in ended.out for word in ("macro-F1", "ECE", "Brier", "NLL", "Platelets", "Confusion", "recall"))

    ended = cli("predict", run, cells / "test", "--out", tmp_path / "p.csv", "--all-probabilities")
    assert ended.code == 0
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[0] == "path,label,confidence,p(Platelets),p(RBC),p(WBC)"
    right = sum(line.split(",")[0].split("/")[0] == line.split(",")[1] for line in lines[1:])
    assert len(lines) == 31
    assert right / 30 == pytest.approx(head["test"]["accuracy"])  # the same images, decoded and scored the same way

    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()}
    ended = cli("train", cells, "--steps", "20", *TINY, "--out", run)
    assert ended.code == 2
    assert "exists already; choose another --out, or add --resume" in ended.err
    ended = cli("train", "--out", run, "--resume")
    assert ended.code == 0
    assert "is finished already, nothing is left to do" in ended.err
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()} == before


def test_a_table_of_labels_in_a_process_of_its_own(tmp_path: Path) -> None:
    letters = unpacked("letters", tmp_path)
    shutil.rmtree(letters / "test")
    kept = sorted(p.name for p in (letters / "train").iterdir())[:3]
    lines = ["path,label"]
    for folder in sorted((letters / "train").iterdir()):
        if folder.name not in kept:
            shutil.rmtree(folder)
            continue
        files = sorted(folder.iterdir())
        lines += [f"train/{folder.name}/{f.name},{folder.name}" for f in files[:4]]
        lines += [f"train/{folder.name}/{f.name}," for f in files[4:6]]
    (letters / "labels.csv").write_text("\r\n".join(lines))
    process = started(["train", "letters", "--method", "mean_teacher", "--steps", "5", *TINY])
    out, err = process.communicate(timeout=WAIT)
    assert process.returncode == 0, err
    assert out == ""  # what is said on the way goes to stderr
    assert "\x1b" not in err
    assert "letters: 12 labelled, 36 unlabelled, 0 validation images of 3 classes" in err
    (run,) = (tmp_path / "runs").iterdir()  # a name was made up
    assert run.name.startswith("letters-mean_teacher-")
    found = metrics(run)
    assert found["headline"]["predictor"] == "teacher"
    assert "test" not in found["headline"]
    assert "no test or validation image" in err


@pytest.fixture
def trained(tmp_path: Path, whole: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def test_evaluate_on_other_data_maps_classes_by_name(trained: Path, tmp_path: Path, cli: Callable[..., Ended]) -> None:
    from halfseen.data import open_data

    digits = open_data("digits")
    assert digits.test_x is not None
    assert digits.test_y is not None
    x, y = digits.test_x.numpy(), digits.test_y.numpy()
    keep = y != 3  # a class less, so that the numbers shift
    names = np.array([str(k) for k in y[keep]])
    np.savez(tmp_path / "other.npz", x=x[keep], y=names)
    mine = json.loads(cli("evaluate", trained, "--json").out)
    other = json.loads(cli("evaluate", trained, "--data", "other.npz", "--json").out)
    assert other["part"] == "labelled"
    assert other["n"] == int(keep.sum())
    assert [r for k, r in enumerate(other["confusion"]) if k != 3] == [
        r for k, r in enumerate(mine["confusion"]) if k != 3
    ]
    assert other["per_class"][3] is None

    np.savez(tmp_path / "strange.npz", x=x, y=np.array([f"digit {k}" for k in y]))
    ended = cli("evaluate", trained, "--data", "strange.npz")
    assert ended.code == 2
    assert "the model knows none of the classes of strange.npz, such as 'digit" in ended.err
    ended = cli("evaluate", trained, "--data", "blobs")
    assert ended.code == 2
    assert "the model was trained on pictures of shape (1, 8, 8), and blobs holds vectors" in ended.err
    # the run's own data by name are its own test images again, not the labelled ones that it has seen
    assert json.loads(cli("evaluate", trained, "--data", "digits", "--json").out)["part"] == "test"


def test_evaluate_without_test_images_uses_the_validation_part(tmp_path: Path, cli: Callable[..., Ended]) -> None:
    from halfseen.data import open_data

    digits = open_data("digits")
    np.savez(tmp_path / "mine.npz", x=digits.x[:400].numpy(), y=digits.y[:400].numpy())
    assert cli("train", "mine.npz", "--steps", "3", "--labels-per-class", "10", *TINY, "--out", "a").code == 0
    scores = json.loads(cli("evaluate", "a", "--json").out)
    assert (scores["part"], scores["n"]) == ("validation", 20)
    assert scores["confusion"] == metrics(tmp_path / "a")["headline"]["val"]["confusion"]
    assert cli("train", "mine.npz", "--steps", "3", "--labels-per-class", "2", *TINY, "--out", "b").code == 0
    ended = cli("evaluate", "b")
    assert ended.code == 2
    assert "neither test nor validation images; name labelled images with --data" in ended.err
    (tmp_path / "mine.npz").unlink()
    ended = cli("evaluate", "a")
    assert ended.code == 2
    assert "the data of this run could not be opened again" in ended.err
    assert "name images with --data" in ended.err


# ---- stops and resumes ---------------------------------------------------------------------------------------------------


def test_two_stops_change_nothing(
    whole: Path, tmp_path: Path, cli: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    one = stopped([*DIGITS, "--out", "run"], run, signal.SIGTERM, after=2)
    assert one.returncode == 143, one.stderr
    go_on = "halfseen train --out run --resume"
    assert re.search(rf"Stopped at step \d+ of 40, all is saved\. Go on with: {go_on}\n", one.stdout)
    assert "Traceback" not in one.stderr
    assert not (run / "metrics.json").exists()
    ended = cli("predict", run, tmp_path)
    assert ended.code == 2
    assert "the run has not finished; go on with --resume" in ended.err

    said = Display.at

    def press_ctrl_c(self: Display, step: int, steps: int, stage: str) -> None:
        said(self, step, steps, stage)
        if step == 38:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)  # ignored where the tests were started in the background
    with monkeypatch.context() as patch:
        patch.setattr(Display, "at", press_ctrl_c)
        ended = cli(*go_on.split()[1:], "--quiet")
    assert ended.code == 130
    assert f"Stopped at step 38 of 40, all is saved. Go on with: {go_on}" in ended.out
    assert signal.getsignal(signal.SIGINT) == before
    ended = cli(*go_on.split()[1:])
    assert ended.code == 0
    assert "40 steps from step 38, in run" in ended.err
    assert_same_run(run, whole)


def test_a_kill_costs_no_more_than_save_every(whole: Path, tmp_path: Path, cli: Callable[..., Ended]) -> None:
    run = tmp_path / "run"
    # saved after every step, so that what a kill may cost can be told in steps
    args = [*DIGITS, "--save-every", "1e-9", "--out", "run"]
    killed = stopped(args, run, signal.SIGKILL, after=3)
    assert killed.returncode == -signal.SIGKILL
    logged = max(row["step"] for row in rows(run))
    assert torch.load(run / "checkpoints" / "last.pt", weights_only=True)["total"] >= logged - 1
    with open(run / "log.jsonl", "a") as log:
        log.write('{"step": 39, "stage": "tr')  # as a kill in the middle of a line leaves it
    assert cli("train", "digits", "--out", "run", "--resume").code == 0
    assert_same_run(run, whole)


def test_killed_before_the_first_checkpoint_starts_at_the_beginning(
    whole: Path, tmp_path: Path, cli: Callable[..., Ended]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.json", "environment.json", "split.json", "method.py"):
        shutil.copy(whole / name, run)
    assert cli("train", "--out", "run", "--resume").code == 0
    assert_same_run(run, whole)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--seed", "7"], "was started with --seed 0, not 7"),
        (["--steps", "41"], "was started with --steps 40, not 41"),
        (["--method", "supervised"], "was started with --method fixmatch, not supervised"),
        (["--set", "method.tau=0.5"], "was started with --set"),
    ],
)
def test_resume_refuses_other_settings(more: list[str], said: str, trained: Path, cli: Callable[..., Ended]) -> None:
    (trained / "metrics.json").unlink()
    ended = cli("train", "--out", trained, "--resume", *more)
    assert ended.code == 2
    assert said in ended.err.replace("--overrides", "--set")
    assert not (trained / "metrics.json").exists()


def test_resume_refuses_other_and_changed_data(tmp_path: Path, cli: Callable[..., Ended]) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    y = np.arange(40) % 2
    np.savez("mine.npz", x=x, y=y)
    assert cli("train", "mine.npz", "--labels-per-class", "3", "--steps", "2", *TINY, "--out", "run").code == 0
    (tmp_path / "run" / "metrics.json").unlink()
    ended = cli("train", "digits", "--out", "run", "--resume")
    assert ended.code == 2
    assert "was trained on mine.npz, not digits" in ended.err
    np.savez("mine.npz", x=x[:10], y=y[:10])
    ended = cli("train", "--out", "run", "--resume")
    assert ended.code == 2
    assert "the images or labels of mine.npz have changed" in ended.err


@pytest.mark.parametrize(
    ("save_every", "good"), [("60", "no checkpoint had been saved yet"), ("1e-9", "the last good checkpoint is ")]
)
def test_a_loss_that_is_not_finite_ends_in_words(
    save_every: str, good: str, tmp_path: Path, cli: Callable[..., Ended]
) -> None:
    args = ["--set", "method.optim.lr=1e30", "--save-every", save_every, "--val", "none"]
    ended = cli(*DIGITS, *args, "--out", "run")
    assert ended.code == 1
    assert re.search(r"the loss term L_[su] is not finite since step \d+ of 40", ended.err)
    assert good in ended.err
    assert "try a smaller learning rate" in ended.err
    last = tmp_path / "run" / "checkpoints" / "last.pt"
    assert last.is_file() == (save_every != "60")
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_minutes_become_steps_that_are_written_down(tmp_path: Path, cli: Callable[..., Ended]) -> None:
    ended = cli("train", "digits", "--labels-per-class", "2", "--minutes", "0.02", *TINY, "--out", "run")
    assert ended.code == 0
    match = re.search(r"(\d+) steps fit into 0.02 minutes; the same run again: --steps (\d+)", ended.err)
    assert match is not None
    assert match[1] == match[2]
    steps = int(match[1])
    assert json.loads((tmp_path / "run" / "config.json").read_text())["steps"] == steps
    assert metrics(tmp_path / "run")["steps"] == steps == rows(tmp_path / "run")[-1]["step"]


def test_supervised_trains_where_every_image_is_labelled(cli: Callable[..., Ended]) -> None:
    ended = cli("train", "blobs", "--method", "supervised", "--steps", "30", "--no-report", "--out", "run")
    assert ended.code == 0
    assert "800 labelled, 0 unlabelled" in ended.err
    assert metrics(Path("run"))["headline"]["test"]["accuracy"] > 0.9


# ---- mistakes ------------------------------------------------------------------------------------------------------------

WRONG: list[tuple[str, str]] = [
    ("trian x", "there is no command 'trian'; did you mean 'train'?"),
    ("--hlep", "there is no command '--hlep'"),
    ("train", "say what to train on"),
    ("train digits --metod fixmatch", "train does not know '--metod'; did you mean --method?"),
    ("train digits more", "train does not know 'more'"),
    ("train digits --method fixmach", "did you mean 'fixmatch'?"),
    ("train digits --method gone.py", "there is no file gone.py"),
    ("train digits --net smal", "did you mean 'small'?"),
    ("train digits --net SMALL", "did you mean 'small'?"),
    ("train digits --net gone.py:f", "there is no file gone.py"),
    ("train blobs --net cnn13", "take --net mlp"),
    ("train digits --size 3", "at least 8x8 pixels"),
    ("train digits --method fixmatch --set method.tua=0.9", "method has no setting 'tua'; did you mean 'tau'?"),
    ("train digits --method fixmatch --set method.optim.lrr=1", "did you mean 'lr'?"),
    ("train digits --set tau=0.9", "a key starts with method. or net."),
    ("train digits --method fixmatch --set method.tau", "is not KEY=VALUE"),
    ("train digits --method fixmatch --set method.tau=high", "method.tau is a number, not 'high'"),
    ("train digits --method fixmatch --set method.optim.schedule=cosin", "did you mean 'cos'?"),
    ("train digits --method fixmatch --set method.weak_pass=seperate", "did you mean 'separate'?"),
    ("train digits --set net.dropuot=0.1", "did you mean 'dropout'?"),
    ("train digits --set net.dropout=lots", "net.dropout is a number"),
    ("train digits --weak fmm", "did you mean 'fm'?"),
    ("train blobs --strong ra", "for feature vectors"),
    ("train digit", "did you mean 'digits'?"),
    ("train no/where", "neither a folder, an .npz file nor a known set"),
    ("train void", "holds no training images"),
    ("train torn.npz", "could not be read as an .npz file"),
    ("train digits --steps ten", "--steps cannot be 'ten'"),
    ("train digits --steps", "--steps wants a value"),
    ("train digits --seed x", "--seed cannot be 'x'"),
    ("train digits --steps 0", "--steps must be more than 0"),
    ("train digits --eval-every -1", "--eval-every must not be negative"),
    ("train digits --steps 9 --minutes 1", "--minutes and --steps both say how long to train"),
    ("train digits --num-labels 5", "5 labels are too few for 10 classes"),
    ("train digits --labels-per-class 9999", "fewer than the 9999 asked for"),
    ("train digits --num-labels 20 --labels-per-class 2", "--num-labels and --labels-per-class both"),
    ("train digits --val lots", "--val is auto, none, a share such as 0.2"),
    ("train digits --val-fold 9", "Validation fold 9 of 5 does not exist"),
    ("train digits --precision fp8", "--precision cannot be 'fp8'; it is one of 'auto', 'fp32', 'bf16'"),
    ("train digits --device gpu", "there is no device 'gpu'"),
    ("train digits --out file.txt", "file.txt exists already"),
    ("train digits --out file.txt/run", "cannot be made"),
    ("train digits --resume", "--resume needs --out"),
    ("train --resume --out nowhere", "nowhere is not the folder of a run"),
    ("evaluate", "evaluate wants RUN"),
    ("evaluate nowhere", "nowhere holds no model: name a run folder"),
    ("predict void", "predict wants IMAGES"),
    ("predict nowhere void", "nowhere holds no model"),
    ("predict nowhere void --out file.txt", "file.txt exists already"),
    ("explain", "explain wants METHOD"),
    ("explain mean_techer", "did you mean 'mean_teacher'?"),
    ("list all", "list does not know 'all'"),
    ("bench --fast", "bench does not know '--fast'"),
    ("demo --seeds 1", "demo does not know '--seeds'; did you mean --seed?"),
]


@pytest.mark.parametrize(("line", "said"), WRONG, ids=[line for line, _ in WRONG])
def test_a_mistake_is_one_sentence(line: str, said: str, cli: Callable[..., Ended]) -> None:
    Path("void").mkdir()
    Path("torn.npz").write_bytes(b"PK\x03\x04")
    Path("file.txt").write_text("mine")
    # hidden labels and a short run, so that nothing else is wrong with the line, and it ends soon if nothing is
    more = ["--labels-per-class", "2"] if "labels" not in line and "digits" in line else []
    length = ["--steps", "1"] if line.startswith("train") and not re.search("steps|minutes", line) else []
    small = ["--threads", "1", "--no-report"] if line.startswith("train") and not line.endswith("--steps") else []
    ended = cli(*line.split(), *(more + length + small if not line.endswith("--steps") else []))
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("halfseen: ")
    assert ended.err.count("\n") == 1
    assert said in ended.err
    assert not Path("runs").exists()  # nothing was begun
    assert Path("file.txt").read_text() == "mine"


def test_settings_are_gathered_however_they_are_given(tmp_path: Path, cli: Callable[..., Ended]) -> None:
    settings = ["--set", "method.tau=0.8", "method.optim.lr=0.02", "--steps", "1", "--set", "net.dropout=0.25"]
    assert (
        cli("train", "--method", "fixmatch", *settings, "digits", "--labels-per-class", "2", *TINY, "--out", "run").code
        == 0
    )
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["method"]["tau"], config["method"]["optim.lr"], config["net_options"]) == (
        0.8,
        0.02,
        {"dropout": 0.25},
    )


# ---- help and start-up ---------------------------------------------------------------------------------------------------


def test_help_fits_a_screen_and_names_every_command(cli: Callable[..., Ended]) -> None:
    for args in ([], ["--help"], ["-h"], ["help"]):
        ended = cli(*args)
        assert ended.code == 0
        assert len(ended.out.splitlines()) <= 24
        assert max(map(len, ended.out.splitlines())) <= 120
        for command in COMMANDS:
            assert f"halfseen {command}" in ended.out
    assert cli("--version").out == "halfseen 0.1.0\n"


def test_the_help_names_the_sets_that_can_be_fetched(cli: Callable[..., Ended]) -> None:
    from halfseen.data.published import PUBLISHED

    *most, last = PUBLISHED
    names = f"{', '.join(most)} or {last}"
    assert names in cli("--help").out
    assert names in " ".join(re.sub("[│|]", " ", cli("get", "--help").out).split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, cli: Callable[..., Ended]) -> None:
    ended = cli(command, "--help")
    assert ended.code == 0
    assert f"usage: halfseen {command}" in ended.out
    first = (COMMANDS[command].__doc__ or "").split(".")[0]
    assert first.split("\n")[0][:40] in ended.out


def test_importing_loads_nothing_that_is_not_needed() -> None:
    code = (
        "import sys, halfseen\n"
        "early = [m for m in ('torch', 'numpy', 'rich', 'tyro') if m in sys.modules]\n"
        "import halfseen.cli\n"
        "assert 'torch' not in sys.modules, 'the help waits for torch'\n"
        "import halfseen.commands.train, halfseen.commands.predict, halfseen.commands.explain, halfseen.commands.evaluate\n"
        "late = [m for m in ('matplotlib', 'plotly', 'sklearn', 'ray', 'pandas', 'torchvision', 'timm', 'datasets',\n"
        "                    'mlxtend', 'jinja2', 'onnx', 'onnxruntime', 'onnxscript')]\n"
        "loaded = [[m for m in late if m in sys.modules]]\n"
        "import halfseen.model.onnx\n"
        "loaded += [[m for m in late if m in sys.modules]]\n"
        "import halfseen.estimator\n"  # a class of scikit-learn's, which brings pandas where it is installed
        "loaded += [[m for m in late if m in sys.modules and m not in ('sklearn', 'pandas')]]\n"
        "print(early, *loaded)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=WAIT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[] [] [] []\n"


def test_something_is_said_before_torch_is_loaded() -> None:
    """That takes seconds, and a person should see at once that the command is at work, also through a pipe."""
    code = (
        "import sys\n"
        "from halfseen.cli import main\n"
        "class Stop:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch': raise SystemExit('torch')\n"
        "sys.meta_path.insert(0, Stop())\n"
        "for line in sys.argv[1:]:\n"
        "    try: main(line.split())\n"
        "    except SystemExit as e: print(e, file=sys.stderr)\n"
    )
    lines = ["train digits", "compare digits --methods all --out o", "suggest photos", "predict r p", "list", "doctor"]
    done = subprocess.run(
        [sys.executable, "-c", code, *lines], capture_output=True, text=True, check=False, timeout=WAIT
    )
    assert done.stdout == ""
    wanted = [f"halfseen {line.split()[0]}: loading torch" for line in lines]
    assert done.stderr.splitlines() == [said for line in wanted for said in (line, "torch")]
    silent = [sys.executable, "-c", code, "train digits --quiet"]
    done = subprocess.run(silent, capture_output=True, text=True, check=False, timeout=WAIT)
    assert done.stderr == "torch\n"


def test_a_reader_that_has_gone_is_no_error() -> None:
    process = started(["--help"])
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=WAIT) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
