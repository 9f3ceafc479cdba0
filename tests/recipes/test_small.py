"""The small tables: rows differ in what their titles say and in nothing else; no row shows a draw that chose settings."""

import dataclasses
from pathlib import Path

import pytest

from halfseen.commands.compare import job
from halfseen.overrides import below, pairs
from halfseen.recipes import recipes
from halfseen.settings import Settings

RECIPES = recipes()
NAMES = ("mnist-ceiling", "commatch/t3-small", "dnll/t5-small", "dnll/t6-small", "cifar10-small")


def rows_of(name: str) -> dict[str, Settings]:
    recipe = RECIPES[name]
    return {
        row.title: job(recipe.data, row, recipe.labels[0], 0, recipe.common, Path("out"), 1).settings
        for row in recipe.rows
    }


def told(settings: Settings, part: str = "method") -> dict[str, str]:
    return below(pairs(settings.overrides), part)


@pytest.mark.parametrize("name", NAMES)
def test_no_draw_of_a_table_chose_its_settings(name: str) -> None:
    assert max(row.seeds for row in RECIPES[name].rows) <= 5  # draws 100 to 108 did


@pytest.mark.parametrize("name", ["commatch/t3-small", "dnll/t5-small", "dnll/t6-small"])
def test_rows_differ_in_a_part_alone(name: str) -> None:
    table = rows_of(name)
    alike = {dataclasses.replace(s, overrides=()) for s in map(hashable, table.values())}
    assert len(alike) == 1
    assert (alike.pop().passes, RECIPES[name].labels) == (1.6e6, (50,))
    assert all(row.seeds == 5 for row in RECIPES[name].rows)


def hashable(s: Settings) -> Settings:
    return dataclasses.replace(s, overrides=tuple(s.overrides))


def test_parts_are_what_the_titles_say() -> None:
    without = {
        title: {k: v for k, v in told(s).items() if v == "false"} for title, s in rows_of("commatch/t3-small").items()
    }
    assert without == {
        "ComMatch": {},
        "without negative learning": {"use_negative": "false"},
        "without dynamic thresholds": {"use_dynamic": "false"},
        "without stability": {"use_stability": "false"},
    }
    grid = {title: (told(s)["m"], told(s)["epm"]) for title, s in rows_of("dnll/t5-small").items()}
    assert grid == {f"{e} m={m}": (str(m), str(e == "EPM").lower()) for m in range(1, 7) for e in ("EP", "EPM")}
    nets = {title: (told(s).get("networks"), told(s).get("epm")) for title, s in rows_of("dnll/t6-small").items()}
    assert nets == {
        "SL without EPM": ("1", "false"),
        "SL": ("1", None),
        "ML without EPM": (None, "false"),
        "ML": (None, None),
    }


def test_the_ceiling_has_all_labels_and_four_sizes() -> None:
    found = {title: (s.num_labels, told(s, "net")["width"], s.passes) for title, s in rows_of("mnist-ceiling").items()}
    assert found == {
        "width 16": (None, "16", 1.6e6),
        "width 32": (None, "32", 1.6e6),
        "width 16, ten times": (None, "16", 1.6e7),
        "width 32, ten times": (None, "32", 1.6e7),
    }


def test_the_methods_on_cifar10_have_the_same_network_and_budget() -> None:
    table = rows_of("cifar10-small")
    assert [s.method for s in table.values()] == ["supervised", "fixmatch", "dnll", "commatch"]
    assert {(s.net, told(s, "net")["width"], s.passes, s.num_labels) for s in table.values()} == {
        ("air", "24", 4e6, 4000)
    }
    assert all(row.seeds == 2 for row in RECIPES["cifar10-small"].rows)
