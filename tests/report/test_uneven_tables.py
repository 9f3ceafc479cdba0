"""The tables of long tails and of wrong labels in the docs are those of the committed rows."""

import uneven_tables as script


def test_the_page_is_made_of_the_rows() -> None:
    assert script.page() == script.PAGE.read_text(), "make it again: python scripts/uneven_tables.py"


def row(weight: str, tau: float, draw: int, accuracy: float) -> script.Row:
    scores = {"accuracy": accuracy, "balanced": 0.3, "worst": 0.25}
    return {"tail": 10, "row": "probe", "weight": weight, "tau": tau, "draw": draw, "test": scores, "pool": scores}


def test_gains_are_paired_by_draw() -> None:
    rows = [row("none", 0.0, 0, 0.4), row("none", 0.0, 1, 0.6), row("none", 1.0, 1, 0.9), row("none", 1.0, 0, 0.5)]
    plain, moved = script.tails(rows)[2:]
    assert plain == "| 1:10 | probe | as it is | 0 | 2 | 50.0 |  | 25.0 | 50.0 | 30.0 |"
    assert moved.startswith("| 1:10 | probe | as it is | 1 | 2 | 70.0 | +20.0 (")  # +10 and +30


def test_wrong_labels_are_means_of_the_draws() -> None:
    shared = {"set": "s", "labels": 60, "planted": 6}
    rows = [
        {**shared, "first10": 0.5, "top": top, "suspected": 4, "precision": 1.0, "recall": 0.5} for top in (0.5, 1.0)
    ]
    assert script.wrong_labels(rows)[2:] == ["| s | 60 | 6 | 50.0 | 75.0 | 4 | 100.0 | 50.0 |"]


def stranger(pool: str, draw: int, accuracy: float, row: str = "probe") -> script.Row:
    found = {"pair": "a among b", "row": row, "pool": pool, "draw": draw, "accuracy": accuracy, "learned_from": 100}
    if pool == "clean":
        return found
    auroc = {"distance": 0.9 + draw / 100, "energy": 0.5, "max p": 0.25}
    return {**found, "auroc": auroc, "lost": 0.04, "refused": 0.5, "learned_from": 60 if pool == "left out" else 200}


def test_strangers_are_measured_on_the_mixed_pool() -> None:
    rows = [stranger(pool, d, 0.5, row) for pool in ("mixed", "left out") for d in (0, 2) for row in script.SCORED]
    assert script.strangers(rows)[2:] == ["| a among b | 0.910 | 0.500 | 0.250 | 0.250 | 4.0 | 50.0 |"]


def test_what_strangers_cost_is_paired_by_draw() -> None:
    rows = [stranger("clean", 0, 0.8), stranger("clean", 1, 0.6)]
    rows += [stranger("mixed", 1, 0.5), stranger("mixed", 0, 0.5)]  # -10 and -30
    rows += [stranger("left out", 0, 0.8), stranger("left out", 1, 0.6)]
    (line,) = script.cost_of_strangers(rows)[2:]
    assert line.startswith("| a among b | probe | 2 | 70.0 | 50.0: -20.0 (")
    assert line.endswith("| 70.0: +0.0 (+0.0 to +0.0) |  | 200, 60 |")


def test_the_journey_is_told_by_round_with_every_seed() -> None:
    took = {"suggest": 10.0, "label_start": 5.2, "label_answers": 20.4, "train": 70.0, "predict": 15.0}
    rows = [{"labels": 20, "seed": s, "how": "random", "accuracy": 0.3} for s in (0, 1)]
    rows += [{"labels": 20, "seed": s, "how": "suggested", "accuracy": a, **took} for s, a in ((1, 0.6), (0, 0.4))]
    said = "| 20 | 2 | 50.0 (40.0, 60.0) | 30.0 (30.0, 30.0) | 10 | 5 | 20 | 70 | 15 |"
    assert script.journey(rows)[2:] == [said]
