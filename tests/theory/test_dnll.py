"""Theorems 3.1 and 3.2 of DNLL: formulas against enumeration and simulation, and the paper's slip."""

import itertools
import math
from pathlib import Path

import pytest

from halfseen.errors import UserError
from halfseen.theory import dnll


def enumerated(q: float, K: int, m: int) -> tuple[float, float]:
    """Both theorems by counting: the truth is class 0, the teacher says 0 or 1, the second network the same or another."""

    def sets(c: int) -> list[tuple[int, ...]]:
        return list(itertools.combinations([k for k in range(K) if k != c], m))

    def equal(a: int, b: int) -> float:
        return sum(y == z for y in sets(a) for z in sets(b)) / (len(sets(a)) * len(sets(b)))

    error = q * 0 + (1 - q) * sum(0 in y for y in sets(1)) / len(sets(1))
    return error, q * equal(0, 0) + (1 - q) * equal(0, 1)


@pytest.mark.parametrize(("K", "m"), [(2, 1), (3, 1), (3, 2), (5, 2), (6, 4), (7, 3)])
@pytest.mark.parametrize("q", [0.0, 0.3, 1.0])
def test_formulas_are_the_enumerated_probabilities(q: float, K: int, m: int) -> None:
    error, collision = enumerated(q, K, m)
    assert dnll.negative_error(q, K, m) == pytest.approx(error)
    assert dnll.exact(q, K, m) == pytest.approx(collision)


def test_the_papers_slip() -> None:
    """K=10, m=1: networks that disagree collide in 8 of 81 pairs, not in 1 of 8."""
    assert dnll.exact(0, 10, 1) == pytest.approx(8 / 81)
    assert dnll.paper(0, 10, 1) == pytest.approx(1 / 8)
    assert dnll.paper(1, 10, 3) == dnll.exact(1, 10, 3)


@pytest.mark.parametrize(("q", "K", "m"), [(0.9, 10, 1), (0.5, 10, 3), (0.2, 12, 5)])
def test_the_papers_two_forms_agree(q: float, K: int, m: int) -> None:
    closed = math.factorial(m) * math.factorial(K - 2 - m) * (K - 1 - q * m) / math.factorial(K - 1)
    assert dnll.paper(q, K, m) == pytest.approx(closed)


def test_the_paper_has_no_value_where_all_other_classes_are_drawn() -> None:
    assert math.isnan(dnll.paper(0.5, 4, 3))
    assert dnll.exact(0.5, 4, 3) == 0.5


def test_stirling_approaches_the_exact_value_and_the_printed_form_does_not() -> None:
    ratio = dnll.stirling(10**6, 4) / dnll.exact(0.7, 10**6, 4)
    assert ratio == pytest.approx(1, abs=0.03)
    assert dnll.paper_asymptotic(10**6, 4) / dnll.exact(0.7, 10**6, 4) < 1e-3


@pytest.mark.parametrize(("q", "K", "m"), [(0.9, 10, 1), (0.5, 10, 3), (0.6, 3, 2), (0.5, 2, 1)])
def test_simulation_confirms_the_exact_formulas(q: float, K: int, m: int) -> None:
    n = 40_000
    error, collision = dnll.simulated(q, K, m, draws=n, seed=3)
    for found, p in ((error, dnll.negative_error(q, K, m)), (collision, dnll.exact(q, K, m))):
        assert abs(found - p) < 5 * math.sqrt(p * (1 - p) / n) + 1e-9


def test_simulation_refutes_the_papers_second_term() -> None:
    n = 40_000
    _, collision = dnll.simulated(0.0, 10, 1, draws=n)
    p = dnll.paper(0.0, 10, 1)
    assert abs(collision - p) > 5 * math.sqrt(p * (1 - p) / n)


def test_table_has_every_case_once() -> None:
    rows = dnll.table(draws=2_000)
    cases = {(r.K, r.m, r.q) for r in rows}
    assert len(rows) == len(cases) == len(dnll.KS) * len(dnll.MS) * len(dnll.QS)
    first = rows[0]
    assert first.error == dnll.negative_error(first.q, first.K, first.m)
    assert first.collision_exact == dnll.exact(first.q, first.K, first.m)
    assert first.error_simulated == pytest.approx(first.error, abs=0.05)


def test_plot_is_one_page_with_both_theorems(tmp_path: Path) -> None:
    text = dnll.plot(tmp_path / "dnll.html", draws=500).read_text()
    for curve in itertools.chain(*dnll.curves(draws=500)):
        assert curve.name.replace(">", "\\u003e") in text
    assert "<script src=" not in text, "the page needs the network"


@pytest.mark.parametrize(("q", "K", "m"), [(1.5, 10, 1), (0.5, 10, 0), (0.5, 3, 3)])
def test_impossible_cases_are_refused_in_words(q: float, K: int, m: int) -> None:
    with pytest.raises(UserError):
        dnll.exact(q, K, m)
