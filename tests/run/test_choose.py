"""--method auto: how it weighs what is expected against the labels that were held out, and that it sees nothing else."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import halfseen
from halfseen.cli import main
from halfseen.commands.compare import compare
from halfseen.data import choose_split, open_data
from halfseen.errors import UserError
from halfseen.run import choose
from halfseen.settings import AUTO, Settings
from tests.run.test_start import folder, photos, toy

__all__ = ["photos", "toy"]  # fixtures


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "FOLD_STEPS", 5)


def test_the_counts_are_of_what_one_of_the_two_had_right() -> None:
    right, probe = np.array([1, 1, 1, 0, 0, 0], bool), np.array([1, 0, 0, 1, 0, 0], bool)
    assert choose.counted(right, probe) == (2, 1, 6)


def test_the_gain_is_the_mean_of_two_estimates_by_their_certainty() -> None:
    found = choose.weighed("fixmatch", 0.05, ((6, 2, 40), (3, 5, 40)))  # the labels were folded twice
    d, e, s = (4 / 40 - 2 / 40) / 2, 3 / 40, choose.SPREAD
    assert (found.measured, found.error) == pytest.approx((d, e))
    assert found.gain == pytest.approx((0.05 / s**2 + d / e**2) / (1 / s**2 + 1 / e**2))


def test_few_labels_believe_the_tables_and_many_believe_the_folds() -> None:
    assert choose.weighed("fixmatch", 0.05, ((0, 1, 12),)).gain > 0
    assert choose.weighed("fixmatch", 0.05, ((0, 33, 400),)).gain < 0  # as large a share of more labels


def test_what_is_expected_is_what_the_tuning_draws_gave() -> None:
    by_set: dict[str, list[dict[str, Any]]] = {}
    for line in (Path(__file__).parents[2] / "results" / "choices.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert row["draw"] >= 100
        by_set.setdefault(row["set"], []).append(row)
    for method, points in choose.EXPECTED.items():
        edges = [0, 40, 150, 500, 10**9]
        for (size, gain), low, high in zip(points, edges, edges[1:], strict=False):
            sets = [rows for rows in by_set.values() if low <= rows[0]["images_a_class"] < high]
            assert round(np.exp(np.mean([np.log(rows[0]["images_a_class"]) for rows in sets]))) == size
            gains = [np.mean([r["accuracy"][method] - r["accuracy"]["probe"] for r in rows]) for rows in sets]
            assert round(float(np.mean(gains)), 3) == gain


def test_the_page_of_rules_is_made_of_the_tuning_draws() -> None:
    import choices

    place = Path(__file__).parents[2] / "results"
    rows = [json.loads(line) for line in (place / "choices.jsonl").read_text().splitlines()]
    assert (place / "choices.md").read_text() == choices.rules(rows), "make it again: python scripts/choices.py --rules"


@pytest.mark.parametrize("method", choose.EXPECTED)
def test_what_is_expected_hangs_on_the_pool_and_ends_with_the_table(method: str) -> None:
    points = choose.EXPECTED[method]

    def at(n: int) -> float:
        images = open_data({"x": np.zeros((2 * n + 2, 3), np.float32), "y": np.arange(2 * n + 2) % 2})
        split = choose_split(images.y, images.given, labels_per_class=1, val="none", classes=images.classes)
        return choose.expected(method, split, images)

    assert at(1) == pytest.approx(points[0][1])
    assert at(10_000) == pytest.approx(points[-1][1])
    first, second = points[0], points[1]
    between = at(round((first[0] * second[0]) ** 0.5))
    assert between == pytest.approx((first[1] + second[1]) / 2, abs=2e-3)


def test_a_fold_hides_its_labels(photos: Path, toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other labels of the held-out images change nothing that is said of them, and other labels of the rest do."""
    images = open_data(photos, size=48)
    s = Settings(
        method="fixmatch", backbone=toy, labels_per_class=4, steps=5, batch=4, unlabelled_batch=4, quiet=True, threads=1
    )
    split = choose_split(images.y, images.given, labels_per_class=4, val="none", classes=images.classes)
    monkeypatch.setattr(choose, "draw_split", lambda images, method, s: split)
    held, others = split.labelled[[0, 5]], split.labelled[[1, 2, 3, 4, 6, 7]]

    def said(changed: torch.Tensor) -> torch.Tensor:
        y = images.y.clone()
        y[changed] = 1 - y[changed]
        return choose.probabilities(replace(images, y=y), s, held)

    plain = said(held[:0])
    assert torch.equal(plain, said(held))
    assert not torch.equal(plain, said(others))


def test_the_command_writes_down_what_it_chose_and_goes_on_with_it(photos: Path, toy: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [
        "train",
        str(photos),
        "--labels-per-class",
        "4",
        "--threads",
        "1",
        "--backbone",
        toy,
        "--steps",
        "10",
        "--batch",
        "4",
    ]
    main([*words, "--unlabelled-batch", "8", "--out", str(out), "--no-report"])
    config = json.loads((out / "config.json").read_text())
    choice = config["choice"]
    assert choice["asked"]["method"] == AUTO
    assert config["settings"]["method"] == choice["method"]
    assert [c["method"] for c in choice["between"]] == list(choose.EXPECTED)
    metrics = json.loads((out / "metrics.json").read_text())
    again = halfseen.train(photos, out=out, resume=True, quiet=True, report=False)
    assert again.metrics == metrics


def test_compare_knows_its_own_run_again(toy: str, tmp_path: Path) -> None:
    photos = folder(tmp_path / "photos", 60)
    folder(photos / "test", 60, n=4)
    common = Settings(
        steps=6, batch=4, unlabelled_batch=8, backbone=toy, val="none", report=False, quiet=True, threads=1
    )
    # a label a class leaves none to hold out, so that a process of its own trains no folds of full length
    asked: tuple[Any, ...] = (str(photos), ["auto"], [2], 1, common, tmp_path / "t")
    first = compare(*asked)
    assert {row["method"] for row in first["rows"]} == {"supervised", "auto"}
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "t").glob("*/metrics.json")}
    assert len(before) == 2
    compare(*asked)
    assert before == {file: file.stat().st_mtime_ns for file in before}


def test_from_scratch_it_is_the_default(tmp_path: Path) -> None:
    made = halfseen.train("digits", num_labels=20, steps=2, out=tmp_path / "r", quiet=True, report=False)
    config = json.loads((made.folder / "config.json").read_text())
    assert (config["settings"]["method"], config["choice"]["between"]) == (choose.DEFAULT, [])


def test_bad_input(photos: Path, toy: str) -> None:
    with pytest.raises(UserError, match=r"method\.tau is a setting of one method; name it"):
        choose.choose(photos, Settings(backbone=toy, overrides=("method.tau=0.9",)))


def test_one_label_a_class_leaves_nothing_to_hold_out(photos: Path, toy: str) -> None:
    settings, choice = choose.choose(photos, Settings(backbone=toy, labels_per_class=1, quiet=True, threads=1))
    assert all(found["gain"] == found["expected"] for found in choice["between"])
    best = max(choice["between"], key=lambda found: found["gain"])
    assert settings.method == (best["method"] if best["gain"] > 0 else "probe")


def test_test_images_choose_nothing(toy: str) -> None:
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (30, 48, 48, 3), dtype=np.uint8)
    s = Settings(backbone=toy, labels_per_class=3, batch=4, unlabelled_batch=8, quiet=True, threads=1)
    found = []
    for seed in (1, 2):
        other = np.random.default_rng(seed)
        test = {"test_x": other.integers(0, 256, (8, 48, 48, 3), dtype=np.uint8), "test_y": other.permutation(8) % 2}
        torch.manual_seed(seed)
        found.append(choose.choose({"x": x, "y": np.arange(30) % 2, **test}, s)[1]["between"])
    assert found[0] == found[1]
