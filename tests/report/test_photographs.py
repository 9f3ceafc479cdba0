"""The tables of photographs in the docs are those of the committed rows."""

from pathlib import Path

import photographs_tables as script
import pytest


@pytest.mark.parametrize(("file", "text"), script.pages().items(), ids=lambda v: v.name if isinstance(v, Path) else "")
def test_the_pages_are_made_of_the_rows(file: Path, text: str) -> None:
    assert file.read_text() == text, "make them again: python scripts/photographs_tables.py"


def test_a_table_is_paired_by_draw() -> None:
    rows = [
        {"set": "s", "views": [2, 4], "row": row, "draw": draw, "pool": pool, "test": {}, "seconds": 1}
        for row, draw, pool in (
            ("probe", 0, 0.5),
            ("probe", 1, 0.7),
            ("auto", 0, 0.6),
            ("auto", 1, 0.9),
            ("auto", 2, 0.0),
        )
    ]
    (table,) = script.tables(rows).values()
    auto, probe = script.lines(table)[2:][::-1]
    assert auto.startswith("| auto | 3 | 50.0 ± 45.8 | +15.0 (")
    assert auto.endswith("| +10.0 | 1 |")
    assert probe == "| probe | 2 | 60.0 ± 14.1 |  |  | 1 |"
    cells = script.short(script.tables(rows))[2].split(" | ")
    assert cells[:3] == ["| s", "60.0", "75.0 (+15.0)"]  # of the draws that both have
