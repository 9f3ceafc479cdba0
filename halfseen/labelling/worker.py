"""The thread that learns from the answers and chooses what is asked next, while somebody labels."""

import threading
import traceback

import numpy as np

from halfseen.labelling.desk import Desk
from halfseen.labelling.learner import Given, ground_of, learn
from halfseen.probes.graph import Ground
from halfseen.probes.rows import Array


class Worker(threading.Thread):
    """Sleeps until the desk wakes it; a second answer meanwhile wakes it once more."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(daemon=True, name="halfseen-label")
        self.desk = desk
        self.ground: Ground | None = None  # made at the first training: seconds, once
        self.ended = False
        desk.since = desk.every if desk.train else 0  # labels that were there already
        desk.wake.set()

    def run(self) -> None:
        while True:
            self.desk.wake.wait()
            self.desk.wake.clear()
            if self.ended:
                return
            self.turn()

    def turn(self) -> None:
        """Learn and choose, as far as either is wanted."""
        try:
            if self.desk.train and self.desk.since >= self.desk.every:
                self.train()
            if self.desk.wants():
                self.desk.choose()
            self.desk.failed = ""
        except Exception as e:  # the answers are safe; what went wrong is said on the page and in the terminal
            traceback.print_exc()
            self.desk.failed = f"{type(e).__name__}: {e}"
        finally:
            self.desk.busy = False

    def train(self) -> None:
        desk, since = self.desk, self.desk.since
        given = desk.given()
        if len(np.unique(given.y)) < 2:
            return
        desk.busy = True
        if self.ground is None:
            self.ground = ground_of(desk.pool.x)
        desk.taught(learn(self.ground, given, validation(desk, given)), since)

    def end(self) -> None:
        self.ended = True
        self.desk.wake.set()


def validation(desk: Desk, given: Given) -> tuple[Array, Array] | None:
    """Rows and numbers of classes of the folder's validation part, -1 for a class that no answer has named yet."""
    if desk.pool.val is None:
        return None
    number = {name: k for k, name in enumerate(given.classes)}
    x, labels = desk.pool.val
    return x, np.array([number.get(label, -1) for label in labels], dtype=np.int64)
