"""Pictures of no class and pictures that are there twice, in a run: found, told, left out, refused at prediction."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import halfseen
from halfseen.cli import main
from halfseen.data import open_data
from halfseen.errors import UserError
from halfseen.report.page import write_run_page
from halfseen.run import choose
from halfseen.run.belongs import told
from halfseen.run.folder import Folder
from tests.run.test_start import folder, toy

__all__ = ["toy"]  # a fixture

GIVEN: dict[str, Any] = {"labels_per_class": 4, "val": None, "report": False, "quiet": True, "threads": 1}
STEPS: dict[str, Any] = {"steps": 4, "batch": 4, "unlabelled_batch": 8}
STRANGERS = 8


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red cats and green dogs, and in the pool pictures that are blue; one test picture is one of the training."""
    place = folder(tmp_path_factory.mktemp("mixed") / "train", 60).parent
    random = np.random.default_rng(1)
    (place / "train" / "unlabelled").mkdir()
    for i in range(STRANGERS):
        x = random.integers(0, 40, (60, 60, 3), dtype=np.uint8)
        x[..., 2] += 200
        Image.fromarray(x).save(place / "train" / "unlabelled" / f"odd{i}.png")
    folder(place / "test", 60, n=3)
    Image.open(place / "train/cats/3.png").save(place / "test/cats/0.png")
    Image.open(place / "train/dogs/5.png").save(place / "train/dogs/copy.png")
    return place


@pytest.fixture(scope="module")
def trained(mixed: Path, toy: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    halfseen.train(mixed, out=out, method="fixmatch", backbone=toy, **GIVEN, **STEPS)
    return out


def metrics_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return found


def strangers_of(images: Any) -> set[int]:
    return {i for i, path in enumerate(images.paths) if "odd" in path}


def test_the_strangers_are_the_strangest(trained: Path, mixed: Path) -> None:
    images, outputs = open_data(mixed, size=48), np.load(trained / "outputs.npz")
    order = np.argsort(-outputs["strange"])
    assert set(outputs["strange_ids"][order[:STRANGERS]].tolist()) == strangers_of(images)
    found = metrics_of(trained)["strangers"]
    assert (found["score"], found["of"], found["pictures"]) == ("distance", "labelled", len(images.y) - 8)
    assert found["beyond"] >= STRANGERS
    assert found["learned_from"] == found["beyond"]


def test_the_model_measures_as_the_run_did(trained: Path, mixed: Path) -> None:
    images, outputs, model = open_data(mixed, size=48), np.load(trained / "outputs.npz"), halfseen.load(trained)
    found = model.strangeness(images.x)
    np.testing.assert_allclose(found[outputs["strange_ids"]], outputs["strange"], atol=2e-3)
    known = model.known(images.x, reject=0.05)
    assert not known[sorted(strangers_of(images))].any()
    logits, far = model.looked(images.x)
    torch.testing.assert_close(logits, model.logits(images.x))
    np.testing.assert_allclose(far.numpy(), found)
    assert model.strangeness(images.x[:0]).shape == (0,)
    with pytest.raises(UserError, match="a share of 2"):
        model.known(images.x[:2], reject=2)


@pytest.mark.parametrize("method", ["fixmatch", "probe", "graph", "auto"])
def test_strangers_are_left_out_of_training_where_that_is_asked(
    method: str, mixed: Path, toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "FOLD_STEPS", 5)
    out, steps = tmp_path / "out", {} if method in ("probe", "graph") else STEPS
    halfseen.train(mixed, out=out, method=method, backbone=toy, leave_out=0.05, **GIVEN, **steps)
    images, split = open_data(mixed, size=48), json.loads((out / "split.json").read_text())
    assert not strangers_of(images) & set(split["unlabelled"])
    found = metrics_of(out)["strangers"]
    assert found["learned_from"] == 0
    assert found["beyond"] >= STRANGERS
    assert found["pictures"] == len(images.y) - len(split["labelled"])  # measured all the same
    assert not any("stranger" in line for line in told(metrics_of(out)))
    write_run_page(Folder(out), images)
    assert (out / "report.html").read_text().count("left out") >= STRANGERS


def test_a_run_that_goes_on_keeps_its_pool(mixed: Path, toy: str, tmp_path: Path) -> None:
    given = GIVEN | STEPS | {"method": "fixmatch", "backbone": toy, "leave_out": 0.05}
    halfseen.train(mixed, out=tmp_path / "out", **given)
    before = (tmp_path / "out" / "split.json").read_bytes()
    (tmp_path / "out" / "metrics.json").unlink()
    halfseen.train(mixed, out=tmp_path / "out", resume=True, quiet=True, threads=1)
    assert (tmp_path / "out" / "split.json").read_bytes() == before


def test_fine_tuning_leaves_out_what_its_head_left_out(mixed: Path, toy: str, tmp_path: Path) -> None:
    code = Path(toy.partition(":")[0]).read_text()
    (tmp_path / "toy.py").write_text(code + "\n    def layers(self):\n        return [self.conv, self.norm]\n")
    given = GIVEN | STEPS | {"method": "fixmatch", "backbone": f"{tmp_path / 'toy.py'}:Toy", "leave_out": 0.05}
    halfseen.train(mixed, out=tmp_path / "out", tune="last", **given)
    head, tuned = (json.loads((tmp_path / name / "split.json").read_text()) for name in ("out-head", "out"))
    assert tuned == head
    assert not strangers_of(open_data(mixed, size=48)) & set(tuned["unlabelled"])
    assert metrics_of(tmp_path / "out")["strangers"]["score"] == "energy"  # its features moved


def test_without_fixed_features_it_is_energy(mixed: Path, tmp_path: Path) -> None:
    given = GIVEN | STEPS | {"backbone": "none", "size": 16, "method": "fixmatch"}
    halfseen.train(mixed, out=tmp_path / "out", **given)
    found = metrics_of(tmp_path / "out")["strangers"]
    assert (found["score"], found["of"]) == ("energy", "unlabelled")
    x, outputs = open_data(mixed, size=16).x, np.load(tmp_path / "out" / "outputs.npz")
    model = halfseen.load(tmp_path / "out")
    np.testing.assert_allclose(model.strangeness(x)[outputs["strange_ids"]], outputs["strange"], atol=1e-4)
    expected = -model.logits(x).logsumexp(1)
    np.testing.assert_allclose(model.strangeness(x), expected.numpy(), atol=1e-5)
    with pytest.raises(UserError, match="--leave-out finds strangers by the features of a frozen backbone"):
        halfseen.train(mixed, out=tmp_path / "no", leave_out=0.05, **given)
    assert not (tmp_path / "no").exists()


def test_what_is_usual_is_asked_of_held_out_images_where_they_are_enough(mixed: Path, tmp_path: Path) -> None:
    images = open_data(mixed / "train", size=16)
    for val, of in (("10", "validation"), ("3", "unlabelled")):
        given = {"backbone": "none", "method": "fixmatch", "val": val, "labels_per_class": 12, "report": False}
        halfseen.train(images, out=tmp_path / of, quiet=True, **STEPS, **given)
        assert metrics_of(tmp_path / of)["strangers"]["of"] == of


def test_where_every_image_has_its_label_nothing_may_be_strange(tmp_path: Path) -> None:
    place = folder(tmp_path / "all", 60, n=4)
    given = {"backbone": "none", "method": "supervised", "val": "none", "report": False, "size": 16}
    halfseen.train(place, out=tmp_path / "out", quiet=True, **STEPS, **given)
    assert "strangers" not in metrics_of(tmp_path / "out")
    with pytest.raises(UserError, match="does not hold what strangeness is measured by"):
        halfseen.load(tmp_path / "out").known(place)


def test_a_probe_of_vectors_measures_the_vectors(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 8)).astype(np.float32) + 4 * np.eye(8, dtype=np.float32)[random.integers(0, 2, 60)]
    y = x[:, 1] > x[:, 0]
    halfseen.train({"x": x, "y": y.astype(np.int64)}, out=tmp_path / "out", method="probe", **GIVEN)
    model, outputs = halfseen.load(tmp_path / "out"), np.load(tmp_path / "out" / "outputs.npz")
    np.testing.assert_allclose(model.strangeness(x)[outputs["strange_ids"]], outputs["strange"], atol=2e-3)
    assert (~model.known(-x, reject=0.05)).all()


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.0, "a share of 0"), (1.5, "a share of 1.5"), (float("nan"), "a share of nan")],
)
def test_a_share_that_is_none_is_refused(share: float, said: str, mixed: Path, toy: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        halfseen.train(mixed, out=tmp_path / "no", method="probe", backbone=toy, leave_out=share, **GIVEN)
    assert not (tmp_path / "no").exists()


def test_a_pool_of_strangers_only_is_refused(mixed: Path, toy: str, tmp_path: Path) -> None:
    place = folder(tmp_path / "few", 60, n=2)
    (place / "unlabelled").symlink_to(mixed / "train" / "unlabelled")
    with pytest.raises(UserError, match=f"leaves none of the {STRANGERS} unlabelled images"):
        halfseen.train(place, method="probe", backbone=toy, leave_out=0.5, val=None, quiet=True, out=tmp_path / "no")


# ---- at prediction -------------------------------------------------------------------------------------------------------


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_predict_says_what_is_known(
    trained: Path, mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", str(trained), str(mixed / "train"), "--out", str(tmp_path / "p.csv")]
    main([*words, "--reject", "0.05", "--all-probabilities"])
    said = capsys.readouterr().out
    found = rows_of(tmp_path / "p.csv")
    assert list(found[0]) == ["path", "label", "confidence", "known", "strangeness", "p(cats)", "p(dogs)"]
    refused = [row for row in found if row["known"] == "no"]
    assert {row["path"] for row in refused} >= {f"unlabelled/odd{i}.png" for i in range(STRANGERS)}
    assert f"; {len(refused)} that may be of no class, by known=no; written to" in said
    assert said.startswith(f"{len(found) - len(refused)} images: ")
    main(
        ["predict", str(trained), str(mixed / "train/unlabelled"), "--out", str(tmp_path / "q.csv"), "--reject", "0.05"]
    )
    assert "no image of a known class; 8 that may be of no class" in capsys.readouterr().out
    plain = ["predict", str(trained), str(mixed / "train"), "--out", str(tmp_path / "r.csv")]
    main(plain)
    assert list(rows_of(tmp_path / "r.csv")[0]) == ["path", "label", "confidence"]


def test_predict_refuses_a_share_that_is_none(trained: Path, mixed: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["predict", str(trained), str(mixed), "--out", str(tmp_path / "p.csv"), "--reject", "1"])
    assert not (tmp_path / "p.csv").exists()


def test_a_model_that_cannot_measure_says_so(trained: Path, mixed: Path) -> None:
    model = halfseen.load(trained)
    model.familiar = None
    with pytest.raises(UserError, match="does not hold what strangeness is measured by: load the folder of its run"):
        model.known(mixed / "train")


def test_a_damaged_score_is_a_damaged_model(trained: Path, tmp_path: Path) -> None:
    import shutil

    place = shutil.copytree(trained, tmp_path / "copy")
    file = place / "model" / "model.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps({**about, "strange": {"score": "colour", "of": "labelled"}}))
    with pytest.raises(UserError, match="is damaged or of another version"):
        halfseen.load(place)


# ---- evaluate ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def with_unknown(mixed: Path, tmp_path: Path) -> Path:
    place = folder(tmp_path / "others", 60, n=4)
    (place / "Birds").symlink_to(mixed / "train" / "unlabelled")
    (place / "Dogs").symlink_to(place / "dogs")
    return place


def test_evaluate_scores_the_known_and_lists_the_rest(
    trained: Path, with_unknown: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["evaluate", str(trained), "--data", str(with_unknown), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["n"] == 8
    rest = found["strangers"]
    assert {name: about["images"] for name, about in rest["classes"].items()} == {"Birds": 8, "Dogs": 4}
    assert (rest["images"], rest["classes"]["Birds"]["auroc"], rest["classes"]["Birds"]["refused"]) == (12, 1.0, 1.0)
    assert rest["classes"]["Dogs"]["auroc"] < 0.9
    main(["evaluate", str(trained), "--data", str(with_unknown)])
    said = capsys.readouterr().out
    assert "8 labelled images of" in said
    assert "Dogs (did you mean dogs?)" in said
    assert "Birds (did you mean" not in said


def test_evaluate_of_an_older_model_lists_without_a_score(
    trained: Path, with_unknown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    place = shutil.copytree(trained, tmp_path / "older")
    file = place / "model" / "model.json"
    about = {k: v for k, v in json.loads(file.read_text()).items() if k != "strange"}
    file.write_text(json.dumps(about))
    from safetensors.torch import load_file, save_file

    weights = load_file(place / "model" / "model.safetensors")
    save_file({k: v for k, v in weights.items() if not k.startswith("strange.")}, place / "model" / "model.safetensors")
    main(["evaluate", str(place), "--data", str(with_unknown)])
    assert "How strange they are is not known" in capsys.readouterr().out


def test_evaluate_of_other_things_altogether(
    trained: Path, mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("lions", "bears"):
        (tmp_path / "zoo").mkdir(exist_ok=True)
        (tmp_path / "zoo" / name).symlink_to(mixed / "train" / "unlabelled")
    with pytest.raises(SystemExit):
        main(["evaluate", str(trained), "--data", str(tmp_path / "zoo")])
    assert "the model knows none of the classes of" in capsys.readouterr().err


# ---- twins ---------------------------------------------------------------------------------------------------------------


def test_twins_are_counted_and_told(trained: Path, mixed: Path) -> None:
    metrics, images = metrics_of(trained), open_data(mixed, size=48)
    assert images.paths is not None
    found = {name: metrics["twins"][name]["pictures"] for name in ("training", "test")}
    assert found["training"] >= 2
    assert found["test"] >= 1
    pairs = {
        tuple(sorted(images.paths[i].split("/")[-1] for i in pair)) for pair in metrics["twins"]["training"]["pairs"]
    }
    assert ("5.png", "copy.png") in pairs
    said = told(metrics)
    assert any("training images have a near-duplicate among them" in line for line in said)
    assert any("so the test score flatters" in line for line in said)


def test_the_page_shows_strangers_and_twins(trained: Path, mixed: Path) -> None:
    text = write_run_page(Folder(trained), open_data(mixed, size=48)).read_text()
    for words in (
        'id="strangest"',
        "Strangest images without a label",
        'id="twins"',
        'id="test-twins"',
        "train/dogs/copy.png",
        "so the test score flatters",
    ):
        assert words in text, words


def test_nothing_to_tell_is_not_told() -> None:
    quiet = {"score": "distance", "of": "labelled", "share": 0.05, "beyond": 9, "learned_from": 9, "pictures": 100}
    none = {"pairs": [], "pictures": 0, "looked": 10}
    assert told({"strangers": quiet, "twins": {"training": none, "test": none}}) == []
    assert told({}) == []
    assert len(told({"strangers": {**quiet, "beyond": 30, "learned_from": 30}})) == 1
