"""Recipes: every one is of settings that exist, and `reproduce` runs what was asked for, beside the paper's numbers."""

import json
from pathlib import Path

import pytest

import halfseen.commands.reproduce as home
from halfseen.cli import main
from halfseen.commands.compare import job
from halfseen.commands.reproduce import reproduce, shorter
from halfseen.data import NAMES
from halfseen.recipes import Recipe, Row, recipes
from halfseen.settings import Settings

RECIPES = recipes()
SMALL = Recipe(
    "Blobs, for tests",
    "blobs",
    (
        Row("supervised", 2),
        Row("fixmatch:tau=0.5", 1, "FixMatch", paper={8: 98.7}),
        Row("supervised", 1, "more labels", changes={"num_labels": 16}, data="two-spirals"),
    ),
    Settings(val="none", steps=40, batch=8, unlabelled_batch=16, threads=1),
    (8, 12),
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "recipes", lambda: {"small": SMALL})


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_of_settings_that_exist(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    assert recipe.about
    assert "\n" not in recipe.about
    assert set(recipe.data.split("->")) <= set(NAMES)
    titles = [row.title for row in recipe.rows]
    assert len(set(titles)) == len(titles)
    folders = set()
    for row in recipe.rows:
        assert set(row.paper) <= {n or 0 for n in recipe.labels}
        for n in recipe.labels:
            for seed in range(row.seeds):
                made = job(recipe.data, row, n, seed, recipe.common, tmp_path, 1)  # refuses a wrong method or key
                assert (made.settings.seed, made.settings.split_seed) == (seed, seed)
                lengths = [getattr(made.settings, k) for k in ("epochs", "passes", "steps")]
                assert sum(v is not None for v in lengths) == 1
                folders.add(made.folder)
    assert len(folders) == len(recipe.labels) * sum(row.seeds for row in recipe.rows)


def test_reproduce_runs_its_rows_with_the_papers_numbers_beside_them(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["reproduce", "small", "--out", str(tmp_path / "t"), "--num-labels", "8", "--share", "0.1"])
    results = json.loads((tmp_path / "t" / "results.json").read_text())
    assert [(r["method"], r["labels"], len(r["accuracies"])) for r in results["rows"]] == [
        ("supervised", 8, 2),
        ("FixMatch", 8, 1),
        ("more labels", 8, 1),
    ]
    assert results["note"] == "Blobs, for tests; 0.1 times the recipe's length"
    base, match, _more = results["rows"]
    assert match["steps"] == [4]  # a tenth of 40
    assert (match["paper"], base["paper"]) == (98.7, None)
    assert match["difference"]["mean"] == pytest.approx(match["accuracies"][0] - base["accuracies"][0])  # draw 0 alone
    assert base["difference"] is None
    config = json.loads((tmp_path / "t" / "more_labels-8-0" / "config.json").read_text())
    assert config["data"] == "two-spirals"
    assert config["settings"]["num_labels"] == 16
    said = capsys.readouterr().out
    assert "98.70" in said
    assert "paper" in said
    main(["reproduce", "small", "--out", str(tmp_path / "t"), "--num-labels", "8", "--share", "0.1"])
    assert "4 of them finished already" in capsys.readouterr().err


def test_lengths_shrink_and_nothing_else() -> None:
    assert shorter({"steps": 1000, "batch": 64, "epochs": None}, 0.0001) == {"steps": 1, "batch": 64, "epochs": None}
    assert shorter({"passes": 2e6}, 0.5) == {"passes": 1e6}
    assert shorter({"epochs": 300}, 1) == {"epochs": 300}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["smal"], "did you mean 'small'"),
        (["small", "--rows", "FlexMatch"], "its rows are: supervised, FixMatch"),
        (["small", "--num-labels", "9"], "it has 8, 12"),
        (["small", "--share", "0"], "must be more than 0"),
        (["small", "--draws", "0"], "leaves nothing to run"),
    ],
)
def test_what_a_recipe_has_not_is_refused(
    small: None, words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["reproduce", *words, "--out", str(tmp_path / "t")])
    assert end.value.code == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "t").exists()


def test_from_python(small: None, tmp_path: Path) -> None:
    results = reproduce("small", tmp_path / "t", rows=["supervised"], labels=[12], share=0.05, draws=1)
    assert len(results["rows"][0]["accuracies"]) == 1
    results = reproduce("small", tmp_path / "t", rows=["FixMatch"], labels=[12], share=0.05)
    assert [r["method"] for r in results["rows"]] == ["FixMatch"]
    assert results["rows"][0]["difference"] is None  # its baseline was not asked for
