"""What only papers have: the numbers are theirs, and `reproduce` prints them below its own rows."""

import json
from pathlib import Path

import pytest

import halfseen.commands.reproduce as home
from halfseen.cli import main
from halfseen.commands.compare import from_papers
from halfseen.recipes import Recipe, Row, recipes
from halfseen.recipes.quoted import TABLES, accuracies, errors
from halfseen.settings import Settings

NO_RECIPE = {"r2d2/t5"}  # ImageNet


def rows_of(name: str) -> dict[str, dict[int, float]]:
    return {q.name: dict(q.accuracy) for q in TABLES[name]}


def test_every_table_is_of_a_recipe_and_its_numbers_of_labels() -> None:
    known = recipes()
    assert set(TABLES) - set(known) == NO_RECIPE
    for name, rows in TABLES.items():
        assert len({q.name for q in rows}) == len(rows)
        for q in rows:
            assert q.source
            assert q.accuracy
            assert all(0 < a < 100 for a in q.accuracy.values())
            assert set(q.std) <= set(q.accuracy)
            if name not in NO_RECIPE:
                assert set(q.accuracy) <= set(known[name].labels)
                assert q.name not in {row.title for row in known[name].rows}


def test_numbers_as_printed() -> None:
    """One of each table, errors turned into accuracies."""
    assert rows_of("dnll/t1")["TSSDL-MT"] == {1000: 81.59, 2000: 86.46, 4000: 90.7}
    assert rows_of("dnll/t1")["TNAR-VAE"] == {4000: 91.15}
    assert rows_of("dnll/t4")["TripleGAN"] == {20: 95.19, 50: 98.44, 100: 99.09}
    assert rows_of("ccn/t2-mnist")["Improved GAN"] == {50: 97.79, 100: 99.07}
    assert rows_of("ccn/t2-svhn")["SPCTN"] == {500: 90.21, 1000: 92.63}
    assert rows_of("ccn/t2-cifar10")["CT-GAN"] == {4000: 90.02}
    assert rows_of("r2d2/t5")["Stochastic Transformations (AlexNet), top 5"] == {128_000: 60.16}
    assert rows_of("r2d2/t6")["100% labels"] == {10_000: 73.58}
    assert rows_of("r2d2/t7")["HybridNet (Shake-Shake)"] == {4000: 93.91}
    assert rows_of("r2d2/t8")["DCT, eight views"] == {1000: 96.71}
    assert rows_of("commatch/t2")["FlexMatch"] == {40: 95.03, 250: 95.02, 4000: 95.81}
    assert rows_of("commatch/t2-cifar100")["Pi"] == {400: 13.04, 2500: 41.2, 10_000: 63.35}
    assert rows_of("commatch/t2-svhn")["UDA"] == {40: 94.88, 250: 98.08, 1000: 98.11}
    spctn = next(q for q in TABLES["ccn/t2-svhn"] if q.name == "SPCTN")
    assert dict(spctn.std) == {500: 1.24, 1000: 0.3}


def test_errors_become_accuracies_and_gaps_stay_gaps() -> None:
    (row,) = errors("a table", (1, 2, 3), {"GAN": (10.5, None, (1.25, 0.5))})
    assert (dict(row.accuracy), dict(row.std)) == ({1: 89.5, 3: 98.75}, {3: 0.5})
    with pytest.raises(ValueError, match="zip"):
        accuracies("a table", (1, 2), {"GAN": (1.0,)})


def test_only_the_numbers_of_labels_that_were_run_are_quoted() -> None:
    rows = accuracies("a table", (8, 12), {"GAN": (90.0, (95.0, 0.1)), "VAE": (None, 80.0)})
    assert [(r["method"], r["labels"]) for r in from_papers(rows, [12])["quoted"]] == [("GAN", 12), ("VAE", 12)]
    assert from_papers(rows, [None]) == {}


def test_they_are_printed_below_the_rows_that_were_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    common = Settings(val="none", steps=4, batch=8, unlabelled_batch=16, threads=1)
    monkeypatch.setattr(
        home, "recipes", lambda: {"small": Recipe("Blobs", "blobs", (Row("supervised", 1),), common, (8,))}
    )
    monkeypatch.setattr(home, "TABLES", {"small": accuracies("An old table", (8,), {"OldGAN": ((91.5, 0.25),)})})
    main(["reproduce", "small", "--out", str(tmp_path / "t")])
    said = capsys.readouterr().out
    assert said.index("supervised") < said.index("OldGAN")
    assert "91.50 ± 0.25" in said
    assert "in grey: An old table" in said
    assert json.loads((tmp_path / "t" / "results.json").read_text())["quoted"][0]["paper"] == 91.5
