"""SemiSupervisedClassifier on a backbone: raw images in, pickles that need no other file, features kept where asked."""

import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

import halfseen
from halfseen.data import store
from halfseen.errors import UserError
from tests.run.test_start import BACKBONE

LITTLE: dict[str, Any] = {"steps": 30, "batch": 6, "unlabelled_batch": 12, "random_state": 0, "val": None}


@pytest.fixture
def toy(tmp_path: Path) -> str:
    (tmp_path / "toy.py").write_text(BACKBONE)
    return f"{tmp_path / 'toy.py'}:Toy"


def pictures(side: int = 56, n: int = 24, grey: bool = False) -> tuple[Any, Any, Any]:
    """Two classes, brighter in red or in green; the second y shows three labels of each."""
    random = np.random.default_rng(0)
    truth = np.arange(n) % 2
    X = random.integers(0, 100, (n, side, side, 3), dtype=np.uint8)
    X[np.arange(n), ..., truth] += 120
    X[truth == 1] //= 1 + grey
    y = np.where(np.arange(n) < 6, truth, -1)
    return (X[..., 1] if grey else X), truth, y


def left(place: Path) -> list[str]:
    return sorted(path.name for path in place.rglob("*") if path.is_file())


@pytest.mark.parametrize("method", ["fixmatch", "dnll", "probe", "graph", "prototype"])
def test_images_of_any_size_are_learnt_from_and_asked_about(
    method: str, toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("HALFSEEN_CACHE", str(tmp_path / "cache"))
    X, truth, y = pictures()
    model = halfseen.SemiSupervisedClassifier(method, backbone=toy, **LITTLE)
    before = left(tmp_path)
    model.fit(X, y)
    assert left(tmp_path) == before  # nothing is left on the disk
    assert model.image_shape_ == (56, 56, 3)
    assert model.score(X, truth) > 0.9
    stored = pickle.dumps(model)
    (tmp_path / "toy.py").unlink()  # the pickle holds what it needs
    again = pickle.loads(stored)
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), atol=1e-5)
    np.testing.assert_allclose(again.predict_proba(X[:3]), model.predict_proba(X)[:3], atol=1e-4)


def test_a_clone_fits_the_same(toy: str) -> None:
    X, _, y = pictures()
    model = halfseen.SemiSupervisedClassifier(backbone=toy, **LITTLE)
    other = clone(model)
    assert other.backbone == toy
    assert (other.fit(X, y).predict_proba(X) == model.fit(X, y).predict_proba(X)).all()


def test_features_are_kept_where_memory_says(toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    fill = store.Store.fill
    monkeypatch.setattr(store.Store, "fill", lambda self, *args: (shown.append(args[3]), fill(self, *args)))
    X, truth, _ = pictures()
    model = halfseen.SemiSupervisedClassifier("prototype", backbone=toy, memory=tmp_path / "kept", random_state=0)
    assert cross_val_score(model, X, truth, cv=3).mean() > 0.9
    assert any(path.name.startswith("bank-") for path in (tmp_path / "kept").iterdir())
    model.fit(X, truth)
    many = len(shown)
    model.fit(X, truth)
    assert len(shown) == many  # every row is there already


def test_grey_and_small_images(toy: str) -> None:
    X, truth, y = pictures(side=20, grey=True)
    model = halfseen.SemiSupervisedClassifier("probe", backbone=toy, random_state=0).fit(X, y)
    assert model.score(X, truth) > 0.9
    assert model._trained.facts.shape == (1, 48, 48)  # enlarged to the backbone's own side, which is below 96
    assert model.n_iter_ == 0


def test_with_a_run_folder_and_held_out_rows(toy: str, tmp_path: Path) -> None:
    X, truth, _ = pictures(n=48)
    given = LITTLE | {"val": 3}
    for n, out in enumerate((tmp_path / "run", None)):
        model = halfseen.SemiSupervisedClassifier(backbone=toy, out=out, memory=tmp_path / "kept", **given)
        model.fit(X, truth)
        assert model.best_validation_score_ > 0.9, n
        assert model.score(X, truth) > 0.9
    assert (tmp_path / "run" / "report.html").is_file()
    assert (halfseen.load(tmp_path / "run").predict(X) == truth.astype(str)).mean() > 0.9


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"backbone": 3}, "backbone is given by its name, not as 3"),
        ({"backbone": "lite9"}, "there is no backbone 'lite9'"),
        ({"memory": "x"}, "memory keeps a backbone's features, and there is none"),
        ({"method": "probe"}, "the probe probe is for features"),
    ],
)
def test_what_is_refused(given: dict[str, Any], said: str) -> None:
    X, _, y = pictures()
    with pytest.raises(UserError, match=said):
        halfseen.SemiSupervisedClassifier(**{"method": "fixmatch", **given}).fit(X, y)


def test_vectors_are_no_pictures(toy: str) -> None:
    X, _, y = pictures()
    with pytest.raises(UserError, match="holds vectors, and a backbone looks at pictures"):
        halfseen.SemiSupervisedClassifier(backbone=toy, **LITTLE).fit(X.reshape(24, -1), y)
