"""The scikit-learn front door: scikit-learn's own suite, and every promise of the class's docstring."""

import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.validation import has_fit_parameter

import halfseen
from halfseen import methods
from halfseen.errors import UserError
from halfseen.estimator import in_memory
from halfseen.estimator.read import PixelRange, as_images, read_labels

LITTLE: dict[str, Any] = {
    "steps": 20,
    "batch": 16,
    "unlabelled_batch": 32,
    "threads": 1,
    "random_state": 0,
    "val": None,
}
MLP: dict[str, Any] = {"net_options": {"width": 32, "depth": 2}, "method_options": {"optim.lr": 0.1}}
CNN: dict[str, Any] = {"net_options": {"width": 8}, "steps": 6}


def classifier(method: str = "fixmatch", **changed: Any) -> Any:
    return halfseen.SemiSupervisedClassifier(method, **{**LITTLE, **MLP, **changed})


def blobs(labels: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of three classes, their labels, and the labels of which all but a few of each class are hidden."""
    X, truth = make_blobs(120, random_state=0)
    return X, truth, hidden(truth, labels)


def hidden(truth: np.ndarray, labels: int, seed: int = 0) -> np.ndarray:
    rng, y = np.random.RandomState(seed), np.full_like(truth, -1)
    for k in np.unique(truth):
        rows = rng.permutation(np.flatnonzero(truth == k))[:labels]
        y[rows] = k
    return y


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Sixty images [n, 8, 8] of two classes, floats from 0 to 16."""
    X, y = load_digits(n_class=2, return_X_y=True)
    return X[:60].reshape(-1, 8, 8), y[:60]


# ---- scikit-learn's own suite --------------------------------------------------------------------------------------------

EXPECTED = {
    "check_classifiers_classes": "its last part fits the classes -1 and 1, and -1 means unlabelled; scikit-learn leaves "
    "that part out for its own semi-supervised classifiers, by their names",
}


@estimator_checks.parametrize_with_checks([classifier()], expected_failed_checks=lambda _: EXPECTED)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_the_expected_failure_passes_as_scikit_learns_own_semi_supervised_classifiers_take_it() -> None:
    estimator_checks.check_classifiers_classes("LabelSpreading", classifier())


def test_names_of_columns() -> None:
    pytest.importorskip("pandas")
    estimator_checks.check_dataframe_column_names_consistency("SemiSupervisedClassifier", classifier(steps=2))


def test_weights_of_rows_are_not_accepted() -> None:
    assert not has_fit_parameter(classifier(), "sample_weight")


# ---- images --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (10, 8)])
def test_images_of_each_shape(shape: tuple[int, ...]) -> None:
    rng = np.random.RandomState(0)
    X = rng.randint(0, 256, size=(20, *shape), dtype=np.uint8)
    y = np.arange(20) % 3 - 1
    model = classifier(**CNN, method_options=None).fit(X, y)
    P = model.predict_proba(X[:5])
    assert P.shape == (5, 2)
    np.testing.assert_allclose(P.sum(1), 1)
    assert (model.image_shape_, model.n_features_in_) == (shape, np.prod(shape))
    assert set(model.predict(X)) <= {0, 1}
    with pytest.raises(ValueError, match="give those"):
        model.predict(X[:, :-1])


def test_flattened_images_are_images() -> None:
    X, y = digits()
    whole = classifier(**CNN).fit(X, y)
    flat = classifier(**CNN, image_shape=(8, 8)).fit(X.reshape(-1, 64), y)
    assert (flat.image_shape_, flat.n_features_in_) == ((8, 8), 64)
    np.testing.assert_array_equal(whole.predict_proba(X), flat.predict_proba(X.reshape(-1, 64)))
    np.testing.assert_array_equal(whole.predict_proba(X), whole.predict_proba(X.reshape(-1, 64)))
    for wrong in ((8, 9), (8,), "8x8", (0, 64)):
        with pytest.raises(ValueError, match=r"image_shape is|the images are"):
            classifier(**CNN, image_shape=wrong).fit(X.reshape(-1, 64), y)


def test_vectors_and_images_are_not_mixed_up() -> None:
    X, y = digits()
    model = classifier(steps=2).fit(X.reshape(-1, 64), y)
    assert model.image_shape_ is None
    with pytest.raises(ValueError, match="vectors of 64"):
        model.predict(X)


def test_the_scale_of_pixels() -> None:
    greys = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    same = {
        "bytes": greys,
        "floats to 1": greys / 255,
        "floats to 16": greys / 255 * 16,
        "whole numbers": greys.astype(np.int64),
        "standardised": (greys - greys.mean()) / greys.std(),
        "16 bits": greys.astype(np.uint16) * 257,
    }
    for name, X in same.items():
        np.testing.assert_array_equal(PixelRange.of(X).as_bytes(X), greys, err_msg=name)
    np.testing.assert_array_equal(PixelRange.of(greys > 99).as_bytes(greys > 99), (greys > 99) * 255)
    half = greys / 510  # the brightest is grey: it stays so, since floats in [0, 1] are taken at their word
    assert PixelRange.of(half).as_bytes(half).max() == 128
    assert PixelRange.of(half, (0, 0.5)).as_bytes(half).max() == 255
    one = np.full((2, 3, 3), 7.0)
    assert PixelRange.of(one).as_bytes(one).max() == 0  # nothing to see, and no division by zero


def test_one_scale_for_fit_and_predict() -> None:
    X, y = digits()
    model = classifier(**CNN).fit(X, y)
    in_bytes = classifier(**CNN).fit(np.rint(X * 255 / 16).astype(np.uint8), y)
    np.testing.assert_array_equal(
        model.predict_proba(X), in_bytes.predict_proba(np.rint(X * 255 / 16).astype(np.uint8))
    )
    dark = X[:1] / 2  # no stretching of its own
    assert not np.allclose(model.predict_proba(dark), model.predict_proba(X[:1]), atol=1e-6)
    for wrong in (X * 15, X / 16, X - 40):
        with pytest.raises(ValueError, match="one scale"):
            model.predict(wrong)
    with pytest.raises(ValueError, match="black, white"):
        classifier(**CNN, pixel_range=(1, 0)).fit(X, y)
    with pytest.raises(ValueError, match="NaN"):
        model.predict(np.where(X > 15, np.nan, X))


def test_an_image_shape_is_checked_row_by_row() -> None:
    X = np.arange(24.0).reshape(2, 12)
    np.testing.assert_array_equal(as_images(X, (2, 2, 3))[1, 0], [[12, 13, 14], [15, 16, 17]])


# ---- labels --------------------------------------------------------------------------------------------------------------

PANDAS = {"Int64": [1, None, 0, None, 1], "str": ["b", None, "a", None, "b"], "float": [1, None, 0, None, 1]}
SAME = {
    "-1": np.array([1, -1, 0, -1, 1]),
    "floats": np.array([1.0, -1, 0, -1, 1]),
    "NaN": np.array([1.0, np.nan, 0, np.nan, 1]),
    "numbers and None": np.array([1, None, 0, None, 1], dtype=object),
    "a list with None": [1, None, 0, -1, 1],
    "names and the empty one": np.array(["b", "", "a", "", "b"]),
    "names and -1, which numpy makes a text": np.array(["b", -1, "a", "-1", "b"]),
    "names and None": np.array(["b", None, "a", "", "b"], dtype=object),
    "names and NaN in objects": np.array(["b", np.nan, "a", float("nan"), "b"], dtype=object),
    "names and -1 in objects": np.array(["b", -1, "a", "-1", "b"], dtype=object),
    "a list of names with NaN": ["b", np.nan, "a", None, "b"],
}


@pytest.mark.parametrize("notation", SAME)
def test_unlabelled_in_every_notation(notation: str) -> None:
    y = SAME[notation]
    labelled, labels = read_labels(y)
    assert labelled.tolist() == [True, False, True, False, True]
    names = ["b", "a", "b"] if "b" in list(y) else [1, 0, 1]
    assert labels.tolist() == names
    assert labels.dtype.kind in "ifUO"


@pytest.mark.parametrize("kind", PANDAS)
def test_unlabelled_in_a_column_of_a_data_frame(kind: str) -> None:
    pandas = pytest.importorskip("pandas")
    labelled, labels = read_labels(pandas.Series(PANDAS[kind], dtype=kind))
    assert labelled.tolist() == [True, False, True, False, True]
    assert labels.tolist() in ([1, 0, 1], ["b", "a", "b"])


def test_names_come_back_as_names() -> None:
    X, truth, y = blobs()
    names = np.array(["amber", "beech", "cedar"])
    given = np.where(y == -1, None, names[truth])
    model = classifier().fit(X, given)
    assert model.classes_.tolist() == names.tolist()
    assert (model.predict(X) == names[truth]).mean() > 0.8
    numbered = classifier().fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), numbered.predict_proba(X))
    assert numbered.classes_.dtype == y.dtype


@pytest.mark.parametrize(
    ("y", "said"),
    [
        ([1, -1, 1, -1], r"only one class, 1 \(-1 means unlabelled"),
        ([True, True, True, True], "only one class"),
        ([-1, -1, -1, -1], "no labelled row"),
        ([None, None, "", np.nan], "no labelled row"),
        ([-2, -1, 0, 1], "-2 beside -1"),
        ([0, 1, 0.5, 1], "continuous"),
        ([0, 1, np.inf, 1], "infinite"),
        (np.array(["a", "b", np.nan, "a"]), "'nan'"),
        (["a", 1, "a", 1], "mixes names and numbers"),
        ([[0, 1], [1, 0], [0, 1], [1, 0]], "1d array"),
        ([0, 1, 0], "inconsistent numbers of samples"),
        (None, "requires y"),
        (np.array([0, 1, 0, 1], dtype="datetime64[D]"), "datetime64"),
    ],
)
def test_labels_that_are_none(y: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        classifier().fit(np.arange(8.0).reshape(4, 2), y)


# ---- with every method: all labelled, pickle -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", methods.names())
def test_every_method_takes_fully_labelled_rows_and_survives_pickle(method: str) -> None:
    X, truth, _ = blobs()
    model = classifier(method, steps=6, method_options=None).fit(X, truth)
    P = model.predict_proba(X)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(P, again.predict_proba(X))
    shares = np.concatenate([model.predict_proba(row) for row in np.split(X, 40)])
    np.testing.assert_allclose(P, shares, atol=1e-12)  # a row's answer does not depend on its neighbours


def test_labelled_rows_serve_as_unlabelled_ones_only_where_there_are_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    X, truth, y = blobs()
    splits = []
    was = in_memory.rows_as_given
    monkeypatch.setattr(in_memory, "rows_as_given", lambda *given: splits.append(was(*given)) or splits[-1])
    for labels in (truth, y):
        classifier("pseudo_label", steps=2, val=3).fit(X, labels)
    full, some = splits
    assert set(full.unlabelled.tolist()) == set(full.labelled.tolist())
    assert len(full.val) == 9
    assert not set(full.val.tolist()) & set(full.unlabelled.tolist())
    assert not set(some.unlabelled.tolist()) & set(some.labelled.tolist())
    assert (y[some.unlabelled] == -1).all()


def test_a_pickle_is_used_by_another_process(tmp_path: Path) -> None:
    """From another place, with a network from a user's own file."""
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Line(nn.Module):\n"
        "    def __init__(self, *, classes, shape):\n"
        "        super().__init__()\n"
        "        self.num_features = shape[0]\n"
        "        self.head = nn.Linear(shape[0], classes)\n"
        "    def features(self, x): return x\n"
        "    def forward(self, x): return self.head(x)\n"
    )
    X, _, y = blobs()
    model = classifier(net=f"{tmp_path}/mine.py:Line", net_options=None).fit(X, y)
    (tmp_path / "model.pickle").write_bytes(pickle.dumps((model, X)))
    code = (
        "import pickle, sys, numpy\n"
        "model, X = pickle.load(open(sys.argv[1], 'rb'))\n"
        "numpy.save(sys.argv[2], model.predict_proba(X))\n"
    )
    there = tmp_path / "elsewhere"
    there.mkdir()
    command = [sys.executable, "-c", code, str(tmp_path / "model.pickle"), str(tmp_path / "P.npy")]
    subprocess.run(command, check=True, cwd=there, timeout=120)
    np.testing.assert_array_equal(np.load(tmp_path / "P.npy"), model.predict_proba(X))


# ---- scikit-learn's tools ------------------------------------------------------------------------------------------------


def test_clone_keeps_every_parameter() -> None:
    model = classifier(
        val=0.2, flip=True, pixel_range=(0, 16), image_shape=(8, 8), out="runs/x", net_options={"width": 9}
    )
    assert clone(model).get_params() == model.get_params()
    assert model.get_params()["net_options"] == {"width": 9}


def test_in_a_pipeline() -> None:
    X, truth, y = blobs()
    pipeline = make_pipeline(StandardScaler(), classifier()).fit(X * [1, 1000], y)
    assert pipeline.score(X * [1, 1000], truth) > 0.8
    assert pipeline[-1].n_features_in_ == 2


def test_grid_search_over_a_method_and_its_setting() -> None:
    """Its scores are those of the labelled rows of each fold: with nine of ten rows unlabelled they can still be 1."""
    X, truth, y = blobs(labels=8)
    grid = {
        "method": ["supervised", "pseudo_label"],
        "method_options": [{"optim.lr": 0.0}, {"optim.lr": np.float64(0.1)}],
    }
    search = GridSearchCV(classifier(), grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_["method_options"] == {"optim.lr": 0.1}
    assert search.best_score_ > 0.8
    assert search.best_estimator_.score(X, truth) > 0.8


def test_score_is_that_of_the_labelled_rows() -> None:
    X, truth, y = blobs()
    model = classifier().fit(X, y)
    right = model.predict(X) == truth
    assert model.score(X, y) == right[y >= 0].mean()
    assert model.score(X, truth) == right.mean()
    with pytest.raises(ValueError, match="no labelled row"):
        model.score(X, np.full(len(X), -1))
    with pytest.raises(ValueError, match="inconsistent"):
        model.score(X, y[:-1])


# ---- the same again, and nothing else changed ----------------------------------------------------------------------------


def test_the_same_random_state_gives_the_same_classifier() -> None:
    X, _, y = blobs()
    P = [classifier(random_state=s).fit(X, y).predict_proba(X) for s in (3, 3, 4)]
    np.testing.assert_array_equal(P[0], P[1])
    assert not np.allclose(P[0], P[2])
    drawn = [classifier(random_state=np.random.RandomState(s)).fit(X, y).predict_proba(X) for s in (5, 5, 6)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.allclose(drawn[0], drawn[2])
    state = np.random.RandomState(5)
    again = classifier(random_state=state)
    first, second = (again.fit(X, y).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, drawn[0])
    assert not np.allclose(first, second)  # the state has moved on, as in all of scikit-learn


def test_the_callers_torch_is_left_as_it_was() -> None:
    X, _, y = blobs()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.manual_seed(7)
        before, of_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
        classifier(threads=1).fit(X, y).predict(X)
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), before)
        np.testing.assert_array_equal(np.random.get_state()[1], of_numpy)
    finally:
        torch.set_num_threads(threads)


def test_nothing_is_printed_and_no_file_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    X, truth, _ = blobs()
    classifier(val=5).fit(X, truth).score(X, truth)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    classifier(verbose=True).fit(X, truth)
    out, err = capfd.readouterr()
    assert out == ""
    assert "fixmatch on mlp, 20 steps" in err
    assert "step 20/20" in err
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_on_demand(tmp_path: Path) -> None:
    """It holds the whole run, and the classifier is the very one that comes without it: the best on what was held out."""
    X, truth, _ = blobs()
    noisy = {"val": 10, "method_options": {"optim.lr": 3.0, "optim.schedule": "constant"}}
    for method in ("fixmatch", "pseudo_label"):
        bare = classifier(method, **noisy).fit(X, truth)
        kept = classifier(method, **noisy, out=tmp_path / method).fit(X, truth)
        np.testing.assert_array_equal(bare.predict_proba(X), kept.predict_proba(X))
        assert bare.best_validation_score_ == kept.best_validation_score_
        assert 0.5 < bare.best_validation_score_ <= 1
        assert bare.n_iter_ == kept.n_iter_ == 20
        assert {"log.jsonl", "metrics.json", "report.html", "model"} <= {f.name for f in (tmp_path / method).iterdir()}
    assert halfseen.load(tmp_path / "fixmatch").classes == ("0", "1", "2")
    with pytest.raises(ValueError, match="every fit needs a new folder"):
        kept.fit(X, truth)
    with pytest.raises(ValueError, match="only as text"):
        classifier(net=factory, out=tmp_path / "more").fit(X, truth)
    shutil.rmtree(tmp_path / "pseudo_label")
    again = pickle.loads(pickle.dumps(kept))
    np.testing.assert_array_equal(again.predict_proba(X), kept.predict_proba(X))


def factory(*, classes: int, shape: tuple[int, ...], width: int = 4) -> Any:
    return halfseen.nets.make_net("mlp", classes=classes, shape=shape, width=width, depth=1)


def test_a_network_of_ones_own() -> None:
    X, truth, y = blobs()
    model = classifier(net=factory, net_options={"width": 16}).fit(X, y)
    assert model.score(X, truth) > 0.8
    assert pickle.loads(pickle.dumps(model)).score(X, truth) == model.score(X, truth)
    assert model.best_validation_score_ is None


# ---- parameters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"method": "fixmach"}, "did you mean 'fixmatch'"),
        ({"method": None}, "method is given by its name"),
        ({"net": 3}, "a net is a name"),
        ({"net": "mpl"}, "did you mean 'mlp'"),
        ({"net": "small", "net_options": None}, "take net mlp"),
        ({"method_options": {"taw": 1}}, "did you mean 'tau'"),
        ({"method_options": "tau=1"}, "is a dict"),
        ({"net_options": {"widht": 9}}, "did you mean 'width'"),
        ({"weak": "vectr"}, "did you mean 'vector'"),
        ({"epochs": 2}, "epochs and steps both say how long"),
        ({"steps": 0}, "steps must be more than 0"),
        ({"steps": 1.5}, "steps is a whole number"),
        ({"threads": True}, "threads is a whole number"),
        ({"steps": None, "minutes": "two"}, "minutes is a number"),
        ({"val": "some"}, "val is auto, none"),
        ({"device": "tpu9"}, "there is no device"),
        ({"method_options": {"optim.lr": 1e30}}, "not finite since step .* smaller learning rate"),
        ({"random_state": "x"}, "cannot be used to seed"),
    ],
)
def test_mistakes_are_said_in_a_sentence(changed: dict[str, Any], said: str) -> None:
    X, _, y = blobs()
    with pytest.raises(ValueError, match=said) as e:
        classifier(**changed).fit(X, y)
    assert "--" not in str(e.value)
    assert isinstance(e.value, UserError) == ("random_state" not in changed)


def test_settings_may_be_named_as_on_the_command_line() -> None:
    X, _, y = blobs()
    one = classifier(method_options={"method.tau": 0.5, "optim.lr": 0.2}).fit(X, y)
    two = classifier(method_options={"tau": "0.5", "method.optim.lr": "0.2"}).fit(X, y)
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))


def test_lengths() -> None:
    X, _, y = blobs()
    assert (
        classifier("vat", steps=None, epochs=0.01, method_options=None).fit(X, y).n_iter_ == 4
    )  # of 400 steps an epoch
    assert classifier(steps=None, minutes=0.004).fit(X, y).n_iter_ >= 1
    assert halfseen.SemiSupervisedClassifier()._settings().steps == 1000


def test_ctrl_c_is_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    X, _, y = blobs()
    was, seen = in_memory.Keeper.at, []

    def at(self: Any, step: int, steps: int, stage: str) -> None:
        seen.append(step)
        if step == 3:
            signal.raise_signal(signal.SIGINT)
        was(self, step, steps, stage)

    monkeypatch.setattr(in_memory.Keeper, "at", at)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        classifier().fit(X, y)
    assert seen == [1, 2, 3]
    assert signal.getsignal(signal.SIGINT) is before


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    for name in [name for name in sys.modules if name.startswith("halfseen.estimator")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UserError, match=r"pip install 'scikit-learn>=1\.6'"):
        halfseen.SemiSupervisedClassifier  # noqa: B018


# ---- does it help? -------------------------------------------------------------------------------------------------------


def test_unlabelled_digits_help() -> None:
    """Fifty labelled digits among 1,797, as vectors: the other digits make the same network better by several points."""
    X, truth = load_digits(return_X_y=True)
    y = hidden(truth, labels=5, seed=1)
    settings = {"steps": 200, "batch": 32, "unlabelled_batch": 64, "net_options": {"width": 128, "depth": 2}}
    adam = {"optim.kind": "adam", "optim.lr": 0.002, "optim.weight_decay": 0}
    found = {
        method: classifier(method, **settings, method_options=adam | more).fit(X, y).score(X[y < 0], truth[y < 0])
        for method, more in (("supervised", {}), ("fixmatch", {"tau": 0.8}))
    }
    assert found["supervised"] > 0.75
    assert found["fixmatch"] > found["supervised"] + 0.02
