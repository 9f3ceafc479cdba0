"""Steps of methods in turn: each row is of its method and settings, and what cannot be compared is a sentence."""

import json
from pathlib import Path

import pytest
import torch

from halfseen.bench.rows import Sizes
from halfseen.bench.subject import Case, Subject
from halfseen.commands.bench import bench
from halfseen.errors import UserError

CPU, TINY = torch.device("cpu"), Sizes(wide=Case("small", (3, 8, 8), 3, 5), rounds=2)


def test_a_subject_is_of_the_method_and_settings_that_it_is_told() -> None:
    subject = Subject(TINY.wide, CPU, method="dnll", settings={"networks": "1", "m": "2"})
    assert (subject.method.cfg.networks, subject.method.cfg.m) == (1, 2)
    assert len(subject.trainer.data.batch(subject.streams, 0).u) == 5
    subject.step()
    assert subject.trainer.step == 1


def test_methods_are_compared_with_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ("supervised", "mean_teacher:consistency_on=all", "r2d2:shares=[0.5,0.5,0,0]")
    bench(False, "cpu", tmp_path / "cost.json", TINY, told, "small", (2, 4))
    figures = json.loads((tmp_path / "cost.json").read_text())
    rows = figures["rows"]
    assert [row["name"] for row in rows] == [f"method/{name}" for name in told]
    assert rows[0]["value"] == 1
    assert [len(row["seconds"]) for row in rows] == [1, 2, 2]
    assert all(len(took) == 2 for row in rows for took in row["seconds"].values())
    # labelled and unlabelled rows forward and back (3 a row), and the teacher's forward of them all
    assert [int(row["says"].split("; ")[1].split()[0]) for row in rows[:2]] == [2 * 3, 6 * 3 + 6]
    assert "r2d2:shares=[0.5,0.5,0,0], its stage supervised" in rows[2]["says"]
    assert "2+4 of 8x8 colour" in rows[2]["says"]
    assert figures["shares"] == {}
    assert "share of a step" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("methods", "net", "batch", "said"),
    [
        ((), "cnn13", None, "are for --methods"),
        ((), None, (8, 8), "are for --methods"),
        (("dnll", "dnll"), None, None, "name two or more"),
        (("dnll", "fixmatch"), None, (0, 8), "each 1 or more"),
        (("dnll", "fixmatsch"), None, None, "did you mean 'fixmatch'"),
        (("dnll", "dnll:k=2"), None, None, "dnll has no setting 'k'"),
    ],
)
def test_what_cannot_be_compared_is_a_sentence(
    methods: tuple[str, ...], net: str | None, batch: tuple[int, int] | None, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        bench(False, "cpu", None, TINY, methods, net, batch)
