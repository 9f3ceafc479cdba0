"""The table of docs/which-method.md is that of the committed rows."""

import pytest
import which_method as script


def test_the_page_is_made_of_the_rows() -> None:
    assert script.PAGE.read_text() == script.page(), "make it again: python scripts/which_method.py"


@pytest.mark.parametrize("labels", [20, 100])
def test_gains_from_scratch_are_over_the_same_draws(labels: int) -> None:
    case = script.Case("", "", "mnist-small", "FixMatch", labels=labels)
    on, accuracy, gain, draws, took = script.measured(case, {})
    assert (on, took.endswith("min")) == ("mnist-small", True)
    assert int(draws) >= 5
    assert float(accuracy) > 90
    assert gain.startswith("+")


def test_gains_on_a_bank_are_over_the_probe() -> None:
    rows = {
        name: {d: {"test": {"net": v}, "pool": 0, "seconds": 2 + d} for d, v in enumerate(values)}
        for name, values in {"probe": (0.5, 0.6), "auto": (0.6, 0.9, 0.3)}.items()
    }
    found = script.measured(script.Case("", "", "s", "auto"), {("s", 2, 4, 4): rows})
    assert (found[0], found[1], found[3], found[4]) == ("s", "60.0", "2", "3 s")
    assert found[2].startswith("+20.0 (")  # +10 and +30: the third draw has no probe
