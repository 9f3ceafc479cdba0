"""The table of strategies in the docs is that of the committed rows."""

import strategies as script


def test_the_page_is_made_of_the_rows() -> None:
    assert script.PAGE.read_text() == script.page(), "make it again: python scripts/strategies.py --table"


def test_differences_are_to_random_labels_of_the_same_seed() -> None:
    rows = [
        {
            "set": "s",
            "strategy": name,
            "rounds": rounds,
            "seed": seed,
            **dict.fromkeys(script.SCORED, value + seed / 10),
        }
        for name, rounds in script.ROWS
        for seed, value in ((0, 0.5 if (name, rounds) == ("random", 1) else 0.6), (1, 0.6))
    ]
    lines = script.table(rows)
    assert lines[2] == "| 1 x 40 | random | 60.0 | 60.0 |"
    assert lines[3] == "| 1 x 40 | typical | 65.0 (+5.0) | 65.0 (+5.0) |"
    assert len(lines) == 2 + len(script.ROWS)
