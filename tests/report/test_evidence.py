"""The page of evidence is made of the committed results, and its words follow from the numbers."""

import json
from pathlib import Path
from typing import Any

import decipher_plane
import evidence as script
import evidence_figures as figures
import evidence_kept as sections
import evidence_tables as tables
import numpy as np
import pytest
import torch
import two_spirals
from evidence_tables import Kept

AFTER = (("supervised", 4.0), ("d2", 3.0), ("finetune", 3.5))  # a stage, and how wide the classes are after it


def row(title: str, accuracies: list[float], labels: int | None = 20) -> dict[str, Any]:
    draws = list(range(len(accuracies)))
    told = {"method": title, "labels": labels, "draws": draws, "accuracies": accuracies}
    return {**told, "steps": [100] * len(draws), "minutes": 1.5}


def test_the_page_and_its_pictures_are_made_of_the_results() -> None:
    page, pictures = script.made()
    assert page == script.PAGE.read_text(), "make it again: python scripts/evidence.py"
    assert pictures == {path.name: path.read_text() for path in script.PICTURES.glob("*.svg")}
    assert all(len(svg) < 40_000 for svg in pictures.values())


def test_a_row_stands_beside_its_paper_and_over_the_same_draws() -> None:
    kept = Kept("t", (row("base", [0.5, 0.6, 0.9]), row("ours", [0.7, 0.9])), {})
    first, second = tables.table(kept, "base", {("ours", 20): 90.5})[2:4]
    assert first.startswith("| base | 20 | 0-2 | 66.67 ± 20.82 |  |  |  | 100 | 1.5 |")
    assert second.startswith("| ours | 20 | 0-1 | 80.00 ± 14.14 | +25.00 (")  # of +20 and +30
    assert second.endswith("| 90.50 | -10.50 | 100 | 1.5 |")


def test_what_made_the_rows_is_told() -> None:
    made = {"git": "0123456789", "torch": "2.13", "halfseen": "0.1", "device": "cpu"}
    kept = Kept("t", (row("base", [0.5]),), {"base-20-0": {"environment": made}})
    assert tables.table(kept, "base", {})[-1] == "torch 2.13, halfseen 0.1 at 0123456, cpu."


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ({0: 90.0, 1: 91.1}, {0: 80.0, 1: 81.0}, "*a* is above *b*: +10.05"),
        ({0: 80.0, 1: 81.1}, {0: 90.0, 1: 91.0}, "*a* is below *b*: -9.95"),
        ({0: 80.0, 1: 90.0}, {0: 81.0, 1: 80.0}, "*a* and *b* cannot be told apart"),
        ({0: 80.0, 3: 90.0}, {0: 81.0}, "*a* is 1.00 points below *b* on the one draw that both have."),
        ({3: 90.0}, {0: 81.0}, "no draw has both yet"),
    ],
)
def test_a_verdict_is_the_interval_of_the_paired_differences(
    ours: tables.Scores, theirs: tables.Scores, said: str
) -> None:
    assert said in tables.verdict("a", "b", ours, theirs)
    assert tables.above(ours, theirs) == ("is above" in said)


def test_a_claim_holds_if_every_pair_shows_it() -> None:
    kept = Kept("t", (row("a", [0.9, 0.91]), row("b", [0.8, 0.811]), row("c", [0.95, 0.2])), {})
    assert sections.all_above(kept, 20, [("a", "b")]) == "The claim holds here."
    assert sections.all_above(kept, 20, [("a", "b"), ("a", "c")]) == "The claim is shown in part."
    assert sections.all_above(kept, 20, [("b", "a")]) == "The claim is not shown here."


def test_draws_in_a_row_are_a_span() -> None:
    assert tables.spans([5, 0, 2, 1]) == "0-2, 5"


def test_what_is_not_kept_is_named_with_its_command(tmp_path: Path) -> None:
    queue = tmp_path / "queue.toml"
    part = '[[run]]\nrecipe = "mnist-small"\nrows = ["supervised", "DNLL, aligned"]\nlabels = [20]\n'
    part += 'share = 10\ninto = "long"\n'
    queue.write_text(f"{part}draws = 1\n{part}draws = 2\n")
    (tmp_path / "long").mkdir()
    (tmp_path / "long" / "supervised-20-0.json").write_text(json.dumps({}))
    todo = tables.missing(queue, tmp_path)
    it = todo["long"]
    assert (it.runs, it.left) == (4, 3)
    assert set(it.rows) == {"DNLL, aligned, 20 labels", "supervised, 20 labels"}
    assert it.command == (
        "halfseen reproduce mnist-small --root data --out runs/long --share 10 "
        "--rows supervised 'DNLL, aligned' --num-labels 20 --draws 2"
    )
    assert sections.left("long", todo)[1].startswith("**Not run yet: 3 of 4 runs** (DNLL, aligned, 20 labels; superv")
    assert sections.left("elsewhere", todo) == []


def test_the_regions_are_strokes_of_a_band_each() -> None:
    plane = np.array([[0.0, 1.0], [0.5, 1.0]], dtype=np.float32)  # the first row is the lowest
    strokes = "\n".join(two_spirals.region(plane)[1:])
    assert strokes.count("<path") == 2  # the middle band is the box's own colour
    assert f'd="M75 37.5H150M75 112.5H150" stroke="{two_spirals.BANDS[-1]}"' in strokes
    assert f'd="M0 112.5H75" stroke="{two_spirals.BANDS[0]}"' in strokes


def test_seeds_are_compared_at_the_last_epoch() -> None:
    runs = [{"accuracy": {"net1": [0.2, n], "ccn": [0.9, c]}} for n, c in ((0.5, 0.6), (0.7, 1.0))]
    told = two_spirals.summary(runs)
    assert (told["net1"]["mean"], told["ccn"]["mean"]) == pytest.approx((0.6, 0.8))
    assert told["difference"]["mean"] == pytest.approx(0.2)


def test_scatter_is_within_and_between_the_classes() -> None:
    features = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 10.0], [2.0, 10.0]])
    assert decipher_plane.scatter(features, torch.tensor([0, 0, 1, 1])) == (1.0, 25.0)


def test_the_plane_is_told_with_its_stages_and_gaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    which = {"accuracy": 0.9, "within": 2.0, "between": 10.0}
    stages = [{"stage": s, "labelled": which, "unlabelled": {**which, "within": w}, "test": 0.85} for s, w in AFTER]
    ends = [{"step": i, "theorem1": 0.02 / i, "theorem1_95": 0.1, "theorem2_holds": 0.5 * i} for i in (1, 2)]
    made_by = {"torch": "2.13", "git": "0123456789"}
    found = {"share": 0.2, "steps": 9, "minutes": 4, "stages": stages, "gaps": ends, "environment": made_by}
    (tmp_path / "r2d2-f2").mkdir()
    (tmp_path / "r2d2-f2" / "results.json").write_text(json.dumps(found))
    monkeypatch.setattr(figures, "RESULTS", tmp_path)
    text = "\n".join(figures.deciphered({})[0])
    assert "| d2 | 90.00 | 90.00 | 85.00 | 0.200 | 0.300 |" in text
    assert "are tighter after D2. The gap of Theorem 1 is 0.0200" in text
    assert "holds for 50% of the images\nat first and 100% at last" in text
    assert "**Not run yet**: the figure's own length" in text
    points = {s: {k: (torch.randn(40, 2), torch.arange(40) % 10) for k in ("labelled", "unlabelled")} for s, _ in AFTER}
    drawn = decipher_plane.plane(points, stages)
    assert drawn.count('stroke-linecap="round"') == 3 * 2 * 10
    assert "fine-tuned, unlabelled: 90.0%" in drawn
    assert "95% quantile" in decipher_plane.gaps(ends)
