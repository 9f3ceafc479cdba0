"""The comparison of methods: the same splits and budget for every row, skipping what is finished, and its arithmetic."""

import json
import math
from pathlib import Path

import pytest

from halfseen.cli import main
from halfseen.commands.compare import deviation, fill_table, job, with_interval
from halfseen.errors import UserError
from halfseen.recipes import Row
from halfseen.settings import Settings

WORDS = ["--methods", "fixmatch:tau=0.5", "--num-labels", "8", "--seeds", "2", "--passes", "6000", "--batch", "8"]
WORDS += ["--unlabelled-batch", "16", "--threads", "1", "--parallel", "2", "--no-report", "--set", "net.width=32"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compare") / "out"
    main(["compare", "blobs", *WORDS, "--out", str(out)])
    return out


def test_every_row_has_the_same_splits_and_budget(compared: Path) -> None:
    results = json.loads((compared / "results.json").read_text())
    assert [(r["method"], r["labels"]) for r in results["rows"]] == [("supervised", 8), ("fixmatch:tau=0.5", 8)]
    for seed in (0, 1):
        one, two = (
            json.loads((compared / f"{m}-8-{seed}" / "split.json").read_text())
            for m in ("supervised", "fixmatch_tau_0.5")
        )
        assert one["labelled"] == two["labelled"]
    first, second = (json.loads((compared / f"supervised-8-{s}" / "split.json").read_text()) for s in (0, 1))
    assert first["labelled"] != second["labelled"]
    for row in results["rows"]:
        assert row["passes"] == pytest.approx(6000, rel=0.05)
    config = json.loads((compared / "fixmatch_tau_0.5-8-0" / "config.json").read_text())
    assert config["method"]["tau"] == 0.5
    assert config["net_options"] == {"width": 32}


def test_the_table_is_the_runs(compared: Path) -> None:
    results = json.loads((compared / "results.json").read_text())
    for row, slug in zip(results["rows"], ("supervised", "fixmatch_tau_0.5"), strict=True):
        scores = [
            json.loads((compared / f"{slug}-8-{s}" / "metrics.json").read_text())["headline"]["test"]["accuracy"]
            for s in (0, 1)
        ]
        assert row["accuracies"] == scores
        assert row["mean"] == pytest.approx(sum(scores) / 2)
        assert row["std"] == pytest.approx(abs(scores[0] - scores[1]) / math.sqrt(2))


def test_a_second_time_runs_only_what_is_missing(compared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.stat().st_mtime_ns for p in compared.glob("*/metrics.json")}
    gone = compared / "fixmatch_tau_0.5-8-1" / "metrics.json"
    gone.unlink()
    main(["compare", "blobs", *WORDS, "--out", str(compared)])
    assert "3 of them finished already" in capsys.readouterr().err
    after = {p: p.stat().st_mtime_ns for p in compared.glob("*/metrics.json")}
    assert after.keys() == before.keys()
    assert [p for p in after if after[p] != before[p]] == [gone]


def test_other_settings_in_the_same_folder_are_refused(compared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [w if w != "6000" else "9000" for w in WORDS]
    with pytest.raises(SystemExit) as end:
        main(["compare", "blobs", *words, "--out", str(compared)])
    assert end.value.code == 2
    assert "was run with --passes 6000" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["fixmach", "fixmatch:tao=1", "fixmatch:tau"])
def test_a_wrong_method_or_setting_shows_before_anything_runs(method: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(
            ["compare", "blobs", "--methods", method, "--num-labels", "8", "--steps", "2", "--out", str(tmp_path / "x")]
        )
    assert not (tmp_path / "x").exists()


def test_paired_differences_by_students_t() -> None:
    """Differences 1, 2, 3: mean 2, s = 1, half width t(.975, 2) / sqrt 3 = 4.303 / 1.732."""
    mean, low, high = with_interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2, 2 - 2.4841, 2 + 2.4841), abs=1e-3)
    assert with_interval([0.5]) == (0.5, None, None)
    assert deviation([1.0, 3.0]) == pytest.approx(math.sqrt(2))


def test_a_budget_must_be_given() -> None:
    from halfseen.commands.compare import compare
    from halfseen.settings import Settings

    with pytest.raises(UserError, match="how long"):
        compare("blobs", ["fixmatch"], [8], 1, Settings(), Path("nowhere"))


def test_a_list_in_brackets_is_one_value(tmp_path: Path) -> None:
    row = Row("r2d2:shares=[0.3,0.3,0.3,0.1],alpha=0.2,drops=(1,0.5)")
    made = job("blobs", row, 8, 0, Settings(steps=2), tmp_path, 1)
    assert made.settings.overrides == (
        "method.shares=[0.3,0.3,0.3,0.1]",
        "method.alpha=0.2",
        "method.drops=(1,0.5)",
    )


def test_a_row_may_be_of_some_numbers_of_labels_only(tmp_path: Path) -> None:
    common = Settings(steps=20, batch=8, unlabelled_batch=16, threads=1, report=False, net="mlp", quiet=True)
    rows = [Row("supervised", 1), Row("fixmatch", 2, labels=(12,))]
    found = fill_table("blobs", rows, (8, 12), common, tmp_path)["rows"]
    assert [(r["method"], r["labels"], len(r["accuracies"])) for r in found] == [
        ("supervised", 8, 1),
        ("supervised", 12, 1),
        ("fixmatch", 12, 2),
    ]
