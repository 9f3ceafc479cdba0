"""Recipes: every one is of settings that exist, and `reproduce` runs what was asked for, beside the paper's numbers."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import halfseen.commands.reproduce as home
from halfseen import methods
from halfseen.cli import main
from halfseen.commands.compare import job
from halfseen.commands.reproduce import in_steps, reproduce, shorter
from halfseen.data import NAMES, choose_split
from halfseen.data.published import PUBLISHED
from halfseen.method import Plan
from halfseen.overrides import below, pairs, with_settings
from halfseen.recipes import Recipe, Row, recipes
from halfseen.settings import Settings
from tests.toy import make_trainer

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


@pytest.mark.parametrize("name", ["dnll/t1", "ccn/t2-mnist"])
def test_the_steps_of_an_epoch_are_said_before_the_images_are_opened(name: str) -> None:
    """Against the split that a run would draw: held-out images belong to neither part."""
    recipe = RECIPES[name]
    known = PUBLISHED[recipe.data]
    y = torch.arange(known.counts[0]) % len(known.classes)
    said = in_steps(recipe.data, recipe.rows, recipe.labels, recipe.common)
    for row in recipe.rows:
        kind = methods.load(row.method.partition(":")[0]).method
        settings = dataclasses.replace(recipe.common, **row.changes)
        lengths = []
        for n in recipe.labels:
            split = choose_split(
                y,
                torch.ones_like(y, dtype=torch.bool),
                num_labels=n,
                val=settings.val_value(),
                extra_val_per_class=settings.extra_val_per_class,
                include_labelled_in_unlabelled=kind.labelled_in_unlabelled,
            )
            plan = Plan(1, len(split.labelled), len(split.unlabelled), kind.batch)
            lengths.append(settings.steps or round((settings.epochs or 0) * plan.epoch_steps(kind.epoch)))
        assert any(f"{row.title} {min(lengths):,}{end}" in said for end in ("", f" to {max(lengths):,}"))
    if name == "dnll/t1":
        assert "mean_teacher 307,200, " in said  # its epoch is 1,024 steps
        assert said.endswith("dnll 96,000 to 102,900")


def settings_of(name: str, tmp_path: Path) -> dict[str, Settings]:
    """Of every row, on its first number of labels."""
    recipe = RECIPES[name]
    return {
        row.title: job(recipe.data, row, recipe.labels[0], 0, recipe.common, tmp_path, 1).settings
        for row in recipe.rows
    }


def test_dnll_tables_as_the_paper_has_them(tmp_path: Path) -> None:
    table = settings_of("dnll/t3", tmp_path)
    assert {s.extra_val_per_class for s in table.values()} == {500}
    assert (table["dnll"].weak, table["dnll"].strong) == ("none", "tx2")

    table = settings_of("dnll/t1", tmp_path)
    silent = {title for title, s in table.items() if "net.input_noise=0" in s.overrides}
    assert silent == {"dnll", "dual_student"}  # whose network has none
    assert table["ccn"].zca
    assert "method.eps=8" in table["ccn"].overrides

    table = settings_of("dnll/t2", tmp_path)
    assert {t for t, s in table.items() if s.strong == "fm+ra"} == {
        "curriculum_labeling",
        "dmt, 16 + 496",
        "dmt, 64 + 448",
    }
    assert all("method.seen=strong" in s.overrides for s in table.values() if s.strong == "fm+ra")

    table = settings_of("dnll/f6", tmp_path)
    assert all("net.input_noise=0" in s.overrides for s in table.values())
    assert len({s.steps for s in table.values()}) == 1
    for title in ("Mean Teacher", "Mean Teacher + DNLL"):
        assert "method.headline=net" in table[title].overrides

    assert any("lambda_ramp" in key for key in settings_of("dnll/f7", tmp_path)["DNLL"].overrides)


def test_rows_of_the_13_layer_network_are_as_their_releases_have_them(tmp_path: Path) -> None:
    """Batches from all images, the labelled sum over all rows, weight norm; the images as each release gives them."""
    tables = {name: settings_of(name, tmp_path) for name in ("dnll/t1", "dnll/t4", "ccn/t2-svhn", "ccn/t4", "r2d2/t8")}
    for table in tables.values():
        for title in ("Pi", "Temporal Ensembling", "Pi + SNTG"):
            if title in table:
                assert "net.norm=wn_mean_only" in table[title].overrides
                said = " ".join(table[title].overrides)
                assert "mixed=true" in said
                assert "ce_norm=batch" in said
    assert tables["dnll/t1"]["Pi"].zca
    assert tables["ccn/t2-svhn"]["Pi"].per_image
    assert (tables["dnll/t4"]["Pi"].weak, tables["dnll/t4"]["Pi"].per_image) == ("none", True)
    assert "method.weight=100" in tables["ccn/t4"]["Temporal Ensembling"].overrides
    assert "method.optim.lr=0.001" in tables["r2d2/t8"]["Temporal Ensembling"].overrides
    rows = {row.title: row for row in RECIPES["dnll/t1"].rows}
    assert (rows["DCT"].labels, rows["DCT"].changes["batch"], rows["DCT"].changes["unlabelled_batch"]) == (
        (4000,),
        8,
        92,
    )
    # 180 epochs of the labelled images and 180 of the pool, in batches of 100
    assert rows["LP"].changes["steps"] == pytest.approx(180 * 4000 / 100 + 180 * 46_000 / 50, rel=0.01)
    rows = {row.title: row for row in RECIPES["r2d2/t6"].rows}
    assert rows["LP"].changes["steps"] == pytest.approx(180 * 10_000 / 128 + 180 * 40_000 / 97, rel=0.02)


def test_two_papers_quote_one_number_differently() -> None:
    """Pi + SNTG with 4,000 labels of CIFAR-10: DNLL's Table 1 has 88.64, CCN's Table 2 (11.00% error) 89.00."""
    found = [
        next(row for row in RECIPES[name].rows if row.title == "Pi + SNTG").paper
        for name in ("dnll/t1", "ccn/t2-cifar10")
    ]
    assert [paper[4000] for paper in found] == [88.64, 89.00]
    assert found[0][1000] == found[1][1000]


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("r2d2/")])
def test_the_stages_of_r2d2_last_as_many_epochs_as_the_papers(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    n, labels = PUBLISHED[recipe.data].counts[0], recipe.labels[0]
    for title, s in settings_of(name, tmp_path).items():
        if s.method == "supervised":
            assert (s.batch, (s.steps or 0) / (labels // 40)) == (40, 300)
        if s.method != "r2d2":
            continue
        entry = methods.load("r2d2")
        config = with_settings(entry.config(), below(pairs(s.overrides), "method"), "method")
        task = make_trainer("r2d2", steps=8).method.task
        plan = Plan(s.steps or 0, labels, n - labels, (s.batch or 0, s.unlabelled_batch or 0))
        found = []
        for stage in entry.method(config, task).stages(plan):
            own = plan if stage.batch is None else dataclasses.replace(plan, batch=stage.batch)
            found.append(stage.steps / own.epoch_steps(stage.epoch))
        assert found == [300, 300 if title == "ablation=a" else 600, 50]


@pytest.mark.parametrize("name", ["mnist-all", "digits-all"])
def test_a_table_of_all_has_every_method_once_with_the_same_budget(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    assert sorted(row.method.partition(":")[0] for row in recipe.rows) == methods.names()
    table = settings_of(name, tmp_path)
    shared = {(s.net, s.weak, s.strong, s.passes, s.val) for s in table.values()}
    assert len(shared) == 1
    assert len({row.seeds for row in recipe.rows}) == 1


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
