"""The tables of all methods in the docs are those of the committed runs."""

from pathlib import Path

import all_methods as script
import pytest


def test_the_page_is_made_of_the_runs() -> None:
    assert script.PAGE.read_text() == script.page(), "make it again: python scripts/all_methods.py"


@pytest.mark.parametrize(("file", "text"), script.pages_of_methods().items(), ids=lambda v: getattr(v, "stem", ""))
def test_the_pages_of_methods_have_their_rows(file: Path, text: str) -> None:
    assert file.read_text() == text, "make it again: python scripts/all_methods.py"


def test_rows_are_compared_by_draw_and_ranked() -> None:
    table = {
        name: {d: {"test": {"net": v}, "pool": 0, "seconds": 2} for d, v in enumerate(values)}
        for name, values in {
            "probe": (0.5, 0.6, 0.5),
            "supervised": (0.4, 0.5, 0.6),
            "fixmatch, aligned": (0.7, 0.7, 0.7),
            "short": (0.9,),
        }.items()
    }
    first, second, third = script.bank(table)[2:]
    assert first == "| fixmatch, aligned | 70.0 ± 0.0 | +16.7 (+2.3 to +31.0) | +20.0 (-4.8 to +44.8) |  | 1.0 | 2 |"
    assert second.startswith("| probe | 53.3 ± 5.8 |  | +3.3 (")
    assert third.startswith("| supervised | 50.0 ± 10.0 | -3.3 (")
    assert third.endswith("| 2.7 | 2 |")
