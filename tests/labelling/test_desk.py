"""Who is asked what, and what was answered: tabs, conflicts, undo, look-alikes, and what is learnt meanwhile."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from halfseen.data.tables import NONE, read_labels
from halfseen.errors import UserError
from halfseen.labelling.desk import ALIKES, EVERY_RANDOM, Desk
from halfseen.labelling.learner import Given, ground_of, learn, scored, wanted
from halfseen.labelling.names import keys_of, named
from halfseen.labelling.table import RANDOM, SKIPPED, Answer, Table
from halfseen.labelling.worker import Worker, validation
from halfseen.suggest.choose import EACH, FIRST
from halfseen.suggest.pool import Pool
from tests.shell import alone

__all__ = ["alone"]
KINDS = ("red", "green", "blue")


def pool(folder: Path, count: int = 60, p: bool = False) -> tuple[Pool, list[str]]:
    """Features of three blobs on a sphere; files that are there, and empty, since a desk looks into none."""
    random = np.random.default_rng(0)
    kind = np.arange(count) % 3
    x = (np.eye(3, 6)[kind] + random.normal(0, 0.25, (count, 6))).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    paths = tuple(f"{i}.png" for i in range(count))
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        (folder / path).touch()
    said = (np.eye(3)[kind] * 0.7 + 0.1).astype(np.float32) if p else None
    return Pool(folder, paths, ("",) * count, {}, x, KINDS if p else (), said, None, KINDS if p else ()), [
        KINDS[k] for k in kind
    ]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(pool(tmp_path / "p")[0], Table(tmp_path / "p", {}))
    made.choose()
    return made


def asked(state: dict[str, Any]) -> int:
    return int(state["question"]["id"])


def name(desk: Desk, tab: str, label: str, **more: Any) -> dict[str, Any]:
    return desk.answer(tab, {asked(desk.state(tab)): ""}, label, **more)


def test_what_is_asked_first_is_typical_of_each_kind(desk: Desk) -> None:
    kinds = [KINDS[i % 3] for i in desk.queue[:3]]
    state = desk.state("a")
    assert asked(state) == desk.queue[0]
    assert (state["question"]["why"], state["question"]["guess"], state["named"], state["total"]) == (
        "typical",
        None,
        0,
        60,
    )
    assert state["ahead"] == desk.queue[:3]
    assert len(set(kinds)) > 1


def test_the_file_holds_the_answer_when_it_returns_and_the_next_is_asked(desk: Desk) -> None:
    first = asked(desk.state("a"))
    state = name(desk, "a", " red ")
    assert read_labels(desk.table.file) == {f"{first}.png": "red"}
    assert asked(state) != first
    assert state["classes"] == [{"name": "red", "count": 1, "key": "1"}]
    assert state["recent"] == [{"id": first, "label": "red"}]


def test_two_tabs_are_never_asked_the_same_and_a_reload_asks_again(desk: Desk) -> None:
    seen = [asked(desk.state(tab)) for tab in ("a", "b", "c")]
    assert len(set(seen)) == 3
    assert [asked(desk.state(tab)) for tab in ("a", "b", "c")] == seen
    state = name(desk, "a", "red")
    assert asked(state) not in seen


def test_a_closed_tab_gives_its_picture_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    first = asked(desk.state("a"))
    later = time.monotonic() + 301
    monkeypatch.setattr("halfseen.labelling.desk.time.monotonic", lambda: later)
    assert asked(desk.state("b")) == first


def test_an_answer_that_comes_twice_is_one(desk: Desk) -> None:
    first = asked(desk.state("a"))
    desk.answer("a", {first: ""}, "red")
    state = desk.answer("a", {first: ""}, "red")
    assert (state["named"], state["conflicts"]) == (1, [])
    desk.undo("a")
    assert desk.state("a")["named"] == 0  # and it is undone once


def test_what_was_named_elsewhere_is_not_overwritten(desk: Desk) -> None:
    first = asked(desk.state("a"))
    desk.answer("a", {first: ""}, "red")
    state = desk.answer("b", {first: ""}, "blue")
    assert state["conflicts"] == [{"id": first, "label": "red"}]
    assert desk.table.of(f"{first}.png") == Answer("red")
    state = desk.answer("b", {first: "red"}, "blue")  # it saw red: a correction
    assert state["conflicts"] == []
    assert desk.table.of(f"{first}.png") == Answer("blue")


def test_answers_of_many_threads(desk: Desk) -> None:
    def work(tab: str) -> None:
        for _ in range(10):
            name(desk, tab, KINDS[asked(desk.state(tab)) % 3])

    threads = [threading.Thread(target=work, args=(tab,)) for tab in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read_labels(desk.table.file)
    assert len(found) == 40
    assert all(label == KINDS[int(path.split(".")[0]) % 3] for path, label in found.items())


def test_undo_takes_back_the_last_of_this_tab_and_asks_it_again(desk: Desk) -> None:
    first = asked(desk.state("a"))
    name(desk, "a", "rde")
    name(desk, "b", "red")
    state = desk.undo("a")
    assert asked(state) == first
    assert [c["name"] for c in state["classes"]] == ["red"]  # the slip is no class any more
    assert state["named"] == 1
    assert not state["undo"]
    assert desk.undo("a")["named"] == 1  # nothing of this tab is left
    name(desk, "a", "blue")
    desk.answer("b", {first: "blue"}, "red")
    assert desk.undo("a")["named"] == 2  # what another has corrected since stays
    assert desk.table.of(f"{first}.png") == Answer("red")


def test_not_one_of_these_and_skipped(desk: Desk) -> None:
    first = asked(desk.state("a"))
    state = desk.answer("a", {first: ""}, "", NONE)
    second = asked(state)
    state = desk.answer("a", {second: ""}, "", SKIPPED)
    assert (state["named"], state["none"], state["skipped"]) == (0, 1, 1)
    for _ in range(58):
        state = name(desk, "a", "red")
    assert asked(state) == second  # skipped once: it comes at the end
    state = desk.answer("a", {second: ""}, "", SKIPPED)
    assert asked(state) == second  # the only one that is left
    assert desk.answer("a", {second: ""}, "red")["question"] is None
    assert set(read_labels(desk.table.file).values()) == {"", "red"}


def test_skipped_ones_take_turns(desk: Desk) -> None:
    for i in range(60):
        desk.table.put({f"{i}.png": Answer("", SKIPPED) if i < 3 else Answer("red")})
    order = []
    for _ in range(6):
        order.append(asked(desk.state("a")))
        desk.answer("a", {order[-1]: ""}, "", SKIPPED)
    assert order == [0, 1, 2, 0, 1, 2]


def test_one_is_named_anew(desk: Desk) -> None:
    first = asked(desk.state("a"))
    name(desk, "a", "red")
    question = desk.state("a", again=first)["question"]
    assert (question["id"], question["saw"]) == (first, "red")
    state = desk.answer("a", {first: "red"}, "green")
    assert state["classes"] == [
        {"name": "red", "count": 0, "key": "1"},
        {"name": "green", "count": 1, "key": "2"},
    ]
    assert asked(state) != first


def test_look_alikes_are_near_free_and_named_at_once(desk: Desk) -> None:
    first, other = asked(desk.state("a")), asked(desk.state("b"))
    found = [cell["id"] for cell in desk.alike(first)]
    assert len(found) == ALIKES
    assert first not in found
    assert other not in found
    near = np.argsort(-(desk.pool.x @ desk.pool.x[first]), kind="stable")
    assert found == [i for i in near.tolist() if i not in (first, other)][:ALIKES]
    state = desk.answer("a", {first: "", found[0]: "", found[1]: ""}, "red")
    assert state["named"] == 3
    assert [desk.table.of(f"{i}.png").note for i in (first, *found[:2])] == ["", "look-alike", "look-alike"]
    state = desk.undo("a")
    assert state["named"] == 0
    assert asked(state) == first


def test_a_run_gives_guesses_marks_and_classes(tmp_path: Path) -> None:
    given, truth = pool(tmp_path / "p", p=True)
    desk = Desk(given, Table(tmp_path / "p", {}))
    desk.choose()
    state = desk.state("a")
    i = asked(state)
    assert [c["name"] for c in state["classes"]] == list(KINDS)
    assert state["question"]["guess"]["label"] == truth[i]
    assert state["question"]["guess"]["p"] == pytest.approx(0.8)
    marks = {cell["id"]: cell["marked"] for cell in desk.alike(i)}
    assert not any(marks.values())  # 80% is not above SURE
    given.p[:] = np.eye(3)[np.arange(60) % 3]  # type: ignore[index]
    assert {cell["id"]: cell["marked"] for cell in desk.alike(i)} == {j: truth[j] == truth[i] for j in marks}


def test_what_no_table_can_name_is_not_asked_for(tmp_path: Path) -> None:
    given, _ = pool(tmp_path / "p", 6)
    object.__setattr__(given, "paths", ("a\\b.png", *given.paths[1:]))
    desk = Desk(given, Table(tmp_path / "p", {}))
    desk.choose()
    assert desk.state("a")["total"] == 5
    for _ in range(5):
        assert asked(desk.state("a")) != 0
        assert 0 not in {cell["id"] for cell in desk.alike(asked(desk.state("a")))}
        name(desk, "a", "red")
    assert desk.state("a")["question"] is None


def test_look_alikes_of_a_random_picture_do_not_tell_the_guess(tmp_path: Path) -> None:
    given, truth = pool(tmp_path / "p", p=True)
    given.p[:] = np.eye(3)[np.arange(60) % 3]  # type: ignore[index]
    desk = Desk(given, Table(tmp_path / "p", {}), train=True)
    desk.choose()
    for _ in range(4):
        i = asked(desk.state("a"))
        assert any(cell["marked"] for cell in desk.alike(i))
        name(desk, "a", truth[i])
    state = desk.state("a")
    assert state["question"]["why"] == "drawn at random"
    assert not any(cell["marked"] for cell in desk.alike(asked(state)))


def test_a_long_queue_of_typical_ones_is_kept_and_an_unsure_one_is_not(desk: Desk) -> None:
    assert not desk.wants()
    for _ in range(2 * EACH):
        name(desk, "a", KINDS[asked(desk.state("a")) % 2])
    desk.taught(learn(ground_of(desk.pool.x), desk.given(), None), 0)
    assert not desk.wants()  # typical ones for a while
    for _ in range(FIRST):
        name(desk, "a", KINDS[asked(desk.state("a")) % 2])
    assert desk.wants()


def test_classes_of_the_table_keep_their_order(tmp_path: Path) -> None:
    given, _ = pool(tmp_path / "p")
    Table(tmp_path / "p", {}).put({"3.png": Answer("zebra"), "2.png": Answer("ant")})
    desk = Desk(given, Table(tmp_path / "p", {}))
    assert [c["name"] for c in desk.state("a")["classes"]] == ["zebra", "ant"]
    with desk.table.file.open("a") as f:
        f.write("4.png,bee,\n")
    assert [c["name"] for c in desk.state("a")["classes"]] == ["zebra", "ant", "bee"]


def test_mistakes(desk: Desk) -> None:
    for saw, label, note, said in (
        ({}, "red", "", "at least one picture"),
        ({60: ""}, "red", "", "no picture number 60"),
        ({-1: ""}, "red", "", "no picture number -1"),
        ({1: ""}, "", "", "a label, or the note"),
        ({1: ""}, "", "random", "a label, or the note"),
        ({1: ""}, "-1", "", "-1 stands for no label"),
        ({1: ""}, "a" * 81, "", "1 to 80 characters"),
        ({1: ""}, "a\x00b", "", "can be no class"),
    ):
        with pytest.raises(UserError, match=said):
            desk.answer("a", saw, label, note)
    assert not desk.table.file.exists()


# ---- names and keys ------------------------------------------------------------------------------------------------------


def test_names_that_look_like_one_are_one() -> None:
    assert named("  a  b ", []) == "a b"
    assert named("1.0", ["1"]) == "1"
    assert named("cafe\u0301", []) == "café"
    assert named("Cat", ["cat"]) == "Cat"  # A and a may be two classes of letters


def test_number_keys() -> None:
    classes = [chr(ord("a") + i) for i in range(12)]
    keys = keys_of(classes)
    assert "".join(keys[c] for c in classes[:10]) == "1234567890"
    assert "k" not in keys
    assert keys_of(["cat", "3", "1", "dog"]) == {"3": "3", "1": "1", "cat": "2", "dog": "4"}


# ---- what is learnt ------------------------------------------------------------------------------------------------------


def given(x: np.ndarray[Any, Any], ids: list[int], random: list[int]) -> Given:
    return Given(np.array(ids), np.array(ids) % 3, np.array(random, dtype=np.int64), KINDS)


def test_label_spreading_learns_and_the_score_is_of_the_random_ones_without_their_own(tmp_path: Path) -> None:
    x = pool(tmp_path / "p")[0].x
    ground = ground_of(x)
    ids = list(range(12))
    learnt = learn(ground, given(x, ids, [0, 3, 5]), None)
    assert (learnt.p.argmax(1) == np.arange(60) % 3).mean() > 0.95
    assert learnt.score is not None
    assert (learnt.score.right, learnt.score.asked, learnt.score.where) == (3, 3, "random")
    wrong = given(x, ids, [0, 3])
    wrong.y[0] = 1  # a label that only itself would speak for
    learnt = learn(ground, wrong, None)
    assert learnt.score is not None
    assert learnt.score.right == 1
    assert learn(ground, given(x, ids, []), None).score is None


def test_a_validation_part_is_scored_where_there_is_one(tmp_path: Path) -> None:
    found, _ = pool(tmp_path / "p")
    desk = Desk(found, Table(tmp_path / "p", {}))
    for i in range(12):
        desk.table.put({f"{i}.png": Answer(KINDS[i % 3])})
    object.__setattr__(found, "val", (found.x[20:30], tuple([KINDS[i % 3] for i in range(20, 29)] + ["violet"])))
    desk.state("a")
    val = validation(desk, desk.given())
    assert val is not None
    learnt = learn(ground_of(found.x), desk.given(), val)
    assert learnt.score is not None
    assert (learnt.score.right, learnt.score.asked, learnt.score.where) == (9, 10, "val")


@pytest.mark.parametrize(("right", "asked"), [(0, 3), (3, 3), (5, 9), (40, 40)])
def test_the_interval_is_exact(right: int, asked: int) -> None:
    found, theirs = scored(right, asked, "random"), binomtest(right, asked).proportion_ci(method="exact")
    assert (found.low, found.high) == (pytest.approx(theirs.low), pytest.approx(theirs.high))


def test_typical_first_then_what_the_model_is_unsure_of() -> None:
    x = np.random.default_rng(0).normal(size=(60, 16))  # no two alike
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    p = np.full((60, 3), [0.9, 0.05, 0.05])
    p[30:35] = [0.4, 0.35, 0.25]
    few, many = np.arange(FIRST - 1), np.arange(max(FIRST, 3 * EACH))
    assert wanted(x, few, p, 3, 5, 0)[1] is False
    ids, unsure = wanted(x, many, p, 3, 5, 0)
    assert unsure
    assert set(range(30, 35)) <= set(ids.tolist())
    assert wanted(x, many, None, 3, 5, 0)[1] is False


def until(look: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not look():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_training_in_the_background_while_somebody_labels(tmp_path: Path) -> None:
    found, truth = pool(tmp_path / "p")
    desk = Desk(found, Table(tmp_path / "p", {}), train=True, every=4)
    worker = Worker(desk)
    worker.start()
    random = 0
    for n in range(1, 21):
        i = asked(desk.state("a"))
        drawn = desk.state("a")["question"]["why"] == "drawn at random"
        random += drawn
        assert not (drawn and desk.state("a")["question"]["guess"])  # a guess in sight would lead the person
        state = desk.answer("a", {i: ""}, truth[i])
        assert random == n // EVERY_RANDOM
        if n >= 8:
            until(lambda n=n: desk.learnt is not None and desk.learnt.labels > n - 4)
    worker.end()
    worker.join(20)
    assert not worker.is_alive()
    assert desk.failed == ""
    state = desk.state("a")["training"]
    assert 17 <= state["labels"] <= 20
    assert state["score"]["asked"] in (3, 4)
    assert sum(a.note == RANDOM for a in desk.table.answers.values()) == 4
    assert desk.learnt is not None
    said = [desk.learnt.classes[k] for k in desk.learnt.p.argmax(1)]
    assert np.mean([a == b for a, b in zip(said, truth, strict=True)]) > 0.9
    assert desk.state("zz")["question"]["guess"]


def test_a_training_that_fails_is_said_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(pool(tmp_path / "p")[0], Table(tmp_path / "p", {}), train=True, every=2)
    name(desk, "a", "red")
    name(desk, "a", "blue")

    def fail(*_: object) -> None:
        raise MemoryError("too much")

    monkeypatch.setattr("halfseen.labelling.worker.learn", fail)
    worker = Worker(desk)
    worker.start()
    until(lambda: desk.failed)
    assert desk.state("a")["training"]["failed"] == "MemoryError: too much"
    assert not desk.busy
    assert name(desk, "a", "red")["named"] == 3
    worker.end()
    worker.join(20)
    assert "too much" in capsys.readouterr().err
