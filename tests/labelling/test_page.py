"""The page as a person uses it, in headless Chromium: by keyboard, in two tabs, reloaded, killed, on a telephone."""

import csv
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import halfseen
from halfseen.data.tables import read_labels
from halfseen.labelling.desk import Desk
from halfseen.labelling.learner import Learnt, scored
from halfseen.labelling.table import Table
from halfseen.run import choose
from halfseen.suggest.pool import Pool
from tests.labelling.browser import Browser, Page, found, until
from tests.labelling.photos import painted, toy
from tests.shell import alone

pytest.importorskip("uvicorn", reason="pip install halfseen[label]")
pytest.importorskip("websockets", reason="pip install halfseen[dev]")
__all__ = ["alone"]
ASKED = "(now?.question ? now.question.id : null)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = found()
    if program is None:
        pytest.skip("no Chromium is installed here: apt-get install chromium")
    made = Browser(program, tmp_path_factory.mktemp("chromium") / "profile")
    yield made
    made.end()


@contextmanager
def serving(desk: Desk) -> Iterator[str]:
    """The address of a desk's page, served by a thread of this process."""
    import uvicorn

    from halfseen.labelling.server import listening, make_app

    with listening(0) as listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(make_app(desk, "token", port), log_level="error", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}/token/"
        finally:
            server.should_exit = server.force_exit = True
            thread.join(10)


def desk_of(folder: Path, count: int = 30, kinds: int = 3, says: bool = False) -> tuple[Desk, dict[str, str]]:
    truth = painted(folder, count, kinds)
    names = list(dict.fromkeys(truth.values()))
    kind = np.array([names.index(name) for name in truth.values()])
    random = np.random.default_rng(0)
    x = (np.eye(4)[kind] + random.normal(0, 0.1, (count, 4))).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    p = (np.eye(len(names))[kind] * 0.9 + 0.1 / len(names)).astype(np.float32) if says else None
    pool = Pool(folder, tuple(truth), ("",) * count, {}, x, (), p, None, tuple(names) if says else ())
    return Desk(pool, Table(folder, {})), truth


def asked(page: Page) -> int:
    page.until("now?.question")
    return int(page.eval(ASKED))


def next_after(page: Page, act: Callable[[], None]) -> None:
    """Act, and wait until another picture is asked for."""
    before = asked(page)
    act()
    page.until(f"!busy && {ASKED} !== {before}")


def name(page: Page, label: str) -> None:
    """The picture's name as a person gives it: by its number key, or typed where it has none."""
    key = page.eval(f"now.classes.find(c => c.name === {label!r})?.key ?? ''")
    next_after(page, lambda: page.key(key) if key else (page.type(label), page.key("Enter")))


def rows(file: Path) -> list[list[str]]:
    with file.open() as f:
        return list(csv.reader(f))[1:]


# ---- from an unlabelled folder to a trained model ------------------------------------------------------------------------


class Command:
    """`halfseen label` in a process of its own."""

    def __init__(self, folder: Path, backbone: str, log: Path) -> None:
        words = ["label", str(folder), "--train", "--every", "5", "--backbone", backbone]
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "halfseen", *words],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        self.address = until(lambda: re.search(r"http://127\.0\.0\.1:\d+/\S+/", log.read_text()), 60)[0]

    def end(self) -> str:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(20) == 0
        return self.log.read_text()


def test_forty_labels_by_keyboard_a_kill_in_the_middle_and_a_trained_model(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "FOLD_STEPS", 5)
    photos, backbone = tmp_path / "photos", toy(tmp_path)
    truth = painted(photos, 90)
    command = Command(photos, backbone, tmp_path / "1.log")
    page = browser.page(command.address)
    page.until("now && now.question")
    assert page.eval("now.question.why") == "typical"  # chosen before the page was there, and not any
    for n in range(1, 21):
        name(page, truth[page.until("now && now.question && now.question.path")])
        assert page.eval("now.named") == n
        assert len(read_labels(photos / "labels.csv")) == n  # what the page has counted is in the file
    before = read_labels(photos / "labels.csv")
    last = page.eval("now.question.path")
    page.key(page.eval(f"now.classes.find(c => c.name === {truth[last]!r}).key"))  # on its way when the program dies
    command.process.kill()
    command.process.wait(20)
    after = read_labels(photos / "labels.csv")
    assert before.items() <= after.items() <= {**before, last: truth[last]}.items()
    assert [row[0] for row in rows(photos / "labels.csv")] == list(after)  # each once
    page.until("document.querySelector('#message').textContent.includes('does not answer')")

    command = Command(photos, backbone, tmp_path / "2.log")
    page = browser.page(command.address)
    page.until("now && now.training.score")  # it learns from what is there, at once
    assert page.eval("now.named") == len(after)
    guessed = 0
    for _ in range(len(after), 40):
        path, guess = page.eval("[now.question.path, now.question.guess?.label ?? '']")
        guessed += guess == truth[path]
        if guess == truth[path]:
            next_after(page, lambda: page.key("Enter"))
        else:
            name(page, truth[path])
    assert guessed > 5
    training = page.until("!now.training.busy && now.training.labels >= 36 && now.training.score && now.training")
    score, learnt = (
        training["score"],
        rows(photos / "labels.csv")[: training["labels"]],
    )  # up to 4 answers came after it
    assert score["asked"] == sum(row[2] == "random" for row in learnt)
    text = page.eval("document.querySelector('#score').textContent + document.querySelector('#next').textContent")
    assert re.search(rf"\d+% right{score['right']} of {score['asked']} drawn at random; 95%: \d+% to 100%", text)
    assert page.errors == []
    assert f"40 pictures of 3 classes are named in {photos / 'labels.csv'}" in command.end()

    found = read_labels(photos / "labels.csv")
    assert found == {path: truth[path] for path in found}
    assert len(found) == 40
    run = halfseen.train(
        photos, backbone=backbone, steps=60, out=tmp_path / "run", report=False, quiet=True, val="none"
    )
    said = halfseen.load(run.folder).predict([photos / path for path in truth])
    assert np.mean([a == b for a, b in zip(said, truth.values(), strict=True)]) > 0.9


# ---- tabs ----------------------------------------------------------------------------------------------------------------


def test_two_tabs_and_a_reload(browser: Browser, tmp_path: Path) -> None:
    desk, truth = desk_of(tmp_path / "p")
    with serving(desk) as address:
        one, two = browser.page(address), browser.page(address)
        for _ in range(5):
            for page in (one, two):
                assert asked(one) != asked(two)
                name(page, truth[page.eval("now.question.path")])
        assert read_labels(desk.table.file) == {p: truth[p] for p in read_labels(desk.table.file)}
        assert len(rows(desk.table.file)) == 10
        first, second = asked(one), asked(two)
        one.go(address)
        assert asked(one) == first  # a reload loses nothing, and asks the same
        two.until("now.named === 10")
        desk.answer("another", {second: ""}, "red")  # as if a third tab had been quicker
        two.eval("busy = true")  # its next look has not come yet
        two.eval("busy = false; name('green')")
        two.until("document.querySelector('#message').textContent.includes('named elsewhere meanwhile (red)')")
        assert desk.table.of(desk.pool.paths[second]).label == "red"
        assert one.errors + two.errors == []


# ---- answers -------------------------------------------------------------------------------------------------------------


def test_guess_undo_none_skip_zoom_and_naming_anew(browser: Browser, tmp_path: Path) -> None:
    desk, truth = desk_of(tmp_path / "p", says=True)
    with serving(desk) as address:
        page = browser.page(address)
        first = page.until("now && now.question && now.question.path")
        assert page.eval("document.querySelector('#guess').textContent").endswith(f"{truth[first]}93%")
        next_after(page, lambda: page.key("Enter"))
        assert read_labels(desk.table.file) == {first: truth[first]}
        page.key("ArrowLeft")
        page.until(f"now.question.path === {first!r}")
        assert not desk.table.file.exists()
        next_after(page, lambda: page.key("ArrowDown"))
        assert rows(desk.table.file) == [[first, "", "none of these"]]
        second = page.eval("now.question.path")
        next_after(page, lambda: page.click("#skip"))
        assert rows(desk.table.file)[1] == [second, "", "skipped"]
        assert page.eval("document.querySelector('#left').textContent") == "29 left · 1 of no class · 1 skipped"
        page.key(" ")
        page.until("!document.querySelector('#zoom').hidden")
        page.key("Escape")
        page.until("document.querySelector('#zoom').hidden")
        next_after(page, lambda: page.click("#recent button:nth-child(2)"))  # the first, which was of no class
        assert page.eval("now.question.path") == first
        assert page.eval("document.querySelector('#why').textContent") == "named none of these"
        name(page, "violet")
        assert read_labels(desk.table.file)[first] == "violet"
        assert page.errors == []


def test_more_than_ten_classes_by_the_start_of_their_names(browser: Browser, tmp_path: Path) -> None:
    desk, _ = desk_of(tmp_path / "p")
    names = [f"kind {letter}" for letter in "abcdefghijkl"] + ["cat", "caterpillar"]
    desk.classes = list(names)
    with serving(desk) as address:
        page = browser.page(address)
        asked(page)
        assert page.eval("now.classes.map(c => c.key ?? '').join('')") == "1234567890"

        def say(*keys: str) -> str:
            path = page.eval("now.question.path")
            next_after(
                page, lambda: [page.type(key) if len(key) > 1 and key not in SPECIAL else page.key(key) for key in keys]
            )
            return desk.table.of(path).label

        assert say("0") == "kind j"
        assert say("kind l", "Enter") == "kind l"
        assert say("cate", "Enter") == "caterpillar"
        assert say("cat", "Enter") == "cat"  # its whole name, though another begins with it
        assert say("cat", "ArrowDown", "Enter") == "caterpillar"
        assert say("d model", "Enter") == "d model"
        page.click("#name")  # in the box, digits are digits
        assert say("3d", "Enter") == "3d"
        assert say("d", "ArrowDown", "ArrowDown", "Enter") == "kind b"  # after "d model" those that have a d within
        assert page.eval("document.querySelector('#name').value") == ""
        assert page.errors == []


SPECIAL = ("Enter", "ArrowDown", "ArrowUp")


def test_look_alikes_are_named_at_once_and_taken_back_at_once(browser: Browser, tmp_path: Path) -> None:
    desk, truth = desk_of(tmp_path / "p", says=True)
    with serving(desk) as address:
        page = browser.page(address)
        path = page.until("now && now.question && now.question.path")
        page.key("ArrowUp")
        page.until("grid && document.querySelectorAll('.cell').length > 9")
        alike = page.eval("grid.map(c => [now.folder && c.id, c.marked])")
        paths = desk.pool.paths
        assert all(marked == (truth[paths[i]] == truth[path]) for i, marked in alike)
        page.click(".cell:nth-child(2)")  # the nearest: not this one
        page.until(
            f"document.querySelector('#name-hint').textContent.startsWith('{sum(m for _, m in alike)} pictures')"
        )
        next_after(page, lambda: page.key("Enter"))
        named = read_labels(desk.table.file)
        assert named == dict.fromkeys([path, *(paths[i] for i, marked in alike[1:] if marked)], truth[path])
        assert paths[alike[0][0]] not in named
        page.key("Backspace")
        page.until(f"now.named === 0 && now.question.path === {path!r}")
        assert not desk.table.file.exists()
        assert page.errors == []


def test_the_last_picture_and_what_is_next(browser: Browser, tmp_path: Path) -> None:
    desk, truth = desk_of(tmp_path / "p", 3)
    with serving(desk) as address:
        page = browser.page(address)
        for _ in range(3):
            name(page, truth[page.until("now && now.question && now.question.path")])
        assert "Every picture is answered" in page.eval("document.querySelector('#frame').textContent")
        assert f"halfseen train {tmp_path / 'p'}" in page.eval("document.querySelector('#frame').textContent")
        page.key("1")
        page.key("ArrowDown")
        time.sleep(0.1)
        assert len(rows(desk.table.file)) == 3
        assert page.errors == []


# ---- how it looks --------------------------------------------------------------------------------------------------------

CUT = """(() => {
  const wide = document.documentElement.clientWidth, cut = [];
  const shown = "header *, .caption *, .frame, .frame *, aside button, aside input, .hint, .stage";
  for (const e of document.querySelectorAll(shown))
  {
    const b = e.getBoundingClientRect();
    if (b.width && (b.left < -1 || b.right > wide + 1)) cut.push(e.id || e.className || e.tagName);
  }
  return cut;
})()"""


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_is_cut_off(browser: Browser, tmp_path: Path, width: int) -> None:
    desk, truth = desk_of(tmp_path / ("a-long-name-of-a-folder-" * 6), says=True)
    desk.classes += [
        "a class with a name that is longer than a telephone is wide, or nearly so, as it may be",
        *"ABCDEFGHIJ",
    ]
    desk.train = True
    desk.learnt = Learnt(np.full((30, 3), 0.4), ("red", "green", "blue"), 4, scored(7, 9, "random"), 1.0)
    with serving(desk) as address:
        page = browser.page(address, width, 844)
        page.until("document.querySelector('#picture')?.complete")
        for _ in range(4):  # then the page has the most to say: a score, and a picture that is drawn at random
            name(page, truth[page.eval("now.question.path")])
        assert page.eval("now.question.why") == "drawn at random"
        for look in ("true", "alike() || true"):
            page.eval(look)
            time.sleep(0.2)
            assert page.eval("document.documentElement.scrollWidth") <= width
            assert page.eval(CUT) == []
        sizes = page.eval(
            "[...document.querySelectorAll('.cell')].map(c => c.getBoundingClientRect()).map(b => [b.width, b.height])"
        )
        assert all(abs(w - h) < 2 and w > 80 for w, h in sizes)
        assert page.errors == []
