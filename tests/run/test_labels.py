"""What is said of the labels before a run begins."""

from pathlib import Path

import pytest
import torch

import halfseen
from halfseen.run.labels import labels_of
from halfseen.settings import Settings
from tests.run.test_session import QUICK, arrays

THREE = ("cat", "dog", "emu")


def of(*counts: int, classes: tuple[str, ...] = THREE, **settings: object) -> list[str]:
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels_of(y, classes, Settings(**settings))


def test_the_labels_of_each_class_stand_in_one_line() -> None:
    assert of(20, 9, 6) == ["labels: cat 20, dog 9, emu 6"]
    assert of(7, 7, 7) == ["labels: 7 of each class"]
    many = tuple(f"class {k}" for k in range(30))
    (line,) = of(*range(10, 40), classes=many)
    assert line == "labels: 10 to 39 a class, fewest of class 0 10, class 1 11, class 2 12, class 3 13, class 4 14"


def test_fewer_than_five_are_warned_of() -> None:
    assert of(5, 6, 7)[1:] == []
    (warning,) = of(5, 4, 2)[1:]
    assert warning.startswith("fewer than 5 labels: emu 2, dog 4; ")
    assert of(4, 4, 4)[1].startswith("fewer than 5 labels: every class; ")
    many = of(*(1,) * 9, 9, classes=tuple("abcdefghij"))
    assert "a 1, b 1, c 1, d 1, e 1 and 4 more; " in many[1]


def test_ten_times_as_many_are_warned_of_with_what_helps() -> None:
    assert of(59, 6, 30)[1:] == []
    (warning,) = of(60, 6, 30)[1:]
    assert warning.startswith("cat has 10 times the labels of dog, ")
    assert "--class-weight balanced" in warning
    for done in ({"class_weight": "balanced"}, {"logit_adjust": 1.0}):
        assert of(60, 6, 30, **done)[1:] == ["cat has 10 times the labels of dog"]


@pytest.mark.parametrize("method", ["fixmatch", "pseudo_label"])
def test_labelled_images_are_not_counted_as_unlabelled_too(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Whether the method uses them without their labels, as FixMatch does, or not."""
    data = arrays(60)
    hidden = len(data["y"]) - 60
    found = halfseen.train(
        data, out=tmp_path / "r", method=method, val="none", **{**QUICK, "steps": 1, "quiet": False, "report": True}
    )
    said = capsys.readouterr().err
    assert f"60 labelled, {hidden} unlabelled, 0 validation images of 10 classes" in said
    assert found.metrics["images"] == {"labelled": 60, "unlabelled": hidden, "validation": 0}
    page = (tmp_path / "r" / "report.html").read_text()
    assert f"60 labelled, {hidden:,} unlabelled, 0 validation" in page
    assert "labels: " in said
