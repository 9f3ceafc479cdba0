"""`halfseen suggest`: of a folder before any label, of a run after it, into a table or Label Studio's JSON, and back."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from halfseen.cli import main
from halfseen.data import open_data
from halfseen.data.tables import read_labels
from halfseen.errors import UserError
from halfseen.suggest.choose import best, doubt, suggestions
from halfseen.suggest.look import Look
from halfseen.suggest.pool import open_pool
from halfseen.suggest.sheets import read_sheet, write_sheet
from halfseen.suggest.strategies import TWIN, Seen, chosen, divergence
from tests.labelling.photos import painted, toy
from tests.shell import alone

__all__ = ["alone"]  # a fixture: every test has a working folder of its own


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return toy(tmp_path_factory.mktemp("backbone"))


def labelled(folder: Path, truth: dict[str, str], paths: list[str]) -> None:
    rows = "".join(f"{path},{truth[path]}\n" for path in paths)
    (folder / "labels.csv").write_text("path,label\n" + rows)


def train(folder: Path, out: Path, method: str, *more: str) -> Path:
    words = ["train", str(folder), "--method", method, "--steps", "20", "--batch", "6", "--unlabelled-batch", "12"]
    main([*words, "--no-report", "--quiet", "--out", str(out), *more])
    return out


def rows(file: Path) -> list[dict[str, str]]:
    with file.open() as f:
        return list(csv.DictReader(f))


# ---- before any label ----------------------------------------------------------------------------------------------------


def test_a_folder_without_a_label(backbone: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = painted(tmp_path / "p")
    main(["suggest", str(tmp_path / "p"), "--num", "9", "--out", "to_label.csv", "--backbone", backbone])
    found = rows(Path("to_label.csv"))
    assert [row["label"] for row in found] == [""] * 9
    assert {truth[row["path"]] for row in found} == {"red", "green", "blue"}
    assert {row["why"] for row in found} == {"typical of pictures like it"}
    said = capsys.readouterr().out
    assert "9 of 60 pictures without a label (0 have one)" in said
    assert f"halfseen label {tmp_path / 'p'} --take to_label.csv" in said


def test_filled_in_it_is_what_train_reads(backbone: str, tmp_path: Path) -> None:
    truth = painted(tmp_path / "p")
    main(["suggest", str(tmp_path / "p"), "--num", "9", "--backbone", backbone])
    text = Path("to_label.csv").read_text().splitlines()
    filled = [text[0], *(line.replace(",,", f",{truth[line.split(',')[0]]},", 1) for line in text[1:])]
    (tmp_path / "p" / "labels.csv").write_text("\n".join(filled))
    images = open_data(tmp_path / "p")
    assert int(images.given.sum()) == 9
    assert {p: images.classes[k] for p, k in zip(images.paths or (), images.y.tolist(), strict=True) if k >= 0} == {
        line.split(",")[0]: truth[line.split(",")[0]] for line in text[1:]
    }


def test_what_has_a_label_is_not_suggested_and_covers_what_is_like_it(backbone: str, tmp_path: Path) -> None:
    truth = painted(tmp_path / "p")
    reds = [path for path, name in truth.items() if name == "red"][:6]
    labelled(tmp_path / "p", truth, reds)
    found = suggestions(open_pool(tmp_path / "p", Look(backbone)), 2)
    assert "red" not in {truth[s.path] for s in found}


def test_what_is_of_no_class_is_not_suggested_and_covers_what_is_like_it(backbone: str, tmp_path: Path) -> None:
    truth = painted(tmp_path / "p")
    reds, greens = ([path for path, name in truth.items() if name == colour][:6] for colour in ("red", "green"))
    lines = [f"{path},," + "none of these" for path in reds] + [f"{path},green," for path in greens]
    (tmp_path / "p" / "labels.csv").write_text("path,label,halfseen\n" + "\n".join(lines))
    pool = open_pool(tmp_path / "p", Look(backbone))
    assert len(pool.labelled) == 6
    assert {truth[s.path] for s in suggestions(pool, 2)} == {"blue"}
    assert not set(reds) & {s.path for s in suggestions(pool, 40)}


def test_albums_and_classes(backbone: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    painted(tmp_path / "p" / "2019", 9)
    painted(tmp_path / "p" / "2020", 6, seed=1)
    with pytest.raises(UserError, match=r"every picture .* has its label"):
        suggestions(open_pool(tmp_path / "p", Look(backbone)), 2)
    assert len(suggestions(open_pool(tmp_path / "p", Look(backbone, albums=True)), None)) == 15
    painted(tmp_path / "p", 3, seed=2)  # beside the class folders, without a class
    main(["suggest", str(tmp_path / "p"), "--num", "2", "--backbone", backbone])
    assert "taken for classes; where they are none, add --albums" in capsys.readouterr().out


# ---- after a run ---------------------------------------------------------------------------------------------------------


def test_a_run_on_a_backbone(backbone: str, tmp_path: Path) -> None:
    truth = painted(tmp_path / "p")
    labelled(tmp_path / "p", truth, list(truth)[:12])
    run = train(tmp_path / "p", tmp_path / "run", "fixmatch", "--backbone", backbone)
    pool = open_pool(run, Look())
    assert pool.p is not None
    assert pool.committee is None  # an average and its network have one opinion
    outputs = np.load(run / "outputs.npz")
    np.testing.assert_allclose(pool.p[outputs["unlabelled_ids"]], outputs["unlabelled"].astype(np.float32), atol=2e-3)
    found = suggestions(pool, 5)
    assert len({s.path for s in found} - set(list(truth)[:12])) == 5
    p = dict(zip(pool.paths, pool.p, strict=True))
    assert all(s.guess == pool.says[int(p[s.path].argmax())] for s in found)
    assert all(s.confidence == pytest.approx(p[s.path].max(), abs=1e-3) for s in found)
    labelled(tmp_path / "p", truth, list(truth)[:40])  # labelled since
    again = suggestions(open_pool(run, Look()), None)
    assert {s.path for s in again} == set(list(truth)[40:])


def test_an_adjusted_run_says_what_its_model_says(backbone: str, tmp_path: Path) -> None:
    truth = painted(tmp_path / "p", 40)
    labelled(tmp_path / "p", truth, [*list(truth)[:9], *(path for path in truth if truth[path] == "red")][:18])
    run = train(tmp_path / "p", tmp_path / "run", "fixmatch", "--backbone", backbone, "--logit-adjust", "1")
    pool, outputs = open_pool(run, Look()), np.load(run / "outputs.npz")
    assert pool.p is not None
    np.testing.assert_allclose(pool.p[outputs["unlabelled_ids"]], outputs["unlabelled"].astype(np.float32), atol=2e-3)


@pytest.mark.parametrize("start", ["none", "backbone"])
def test_networks_that_disagree(start: str, backbone: str, tmp_path: Path) -> None:
    truth = painted(tmp_path / "p", 30)
    labelled(tmp_path / "p", truth, list(truth)[:9])
    run = train(tmp_path / "p", tmp_path / "run", "dnll", "--backbone", backbone if start == "backbone" else "none")
    pool = open_pool(run, Look())
    assert pool.p is not None
    assert pool.committee is not None
    assert pool.committee.shape == (2, 30, 3)
    if start == "none":
        assert pool.x.shape[1] > 3  # what the last layer is given, not the probabilities
    else:
        np.testing.assert_allclose(pool.committee[0], pool.p, atol=1e-5)  # the headline is the first network
    assert not np.allclose(pool.committee[0], pool.committee[1])
    main(["suggest", str(run), "--num", "4", "--strategy", "disagreement", "--out", "d.csv"])
    most = np.argsort(-divergence(pool.committee))
    new = (pool.x @ pool.x[pool.labelled].T).max(1) <= TWIN
    free = [pool.paths[i] for i in most if new[i]] or [pool.paths[i] for i in most if not pool.labels[i]]
    assert rows(Path("d.csv"))[0]["path"] == free[0]


def test_auto_asks_for_both_unsure_and_disagreeing() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(50, 5))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    p = np.full((50, 2), [0.99, 0.01])
    committee = np.stack([p, p])
    p[:20] = [0.55, 0.45]
    committee[:, :10] = [[[0.99, 0.01]], [[0.01, 0.99]]]  # of the unsure, those on which they also disagree
    found = best(Seen(x, np.arange(40, 50), p, committee), 3)
    assert set(found.tolist()) <= set(range(20))
    few = Seen(x, np.arange(41, 50), p, committee)  # what it is unsure of is not asked for yet
    assert best(few, 3).tolist() == chosen("typical", few, 3).tolist()
    score = doubt(p, committee)
    assert score[:10].min() > score[10:20].min() > score[20:].max()
    np.testing.assert_allclose(doubt(p, None)[[0, 30]], [0.9, 0.02])
    np.testing.assert_allclose(doubt(np.full((1, 2), 0.5), np.eye(2)[:, None]), [1.0])  # nothing is more doubtful


# ---- Label Studio --------------------------------------------------------------------------------------------------------


def test_label_studio_out(backbone: str, tmp_path: Path) -> None:
    truth = painted(tmp_path / "p")
    labelled(tmp_path / "p", truth, list(truth)[:12])
    run = train(tmp_path / "p", tmp_path / "run", "supervised", "--backbone", backbone)
    main(["suggest", str(run), "--num", "3", "--out", "tasks.json"])
    tasks = json.loads(Path("tasks.json").read_text())
    assert len(tasks) == 3
    for task in tasks:
        assert task["data"]["image"] == "/data/local-files/?d=" + task["data"]["path"]
        (prediction,) = task["predictions"]
        (result,) = prediction["result"]
        assert (result["from_name"], result["to_name"], result["type"]) == ("choice", "image", "choices")
        assert result["value"]["choices"][0] in {"red", "green", "blue"}


def annotated(path: str, *choices: str, **more: Any) -> dict[str, Any]:
    result = [{"type": "choices", "from_name": "choice", "to_name": "image", "value": {"choices": list(choices)}}]
    return {"data": {"image": path}, "annotations": [{"result": result, **more}]}


def test_label_studio_back(tmp_path: Path) -> None:
    painted(tmp_path / "p", 4)
    (tmp_path / "p" / "in here").mkdir()
    shutil.copy(tmp_path / "p" / "photo-0.png", tmp_path / "p" / "in here" / "ä b.png")
    tasks = [
        annotated("/data/local-files/?d=photo-0.png", "red"),
        annotated("/data/local-files/?d=mnt/p/in%20here/%C3%A4%20b.png", "red"),  # the root of the storage is above
        annotated("/data/upload/3/0a1b2c3d-photo-1.png", "green"),
        annotated("photo-2.png", "blue", was_cancelled=True),
        {"data": {"image": "photo-3.png"}, "annotations": []},
        {"image": "/data/upload/3/0a1b2c3d-photo-2.png", "id": 5, "choice": "blue"},  # JSON-MIN
    ]
    (tmp_path / "e.json").write_text(json.dumps(tasks))
    assert read_sheet(tmp_path / "e.json", tmp_path / "p") == {
        "photo-0.png": "red",
        "in here/ä b.png": "red",
        "photo-1.png": "green",
        "photo-2.png": "blue",
    }


def test_out_and_back_again(tmp_path: Path, backbone: str) -> None:
    truth = painted(tmp_path / "p")
    found = suggestions(open_pool(tmp_path / "p", Look(backbone)), 5)
    write_sheet(tmp_path / "t.json", found)
    tasks = json.loads((tmp_path / "t.json").read_text())
    for task in tasks:
        task["annotations"] = annotated("", truth[task["data"]["path"]])["annotations"]
    (tmp_path / "t.json").write_text(json.dumps(tasks))
    main(["label", str(tmp_path / "p"), "--take", str(tmp_path / "t.json")])
    assert read_labels(tmp_path / "p" / "labels.csv") == {s.path: truth[s.path] for s in found}


# ---- mistakes ------------------------------------------------------------------------------------------------------------


def test_mistakes_of_suggest(backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    painted(tmp_path / "p", 6)
    photos = str(tmp_path / "p")
    (tmp_path / "there.csv").write_text("")
    cases = [
        ([photos, "--out", "there.csv"], "there.csv exists, and somebody may have filled it in"),
        ([photos, "--out", "x.txt"], "name a .csv file, in the form of labels.csv, or a .json file"),
        ([photos + "s"], "there is no folder .*: name a folder of pictures, or of a run"),
        ([photos, "--num", "0", "--backbone", backbone], "--num 0: ask for 1 to 500 pictures"),
        ([photos, "--strategy", "margn", "--backbone", backbone], "did you mean 'margin'"),
        ([photos, "--strategy", "margin", "--backbone", backbone], "asks what a model says"),
    ]
    for words, said in cases:
        with pytest.raises(SystemExit):
            main(["suggest", *words])
        monkeypatch.setattr("halfseen.cli.guarded", lambda work: work())
        with pytest.raises(UserError, match=said):
            main(["suggest", *words])
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HALFSEEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("halfseen.suggest.pool.best_installed", lambda: ("none", "none is installed: run pip"))
    with pytest.raises(UserError, match="by what a backbone makes of them, and none is installed: run pip"):
        open_pool(tmp_path / "p", Look())


def test_mistakes_of_a_run(backbone: str, tmp_path: Path) -> None:
    truth = painted(tmp_path / "p")
    labelled(tmp_path / "p", truth, list(truth)[:12])
    run = train(tmp_path / "p", tmp_path / "run", "fixmatch", "--backbone", backbone)
    with pytest.raises(UserError, match="has looked at its pictures in its own way: leave out --backbone"):
        open_pool(run, Look(size=32))
    with pytest.raises(UserError, match="between the networks of a run that has two or more"):
        suggestions(open_pool(run, Look()), 3, "disagreement")
    (tmp_path / "p").rename(tmp_path / "q")
    with pytest.raises(UserError, match="is no folder of pictures here"):
        open_pool(run, Look())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON: export the project from Label Studio again"),
        ('{"a": 1}', "is no list of tasks"),
        ('[{"annotations": [{"result": [{"type": "choices"}]}]}]', "task 1: no annotation as Label Studio exports it"),
        (json.dumps([annotated("photo-9.png", "red")]), "task 1: there is no picture 'photo-9.png' in"),
        (json.dumps([annotated("../p/../../etc/passwd", "red")]), "there is no picture"),
        (json.dumps([annotated("photo-0.png", "red", "blue")]), "two labels, blue and red: keep the right one"),
        (json.dumps([annotated("photo-0.png", "red"), annotated("photo-0.png", "blue")]), "task 2: .* two labels"),
        ("[]", "names no picture's label yet"),
    ],
)
def test_exports_that_are_none(text: str, said: str, tmp_path: Path) -> None:
    painted(tmp_path / "p", 3)
    (tmp_path / "e.json").write_text(text)
    with pytest.raises(UserError, match=said):
        read_sheet(tmp_path / "e.json", tmp_path / "p")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    painted(tmp_path / "p", 3)
    with pytest.raises(UserError, match="name a filled-in table, or an export of Label Studio"):
        read_sheet(tmp_path / "e.csv", tmp_path / "p")
    (tmp_path / "e.csv").write_text("path,label\n../toy.png,a\n")
    with pytest.raises(UserError, match="is not inside"):
        read_sheet(tmp_path / "e.csv", tmp_path / "p")
