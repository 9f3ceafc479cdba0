"""Ranks over blocks against scipy and published tables; the picture names every method and hides no bar."""

import json
import math
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import critical_difference as script
import numpy as np
import pytest
from scipy import stats

from halfseen.errors import UserError
from halfseen.report.ranks import alike, blocks_for, critical_difference, drawing, friedman, mean_ranks, ranks, sentence
from scripts.critical_difference import best_of, blocks_of


def table(n: int, k: int, seed: int = 0, step: float = 0.0) -> list[list[float]]:
    """n blocks of k methods of which each is better than the one before it by `step`."""
    random = np.random.default_rng(seed)
    return (random.normal(size=(n, k)) + step * np.arange(k)).round(1).tolist()


@pytest.mark.parametrize("step", [0.0, 0.4])
@pytest.mark.parametrize(("n", "k"), [(4, 3), (10, 8), (5, 30)])
def test_friedman_is_scipys(n: int, k: int, step: float) -> None:
    """Rounded scores, so that there are ties."""
    scores = table(n, k, n + k, step)
    theirs = stats.friedmanchisquare(*np.array(scores).T)
    ours = friedman(scores)
    assert ours.chi2 == pytest.approx(theirs.statistic)
    assert ours.p == pytest.approx(theirs.pvalue)


def test_ranks_are_scipys() -> None:
    values = [0.3, 0.9, 0.3, 0.1, 0.9, 0.9]
    assert ranks(values) == stats.rankdata([-v for v in values]).tolist()
    assert mean_ranks([[0.1, 0.2, 0.3], [0.1, 0.3, 0.2]]) == [3, 1.5, 1.5]


@pytest.mark.parametrize(
    ("k", "q"),
    [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031), (9, 3.102), (10, 3.164)],
)
def test_critical_values_are_those_of_demsars_table(k: int, q: float) -> None:
    """Demsar 2006, Table 5 (a), two-tailed Nemenyi test at 5%."""
    assert critical_difference(k, 1) / math.sqrt(k * (k + 1) / 6) == pytest.approx(q, abs=1e-3)


def test_an_example_of_demsars() -> None:
    """Section 3.2.4: four methods on 14 sets, CD = 2.569 sqrt(4 5/(6 14)) = 1.25."""
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)


def test_blocks_for_a_distance() -> None:
    for k, apart in ((5, 1.0), (30, 3.0)):
        n = blocks_for(k, apart)
        assert critical_difference(k, n) <= apart < critical_difference(k, n - 1)


def test_stretches_that_cannot_be_told_apart() -> None:
    assert alike([1.0, 1.5, 2.4, 4.0, 4.2], 1.0) == [(1.0, 1.5), (1.5, 2.4), (4.0, 4.2)]
    assert alike([1.0, 3.0, 5.0], 1.0) == []
    assert alike([1.0, 1.5, 2.0], 5.0) == [(1.0, 2.0)]


def test_the_picture_is_whole() -> None:
    names = [f"method <{i}>" for i in range(7)]
    scores = table(12, 7, 3, 0.3)
    svg = drawing(names, scores, "Seven & more")
    root = ET.fromstring(svg)
    texts = [t.text or "" for t in root.iter("{http://www.w3.org/2000/svg}text")]
    for name, R in zip(names, mean_ranks(scores), strict=True):
        assert f"{name}  {R:.2f}" in texts
    assert "Seven & more" in texts
    bars = alike(mean_ranks(scores), critical_difference(7, 12))
    assert len(re.findall('stroke-width="4"', svg)) == len(bars) > 0
    high = float(root.attrib["height"])
    for each in root.iter("{http://www.w3.org/2000/svg}text"):
        assert 0 < float(each.attrib["y"]) < high


def test_it_says_what_it_cannot_say() -> None:
    """Thirty methods in ten blocks: the distance is half of the scale, and more blocks are asked for."""
    said = sentence([str(i) for i in range(30)], table(10, 30))
    assert f"to tell ranks 3 apart it needs {blocks_for(30, 3.0)} blocks" in said
    assert "needs" not in sentence(["a", "b", "c"], table(40, 3))


def kept(data: str, rows: dict[str, list[float]]) -> dict[str, object]:
    found = [
        {"method": m, "labels": 20, "accuracies": a, "draws": list(range(len(a))), "mean": sum(a) / len(a)}
        for m, a in rows.items()
    ]
    return {"data": data, "rows": found}


def test_blocks_are_what_all_tables_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tables: a draw that a method lacks is no block, a method that a table lacks is not ranked."""
    one = kept("mnist", {"a": [0.1, 0.2], "b": [0.3, 0.1], "c": [0.5, 0.6]})
    two = kept("digits", {"b": [0.4, 0.5, 0.6], "a": [0.3, 0.7]})
    assert blocks_of([one, two], "draw") == {"a": [0.1, 0.2, 0.3, 0.7], "b": [0.3, 0.1, 0.4, 0.5]}
    assert blocks_of([one, two], "table") == {"a": pytest.approx([0.15, 0.5]), "b": pytest.approx([0.2, 0.5])}
    assert list(best_of({"a": [0.1, 0.2], "b": [0.3, 0.4], "c": [0.2, 0.3]}, 2)) == ["b", "c"]
    with pytest.raises(UserError, match="nothing to rank"):
        blocks_of([kept("mnist", {"a": [0.1, 0.2]})], "draw")
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    for file, table in zip(files, (one, two), strict=True):
        file.write_text(json.dumps(table))
    out = tmp_path / "ranks.svg"
    monkeypatch.setattr(sys, "argv", ["critical_difference.py", *map(str, files), "--out", str(out)])
    script.main()
    assert "Mean ranks on mnist, digits, 4 draws" in out.read_text()


def test_long_names_widen_the_picture() -> None:
    scores = table(9, 4, step=0.3)
    short, long = (drawing([name * n for name in "abcd"], scores, "") for n in (8, 60))
    widths = [float(ET.fromstring(svg).attrib["width"]) for svg in (short, long)]
    assert widths[0] == 900
    for element in ET.fromstring(long).iter("{http://www.w3.org/2000/svg}text"):
        if element.text is not None and element.text[0] in "abcd" and element.text[-3] == ".":
            room = (
                float(element.attrib["x"])
                if element.attrib["text-anchor"] == "end"
                else widths[1] - float(element.attrib["x"])
            )
            assert room > 6.5 * len(element.text)
