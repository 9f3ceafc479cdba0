"""What a run says while and after it trains: alarms by the log's lines, three sentences by its scores."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import halfseen
from halfseen.data import Split, open_data
from halfseen.machine.progress import Display
from halfseen.run.alarms import Alarms, alarms
from halfseen.run.beside import beside, plain
from halfseen.run.verdict import verdict
from halfseen.training.tally import Tally

CLASSES = ("cat", "dog")
FINE = {"mask_rate": 0.8, "pseudo_accuracy": 0.9, "rarest": 0.9, "rarest_class": 1.0, "L_s": 0.2}


def rows(n: int = 10, steps: int = 1000, **changes: Any) -> list[dict[str, Any]]:
    """Lines of a log; a change is a value, or one for each line."""
    found = []
    for i in range(n):
        own = {k: v[i] if isinstance(v, list) else v for k, v in changes.items()}
        found.append({"step": (i + 1) * steps // n, **FINE, **own})
    return found


def test_a_run_that_goes_well_gives_no_alarm() -> None:
    assert alarms(rows(), 1000, CLASSES) == {}


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"rarest": [0.9] * 6 + [0.02] * 4}, "class", "'dog' is hardly ever predicted"),
        ({"pseudo_accuracy": [0.9] * 6 + [0.7] * 4}, "right", "less right than it was (70%, and 90% before)"),
        ({"mask_rate": 0.0}, "unused", "hardly any unlabelled image is sure enough to be used: lower"),
        ({"mask_rate": 0.0, "L_s": 0.001}, "unused", "while the labels are learnt by heart"),
    ],
)
def test_each_alarm(changes: dict[str, Any], kind: str, said: str) -> None:
    found = alarms(rows(**changes), 1000, CLASSES)
    assert list(found) == [kind]
    assert said in found[kind]


def test_early_lines_and_single_ones_are_no_alarm() -> None:
    assert alarms(rows(mask_rate=[0.0] * 5 + [0.5] * 5), 1000, CLASSES) == {}
    assert alarms(rows(3, mask_rate=0.0)[:1], 1000, CLASSES) == {}
    assert alarms(rows(pseudo_accuracy=[0.9] * 9 + [0.5]), 1000, CLASSES) == {}


def test_few_steps_are_said_and_each_alarm_once(capsys: pytest.CaptureFixture[str]) -> None:
    watcher = Alarms(Display(), CLASSES, 100)
    for row in rows(steps=100, mask_rate=0.0):
        watcher.logged(row)
    said = capsys.readouterr().err
    assert said.count("100 steps are few") == said.count("sure enough to be used") == 1


def scores(accuracy: float, n: int = 1000, per_class: tuple[float, float] = (0.9, 0.9)) -> dict[str, Any]:
    return {"accuracy": accuracy, "n": n, "interval": [accuracy - 0.02, accuracy + 0.02], "per_class": list(per_class)}


def told(part: str = "test", against: tuple[int, int] = (80, 20), alone: float = 0.84, **head: Any) -> dict[str, Any]:
    probes = {"probe": {part: alone, "against": {part: list(against)}}}
    return {"headline": {"which": "last", part: scores(0.9) | head}, "probes": probes, "steps": 1000}


def sentences(metrics: dict[str, Any], log: list[dict[str, Any]] | None = None) -> list[str]:
    return verdict(metrics, rows() if log is None else log, CLASSES, on="the same features", out="runs/a")


def test_what_was_reached_and_what_it_gained() -> None:
    first, second, third = sentences(told())
    assert "recognises 90.0% of 1,000 test images (95% interval 88.0% to 92.0%)" in first
    assert "by logistic regression on the same features, 84.0%: that is +6.0 points (+4.1 to +7.9)" in first
    assert "can be trusted" in second
    assert third == (
        "Next: label the pictures that halfseen suggest runs/a --num 20 names; that is worth more than another method."
    )


@pytest.mark.parametrize(
    ("metrics", "log", "second"),
    [
        (told(against=(20, 80)), None, "Do not use it: the labels alone are better"),
        (told(against=(52, 50)), None, "It is ahead of the labels alone by no more than chance would bring."),
        (told(against=(50, 52)), None, "It is behind the labels alone by no more"),
        (told(against=(9, 9)), None, "as good as the labels alone"),
        (told(), rows(rarest=0.0), "Trust it with care: the class 'dog'"),
        (told(n=40, against=(20, 1)), None, "40 scored images say little"),
        (
            {**told("val"), "headline": {"which": "best on validation", "val": scores(0.9)}},
            None,
            "images that chose it",
        ),
    ],
)
def test_whether_to_trust_it(metrics: dict[str, Any], log: list[dict[str, Any]] | None, second: str) -> None:
    assert second in sentences(metrics, log)[1]


@pytest.mark.parametrize(
    ("metrics", "log", "third"),
    [
        ({**told(), "steps": 100}, None, "100 steps are few"),
        (told(per_class=(0.99, 0.5)), None, "label more of 'dog', of which it finds 50%"),
        (told(accuracy=0.995, per_class=(0.99, 0.99)), None, "there is little left to win"),
        (told(), rows(rarest=0.0), "the class 'dog' is hardly ever predicted"),
    ],
)
def test_what_to_do_next(metrics: dict[str, Any], log: list[dict[str, Any]] | None, third: str) -> None:
    assert third in sentences(metrics, log)[2]


def test_nothing_was_scored() -> None:
    found = sentences({"headline": {"which": "last"}, "probes": {}, "steps": 1000})
    assert found[0] == "There was no test or validation image, so nobody knows how good it is."
    assert "--val" in found[1]


def test_the_tally_counts_the_class_that_is_predicted_least() -> None:
    from halfseen.method import Unlabelled

    tally = Tally()
    target = torch.eye(4)[[0, 0, 1, 2, 2, 2, 3, 3]]
    kept, truth = torch.tensor([1, 1, 1, 1, 0, 0, 1, 1]).bool(), torch.tensor([0, 0, 0, 2, 2, 2, -1, 3])
    labelled = torch.tensor([1, 0, 0, 0, 0, 0, 0, 0]).bool()
    tally.add_scores(Unlabelled(torch.zeros(8, 4), target, kept), truth, labelled)
    row, _ = tally.read()
    assert (row["rarest"], row["rarest_class"]) == (0.5, 1.0)  # one of eight, where two would be its share
    assert row["pseudo_accuracy"] == 3 / 4  # of what was used, hidden and known: rows 1, 2, 3 and 7
    assert row["labelled_pseudo_accuracy"] == 1.0


def test_where_only_shown_labels_are_known_nothing_is_said_to_be_right() -> None:
    from halfseen.method import Unlabelled

    tally = Tally()
    labelled = torch.tensor([True, False])
    tally.add_scores(Unlabelled(torch.zeros(2, 2), torch.eye(2), labelled | True), torch.tensor([0, -1]), labelled)
    assert "pseudo_accuracy" not in tally.read()[0]


def test_the_labels_alone_on_pictures_and_vectors() -> None:
    random = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = random.integers(0, 60, (60, 40, 30, 1), dtype=np.uint8)
    for k in range(3):
        x[y == k, 12 * k : 12 * k + 12] += 150
    images = open_data({"x": x, "y": y, "test_x": x[:9], "test_y": y[:9]})
    assert plain(images.x).shape == (60, 16 * 16)
    split = Split(torch.arange(9), torch.arange(60), torch.arange(0))
    assert images.test_x is not None
    assert images.test_y is not None
    said = {"test": images.test_y.clone()}
    said["test"][0] = (said["test"][0] + 1) % 3
    found = beside(images, split, {"test": (images.test_x, images.test_y)}, said)
    assert list(found) == ["probe"]
    assert (found["probe"]["test"], found["probe"]["unlabelled"]) == (1.0, 1.0)
    assert found["probe"]["against"] == {"test": [0, 1]}


def test_a_run_ends_with_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = halfseen.train("digits", method="supervised", num_labels=40, steps=20, out=tmp_path / "r", threads=1)
    said = capsys.readouterr().err
    kept = json.loads((made.folder / "metrics.json").read_text())["verdict"]
    assert len(kept) == 3
    assert all(sentence in said for sentence in kept)
    assert "20 steps are few" in said
    assert kept[0] in (made.folder / "report.html").read_text().replace("&#39;", "'")
