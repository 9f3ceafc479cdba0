"""Who is asked what, and what was answered: the state behind the page, without any web. Every method may be called by any
thread; what a person has answered is in the file when the method returns.

Pictures go by their number in the pool, never by a path. A tab is asked one picture at a time, and two tabs never the same.
An answer says what label the tab saw before (`saw`); where another tab or program has changed it meanwhile, it is not
overwritten, and an answer that comes twice is one answer.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from halfseen.data.tables import NONE, can_be_written
from halfseen.errors import UserError
from halfseen.labelling.learner import Given, Learnt, wanted
from halfseen.labelling.names import keys_of, named
from halfseen.labelling.table import ALIKE, NOTHING, RANDOM, SKIPPED, Answer, Table
from halfseen.probes.rows import Array
from halfseen.suggest.choose import early
from halfseen.suggest.pool import Pool

AHEAD = 40  # pictures that are chosen at once
LOW = 8  # left of them when more are chosen
EVERY_RANDOM = 5  # with training, one answer of so many is of a picture drawn at random
GONE = 300.0  # seconds after which a tab that says nothing is taken for closed
ALIKES = 12
SURE = 0.8  # probability above which a look-alike is marked beforehand
CLOSE = 0.9  # cosine that marks it where there is no model
RECENT = 12
UNDOS = 200


@dataclass
class Asked:
    id: int
    random: bool
    at: float  # when its tab last said something
    again: bool = False  # whatever was answered: it is looked at a second time
    why: str = ""


class Desk:
    def __init__(self, pool: Pool, table: Table, *, train: bool = False, every: int = 5, seed: int = 0) -> None:
        self.pool, self.table, self.train, self.every, self.seed = pool, table, train, every, seed
        self.lock = threading.RLock()
        self.wake = threading.Event()  # of whoever trains and chooses in the background
        self.number = {path: i for i, path in enumerate(pool.paths)}
        self.nameless = {i for path, i in self.number.items() if not can_be_written(path)}  # no table could hold them
        self.classes = list(dict.fromkeys([*pool.says, *(a.label for a in table.answers.values() if a.label)]))
        self.lottery = np.random.default_rng(seed).permutation(len(pool.paths)).tolist()
        self.queue: list[int] = []
        self.unsure = False  # the queue is of what the model is unsure of
        self.asked: dict[str, Asked] = {}
        self.undos: dict[str, list[dict[str, tuple[Answer, Answer]]]] = {}
        self.learnt: Learnt | None = None
        self.busy = False
        self.failed = ""
        self.since = 0  # answers since the last training began

    # ---- what a page is told --------------------------------------------------------------------------------------------

    def state(self, tab: str, again: int | None = None) -> dict[str, Any]:
        """All that a page shows; `again`: ask this picture, whatever was answered."""
        with self.lock:
            self.table.refresh()
            self.notice_classes()
            if again is not None:
                self.asked[tab] = Asked(self.checked(again), False, time.monotonic(), again=True)
            known = [(self.number[path], a) for path, a in self.table.answers.items() if path in self.number]
            notes = [a.note for _, a in known if not a.label]
            labels = [a.label for _, a in known if a.label]
            keys = keys_of(self.classes)
            asked = self.ask(tab)
            recent = [(i, a) for i, a in known if a != NOTHING]
            return {
                "folder": str(self.pool.folder),
                "total": len(self.pool.paths) - len(self.nameless),
                "named": len(labels),
                "none": notes.count(NONE),
                "skipped": notes.count(SKIPPED),
                "classes": [{"name": c, "count": labels.count(c), "key": keys.get(c)} for c in self.classes],
                "question": None if asked is None else self.question(asked),
                "ahead": self.queue[:3],
                "recent": [{"id": i, "label": a.label or a.note} for i, a in recent[-RECENT:]],
                "undo": bool(self.undos.get(tab)),
                "training": self.training(),
            }

    def question(self, asked: Asked) -> dict[str, Any]:
        answer = self.answer_of(asked.id)
        guess = None if asked.random else self.guess(asked.id)
        return {
            "id": asked.id,
            "path": self.pool.paths[asked.id],
            "label": answer.label or answer.note,
            "saw": answer.label,
            "why": asked.why,
            "guess": guess,
        }

    def guess(self, i: int) -> dict[str, Any] | None:
        p, classes = self.model()
        if p is None:
            return None
        order = np.argsort(-p[i], kind="stable")[:2]
        first, *second = [{"label": classes[k], "p": round(float(p[i, k]), 3)} for k in order.tolist()]
        return {**first, "second": second[0] if second else None}

    def model(self) -> tuple[Array | None, Sequence[str]]:
        """What was learnt here, or else in the run."""
        if self.learnt is not None:
            return self.learnt.p, self.learnt.classes
        return self.pool.p, self.pool.says

    def training(self) -> dict[str, Any]:
        learnt = self.learnt
        return {
            "on": self.train,
            "every": self.every,
            "since": min(self.since, self.every),
            "busy": self.busy,
            "failed": self.failed,
            "labels": learnt.labels if learnt else 0,
            "seconds": round(learnt.seconds, 2) if learnt else 0,
            "score": asdict(learnt.score) if learnt and learnt.score else None,
        }

    def alike(self, i: int) -> list[dict[str, Any]]:
        """The pictures nearest to one that nobody has named, the nearest first, and which of them may be of its class."""
        with self.lock:
            self.checked(i)
            near = self.pool.x @ self.pool.x[i]
            elsewhere = {asked.id for asked in self.asked.values()} | {i}
            found = [j for j in np.argsort(-near, kind="stable").tolist() if j not in elsewhere and self.free(j)]
            p, _ = self.model()
            row = None if p is None else int(p[i].argmax())
            if any(asked.id == i and asked.random for asked in self.asked.values()):  # marks would tell the guess
                return [{"id": j, "marked": False} for j in found[:ALIKES]]
            marked = [
                near[j] > CLOSE if p is None else p[j].argmax() == row and p[j].max() > SURE for j in found[:ALIKES]
            ]
            return [{"id": j, "marked": bool(m)} for j, m in zip(found, marked, strict=False)]

    # ---- what a page says -----------------------------------------------------------------------------------------------

    def answer(self, tab: str, saw: Mapping[int, str], label: str, note: str = "") -> dict[str, Any]:
        """A label for one picture, or for several at once (the first is the one that was asked), or, with no label, a note:
        NONE or SKIPPED. What somebody else has named otherwise meanwhile comes back as `conflicts`."""
        with self.lock:
            self.table.refresh()
            self.notice_classes()
            if not saw:
                raise UserError("an answer is about at least one picture: send its number")
            if not label and note not in (NONE, SKIPPED):
                raise UserError(f"an answer has a label, or the note {NONE!r} or {SKIPPED!r}")
            label = named(label, self.classes) if label else ""
            asked = self.asked.get(tab)
            given: dict[str, tuple[Answer, Answer]] = {}
            conflicts = []
            for place, (i, before) in enumerate(saw.items()):
                path = self.pool.paths[self.checked(i)]
                was = self.table.of(path)
                random = asked is not None and asked.id == i and asked.random
                kind = RANDOM if random else ALIKE if place else ""
                answer = Answer(label, kind if label else note)
                if was.label == label and (label or was.note == note != SKIPPED):
                    continue  # a second time: sent again after a broken connection, or by another tab
                if was.label != before:
                    conflicts.append({"id": i, "label": was.label})
                else:
                    given[path] = (was, answer)
            if given:
                self.table.put({path: answer for path, (_, answer) in given.items()})
                self.undos.setdefault(tab, []).append(given)
                del self.undos[tab][:-UNDOS]
                self.counted(len(given) if label else 0)
            if asked is not None and asked.id in saw:
                del self.asked[tab]
            self.notice_classes()
            return {**self.state(tab), "conflicts": conflicts}

    def undo(self, tab: str) -> dict[str, Any]:
        """The last answer of this tab taken back, as far as nobody has changed it since; its picture is asked again."""
        with self.lock:
            self.table.refresh()
            if self.undos.get(tab):
                given = self.undos[tab].pop()
                back = {path: was for path, (was, now) in given.items() if self.table.of(path) == now}
                if back:
                    first = next(iter(back))
                    random = given[first][1].note == RANDOM
                    self.table.put(back)
                    self.asked[tab] = Asked(self.number[first], random, time.monotonic())
                used = {a.label for a in self.table.answers.values()} | set(self.pool.says)
                self.classes = [c for c in self.classes if c in used]  # of a class that was only a slip
            return self.state(tab)

    # ---- what is asked --------------------------------------------------------------------------------------------------

    def ask(self, tab: str) -> Asked | None:
        now = time.monotonic()
        self.asked = {t: a for t, a in self.asked.items() if t == tab or now - a.at < GONE}
        mine = self.asked.get(tab)
        if mine is not None and (mine.again or self.free(mine.id)):
            mine.at = now
            return mine
        taken = {a.id for a in self.asked.values()}
        self.queue = [i for i in self.queue if self.free(i)]
        if len(self.queue) <= LOW:
            self.wake.set()
        random = self.train and self.due()
        waiting = (i for i in self.lottery if i not in taken and self.free(i))
        found = None if random else next((i for i in self.queue if i not in taken), None)
        why = "drawn at random" if random else "" if found is None else "unsure" if self.unsure else "typical"
        if found is None:
            found = next(waiting, None)
        again = found is None
        if again:  # all that is left was skipped once; what was skipped last comes last
            answers = self.table.answers.items()
            skipped = (self.number[path] for path, a in answers if a.note == SKIPPED and path in self.number)
            found = next((i for i in skipped if i not in taken), None)
        if found is None:
            self.asked.pop(tab, None)
            return None
        self.asked[tab] = Asked(found, random and not again, now, again, "" if again else why)
        return self.asked[tab]

    def due(self) -> bool:
        """Whether it is a random picture's turn."""
        named = [a for a in self.table.answers.values() if a.label and a.note != ALIKE]
        drawn = sum(a.note == RANDOM for a in named) + sum(a.random for a in self.asked.values())
        return EVERY_RANDOM * (drawn + 1) <= len(named) + 1

    def free(self, i: int) -> bool:
        return self.answer_of(i) == NOTHING and i not in self.nameless

    def answer_of(self, i: int) -> Answer:
        return self.table.of(self.pool.paths[i])

    def checked(self, i: int) -> int:
        if not 0 <= i < len(self.pool.paths):
            raise UserError(f"there is no picture number {i}: reload the page")
        return i

    def notice_classes(self) -> None:
        """Also those that another program has written into the table."""
        known = set(self.classes)
        for answer in self.table.answers.values():
            if answer.label and answer.label not in known:
                self.classes.append(answer.label)
                known.add(answer.label)

    # ---- what is learnt in the background -------------------------------------------------------------------------------

    def counted(self, answers: int) -> None:
        self.since += answers
        if self.train and self.since >= self.every:
            self.wake.set()

    def given(self) -> Given:
        with self.lock:
            found = [(i, a) for i, p in enumerate(self.pool.paths) if (a := self.table.of(p)).label]
            number = {name: k for k, name in enumerate(self.classes)}
            return Given(
                np.array([i for i, _ in found], dtype=np.int64),
                np.array([number[a.label] for _, a in found], dtype=np.int64),
                np.flatnonzero([a.note == RANDOM for _, a in found]),
                tuple(self.classes),
            )

    def taught(self, learnt: Learnt, answers: int) -> None:
        """Guesses and order are of it from now on; it knows so many of the answers that were counted."""
        with self.lock:
            self.learnt, self.since = learnt, max(0, self.since - answers)

    def wants(self) -> bool:
        """Whether a new queue should be chosen: the old one is short, or is of what an older model was unsure of."""
        with self.lock:
            settled = len(self.table.answers)
            return len(self.queue) <= LOW or (self.learnt is not None and not early(settled, len(self.classes)))

    def choose(self) -> None:
        """A new queue, of what is not named by now; takes a second or two, and holds nobody up."""
        given = self.given()
        p, _ = self.model()
        with self.lock:
            # what is of no class, or was skipped, counts as covered: nothing like it is asked for soon
            settled = np.array([i for i in range(len(self.pool.paths)) if not self.free(i)], dtype=np.int64)
        queue, unsure = wanted(self.pool.x, settled, p, len(given.classes), AHEAD, self.seed)
        with self.lock:
            self.queue, self.unsure = [i for i in queue.tolist() if self.free(i)], unsure
