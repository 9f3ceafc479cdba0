"""Probes as runs: trained, scored, saved, compared, exported like a method."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import halfseen
from halfseen.cli import main
from halfseen.data import open_data
from halfseen.data.bank import Bank
from halfseen.errors import UserError
from halfseen.probes import PROBES
from halfseen.run.fit import Fit
from halfseen.settings import Settings
from tests.run.test_start import folder, photos, toy

__all__ = ["photos", "toy"]  # fixtures


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_leaves_the_folder_of_a_run(name: str, photos: Path, toy: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    main(["train", str(photos), "--method", name, "--labels-per-class", "3", "--backbone", toy, "--out", str(out)])
    for file in ("config.json", "split.json", "environment.json", "metrics.json", "outputs.npz", "report.html"):
        assert (out / file).is_file(), file
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["method"], metrics["steps"]) == (name, 0)
    assert metrics["unlabelled"]["accuracy"] > 0.9
    # told beside what the labels alone give, unless it is that
    assert set(metrics["probes"]) == (set() if name == "probe" else set(PROBES) - {name})
    model, images = halfseen.load(out), open_data(photos, size=48)
    P = model.probabilities(images.x)
    assert float((P.argmax(1) == images.y).float().mean()) > 0.9
    outputs = np.load(out / "outputs.npz")
    np.testing.assert_allclose(P[outputs["unlabelled_ids"]].numpy(), outputs["unlabelled"], atol=2e-2)
    main(["predict", str(out), str(photos), "--out", str(tmp_path / "said.csv")])
    assert len((tmp_path / "said.csv").read_text().splitlines()) == 25
    main(["evaluate", str(out), "--data", str(folder(tmp_path / "other", 60, n=4))])
    again = halfseen.train(photos, out=out, resume=True, quiet=True)
    assert again.metrics == metrics  # finished: nothing is left to do


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_exports_one_graph_from_pixels(name: str, photos: Path, toy: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="pip install halfseen[onnx]")
    halfseen.train(photos, out=tmp_path / "r", method=name, backbone=toy, labels_per_class=3, report=False, quiet=True)
    main(["export", str(tmp_path / "r"), str(tmp_path / "m.onnx")])
    x = open_data(photos, size=48).x[:5]
    one, two = halfseen.load(tmp_path / "r").probabilities(x), halfseen.load(tmp_path / "m.onnx").probabilities(x)
    torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


def test_views_are_made_of_the_labelled_images_only(photos: Path, toy: str, tmp_path: Path) -> None:
    settings = Settings(method="probe", backbone=toy, labels_per_class=3, quiet=True)
    made = Fit(photos, settings, cache=tmp_path)
    bank, labelled = made.rows.bank, made.split.labelled
    assert isinstance(bank, Bank)
    done = {file.stem: int(np.fromfile(file, np.uint8).sum()) for file in tmp_path.glob("bank-*/*.done")}
    assert done == {"clean": 24} | dict.fromkeys(("weak-0", "weak-1", *(f"strong-{i}" for i in range(4))), 6)
    assert made.every_view(labelled).shape == (6, 7, 16)


def test_vectors_need_no_backbone(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = random.normal(size=(90, 8)).astype(np.float32) + 6 * np.eye(3, 8, dtype=np.float32)[y]
    for name in PROBES:
        found = halfseen.train(
            {"x": x, "y": y}, out=tmp_path / name, method=name, labels_per_class=4, report=False, quiet=True
        )
        assert found.metrics["unlabelled"]["accuracy"] > 0.9
        assert (halfseen.load(found.folder).predict(x) == y.astype(str)).mean() > 0.9


def test_compare_takes_probes_beside_methods(photos: Path, toy: str, tmp_path: Path) -> None:
    place = folder(tmp_path / "p", 60)
    (place / "test").mkdir()
    for name in ("cats", "dogs"):
        (place / name).rename(tmp_path / name)
        (tmp_path / name).rename(place / name)
        test = place / "test" / name
        test.mkdir()
        for i in range(6):
            (place / name / f"{i}.png").rename(test / f"{i}.png")
    out = tmp_path / "table"
    words = ["compare", str(place), "--methods", "probe:C=3", "prototype", "--num-labels", "6", "--seeds", "1"]
    main([*words, "--steps", "5", "--batch", "4", "--unlabelled-batch", "6", "--backbone", toy, "--out", str(out)])
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["supervised", "probe:C=3", "prototype"]
    assert all(row["accuracies"][0] > 0.7 for row in rows[1:])
    config = json.loads((out / "probe_C_3-6-0" / "config.json").read_text())
    assert config["method"]["C"] == 3
    splits = [json.loads((out / f"{n}-6-0" / "split.json").read_text()) for n in ("probe_C_3", "supervised")]
    assert splits[0]["labelled"] == splits[1]["labelled"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "probe"}, "the probe probe is for features, and digits holds pictures: take --backbone"),
        ({"method": "probe", "overrides": {"method.c": 3}}, "method has no setting 'c'; did you mean 'C'?"),
        ({"method": "probe", "overrides": {"method.C": 0}}, "C=0: the inverse strength of the penalty is more than 0"),
        ({"method": "graph", "overrides": {"method.alpha": 1}}, "alpha between 0 and 1, 1 excluded"),
        ({"method": "prototype", "overrides": {"method.temperature": -1}}, "what distances are divided by"),
        ({"method": "graph", "overrides": {"net.dropout": 0.1}}, "a probe has no network"),
        ({"method": "prob"}, "there is no method 'prob'; did you mean 'probe'"),
    ],
)
def test_what_a_probe_refuses(given: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        halfseen.train("digits", out=tmp_path / "x", labels_per_class=3, **given)
    assert said in str(caught.value)
    assert not (tmp_path / "x").exists()
