"""The time left is planned again while a run goes on, by a clock of the tests' own."""

import re

import pytest

from halfseen.machine import progress
from halfseen.machine.progress import Display


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def go(display: Display, clock: Clock, begin: int, end: int, each: float, steps: int = 1000) -> None:
    for step in range(begin + 1, end + 1):
        clock.now += each
        display.at(step, steps, "train")


def test_the_time_left_follows_the_pace_of_the_last_half_minute(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    display = Display()
    display.start(0, 1000)
    go(display, clock, 0, 200, 0.2)  # 40 s
    assert told(lines(capsys)[-1]) == pytest.approx(0.2, rel=0.02)
    go(display, clock, 200, 260, 1.0)  # the machine got busy: a minute later the old pace is forgotten
    assert told(lines(capsys)[-1]) == pytest.approx(1.0, rel=0.02)


def told(line: str) -> float:
    """Seconds a step, by what a line says of the rest."""
    step, steps, minutes, seconds = map(int, re.findall(r"step (\d+)/(\d+)  (\d+):(\d+) left", line)[0])
    return (60 * minutes + seconds) / (steps - step)


def test_minutes_that_will_not_do_are_said_once(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    display.start(0, 1000, seconds=300)
    go(display, clock, 0, 40, 0.6)  # 24 s: too soon to tell
    assert not any("slower" in line for line in lines(capsys))
    go(display, clock, 40, 300, 0.6)
    said = [line for line in lines(capsys) if "slower" in line]
    assert len(said) == 1
    assert "at this pace 10:00 minutes in all, and 5:00 were asked for" in said[0]


@pytest.mark.parametrize("each", [0.25, 0.3, 0.36])
def test_minutes_that_do_are_not_mentioned(each: float, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    display.start(0, 1000, seconds=300)
    go(display, clock, 0, 1000, each)
    assert not any("slower" in line for line in lines(capsys))
