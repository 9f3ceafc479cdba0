"""The comparison of methods: the same splits and budget for every row, skipping what is finished, and its arithmetic."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from halfseen import methods
from halfseen.cli import main
from halfseen.commands.compare import deviation, fill_table, job, ranks_of, with_interval
from halfseen.data import open_data
from halfseen.errors import UserError
from halfseen.recipes import Row
from halfseen.report.ranks import mean_ranks
from halfseen.run.trial import A_CLASS, some_of, those_that_run
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


def test_all_is_every_method_that_runs_on_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """ComMatch has no stability to test without dropout: it is named with that reason, and nothing failed."""
    names = ["commatch", "fixmatch", "supervised", "temporal_ensembling"]
    monkeypatch.setattr(methods, "names", lambda: names)
    words = ["compare", "blobs", "--methods", "all", "fixmatch:tau=0.5", "--num-labels", "8", "--seeds", "2"]
    words += ["--passes", "3000", "--batch", "8", "--unlabelled-batch", "16", "--threads", "1", "--no-report"]
    main([*words, "--net", "mlp", "--set", "net.dropout=0", "--out", str(tmp_path / "t")])
    results = json.loads((tmp_path / "t" / "results.json").read_text())
    rows = {row["method"]: row for row in results["rows"]}
    assert list(rows) == ["supervised", "fixmatch:tau=0.5", "temporal_ensembling"]
    assert results["left_out"].keys() == {"commatch"}
    assert "dropout" in results["left_out"]["commatch"]
    base, match, te = rows.values()
    assert match["over_fixmatch"] is None
    expected = with_interval([a - b for a, b in zip(te["accuracies"], match["accuracies"], strict=True)])
    assert tuple(te["over_fixmatch"].values()) == pytest.approx(expected)
    assert base["over_fixmatch"]["mean"] == pytest.approx(-match["difference"]["mean"])
    scores = [[row["accuracies"][draw] for row in rows.values()] for draw in (0, 1)]
    assert [row["rank"] for row in rows.values()] == mean_ranks(scores)
    assert base["passes_a_step"] == 3 * 8
    assert match["passes_a_step"] == 3 * 8 + 16 + 3 * 16  # labelled, weak, strong
    assert (base["bytes_an_image"], match["bytes_an_image"]) == (0, 0)
    assert te["bytes_an_image"] == 4 * (4 + 1)  # four classes and a count
    said = capsys.readouterr()
    assert "without commatch" in said.out
    assert "over fixmatch (95%)" in said.out


def test_a_few_images_stand_for_all(tmp_path: Path) -> None:
    """Shown and hidden labels keep their kinds, so that a method sees what it would see."""
    images = open_data("blobs", progress=False)
    given = torch.zeros_like(images.given)
    given[images.y.argsort()[:: len(images.y) // 20]] = True
    few = some_of(dataclasses.replace(images, given=given))
    assert few.given.sum() == given.sum()  # fewer than a dozen of a class
    assert (~few.given).sum() == A_CLASS * images.num_classes
    assert len(few.x) == len(few.y) == len(few.given) < len(images.x)
    assert those_that_run(few, ["fixmatch", "mean_teacher"], Settings(threads=1), lambda name: None) == (
        ["fixmatch", "mean_teacher"],
        {},
    )


def test_ranks_are_of_the_draws_that_all_have() -> None:
    scores = {"a": {0: 0.5, 1: 0.9}, "b": {0: 0.6, 1: 0.8, 2: 0.1}, "c": {}}
    assert ranks_of(scores) == {"a": 1.5, "b": 1.5}
    assert ranks_of({"a": {0: 0.5}}) == {}
    assert ranks_of({"a": {0: 0.5}, "b": {1: 0.5}}) == {}
