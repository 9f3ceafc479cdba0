"""Labels that are probably wrong: planted ones are found, shown with pictures, and nothing is asked of their own label."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from halfseen.cli import main
from halfseen.errors import UserError
from halfseen.suggest.look import Look
from halfseen.suggest.pool import open_pool
from halfseen.suggest.wrong import held_out, wrong
from tests.labelling.photos import painted
from tests.shell import alone
from tests.suggest.test_suggest import backbone, labelled, train

__all__ = ["alone", "backbone"]  # fixtures

pytest.importorskip("cleanlab", reason="pip install halfseen[clean]")
PLANTED = {"photo-0.png": "blue", "photo-4.png": "red", "photo-17.png": "green"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    truth = painted(tmp_path / "p")
    labelled(tmp_path / "p", truth | PLANTED, list(truth)[:36])
    return tmp_path / "p"


def test_planted_errors_are_the_list(photos: Path, backbone: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["suggest", str(photos), "--wrong", "--out", "wrong.csv", "--backbone", backbone])
    said = capsys.readouterr().out
    assert "wrong.csv: 3 of 36 labels, the most doubtful first; their pictures: wrong.html" in said
    assert f"Correct what is wrong in {photos / 'labels.csv'}" in said
    with Path("wrong.csv").open() as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert {path: row["label"] for path, row in rows.items()} == PLANTED
    assert rows["photo-0.png"]["guess"] == "red"
    assert rows["photo-0.png"]["why"] == "labelled blue"
    page = Path("wrong.html").read_text()
    assert page.count('src="data:image/png;base64,') == 3
    assert "labelled blue<br>looks like red" in page
    assert "<script" not in page


def test_a_number_is_the_head_of_the_same_list(photos: Path, backbone: str) -> None:
    pool = open_pool(photos, Look(backbone))
    all_, two, ten = (wrong(pool, num) for num in (None, 2, 10))
    assert two == all_[:2]
    assert ten[:3] == all_
    assert all(s.why.endswith(", not suspected") for s in ten[3:])


def test_what_is_asked_of_a_picture_does_not_know_its_label(photos: Path, backbone: str) -> None:
    """Its own label may be anything, and what is said of it stays, if the folds do."""
    pool = open_pool(photos, Look(backbone))
    names = sorted(set(pool.labels) - {""})
    y = np.array([names.index(pool.labels[i]) for i in pool.labelled])
    p, asked = held_out(pool.x, pool.labelled, y, 3, 0)
    assert asked.all()
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    truth = [
        names.index({"0": "red", "1": "green", "2": "blue"}[str(int(pool.paths[i][6:-4]) % 3)]) for i in pool.labelled
    ]
    assert (p.argmax(1) == truth).all()  # also where the label is wrong


def test_a_run_on_a_backbone_is_asked_with_its_own(photos: Path, backbone: str, tmp_path: Path) -> None:
    run = train(photos, tmp_path / "run", "probe", "--backbone", backbone)
    main(["suggest", str(run), "--wrong", "--num", "3", "--out", "again.csv"])
    with Path("again.csv").open() as file:
        assert {row["path"] for row in csv.DictReader(file)} == set(PLANTED)


def test_mistakes_are_sentences(photos: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(*words: str) -> str:
        from halfseen.commands.suggest import suggest_wrong

        with pytest.raises(UserError) as e:
            suggest_wrong(Path(words[0]), None, Path(words[1]), 0, Look(backbone))
        return str(e.value)

    Path("there.html").write_text("mine")
    assert "there.html exists; name another file" in said(str(photos), "there.csv")
    assert "is a table and a page" in said(str(photos), "out.json")
    few = tmp_path / "few"
    truth = painted(few, 6)
    labelled(few, truth, list(truth)[:3])
    assert "has 3 labels of 3 classes: to doubt one needs two classes" in said(str(few), "out.csv")
    run = train(photos, tmp_path / "scratch", "supervised", "--backbone", "none")
    assert f"ask a backbone, halfseen suggest {photos} --wrong" in said(str(run), "out.csv")
    with pytest.raises(UserError, match="--num 0: ask for 1 to 500"):
        wrong(open_pool(photos, Look(backbone)), 0)
    with pytest.raises(SystemExit):
        main(["suggest", str(photos), "--wrong", "--strategy", "random"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "run pip install 'halfseen[clean]'" in said(str(photos), "out.csv")
    assert not Path("out.csv").exists()


def test_nothing_suspected_writes_nothing(backbone: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = painted(tmp_path / "p")
    labelled(tmp_path / "p", truth, list(truth)[:36])
    main(["suggest", str(tmp_path / "p"), "--wrong", "--out", "none.csv", "--backbone", backbone])
    assert "None of the 36 labels is suspected to be wrong" in capsys.readouterr().out
    assert not Path("none.csv").exists()
