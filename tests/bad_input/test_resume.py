"""Going on with a run whose checkpoint, settings, split, log or data do not fit or are damaged."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from halfseen.cli import main
from tests.bad_input.given import LAST, PIXELS, RUN, npz, scores
from tests.shell import Ended


def other_run(*more: str, data: str = "mine.npz") -> Callable[[Path], None]:
    def harm(run: Path) -> None:
        np.savez("three.npz", x=PIXELS, y=np.arange(12) % 3)
        main(["train", data, *RUN, "--quiet", "--out", "other", *more])
        shutil.copy("other" / LAST, run / LAST)
        shutil.rmtree("other")

    return harm


def rewrite(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def harm(run: Path) -> None:
        (run / name).write_text(json.dumps(change(json.loads((run / name).read_text()))))

    return harm


def spoil_state(**changes: Any) -> Callable[[Path], None]:
    def harm(run: Path) -> None:
        torch.save({**torch.load(run / LAST, weights_only=True), **changes}, run / LAST)

    return harm


DAMAGED = "last.pt is damaged and cannot be read; start again in another folder, or copy best.pt over it"
FOREIGN = "last.pt is of another run, not of fixmatch on small: put the right one back, or remove it"
HARMS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (lambda run: os.truncate(run / LAST, 5000), DAMAGED),
    "of zero bytes": (lambda run: os.truncate(run / LAST, 0), DAMAGED),
    "garbage": (lambda run: (run / LAST).write_bytes(b"garbage" * 1000), DAMAGED),
    "a pickle": (lambda run: (run / LAST).write_bytes(pickle.dumps({"step": 1})), DAMAGED),
    "a list": (lambda run: torch.save([1], run / LAST), "last.pt is no checkpoint of halfseen"),
    "an empty dict": (lambda run: torch.save({}, run / LAST), FOREIGN),
    "of another method": (other_run("--method", "dml"), FOREIGN),
    "of another net": (other_run("--set", "net.width=8"), FOREIGN),
    "of more classes": (other_run(data="three.npz"), FOREIGN),
    "of a longer run": (spoil_state(total=99), FOREIGN),
    "with a step that is none": (spoil_state(total="three"), FOREIGN),
    "of other data": (lambda run: npz(), "the images or labels of mine.npz have changed"),
    "without its data": (lambda run: Path("mine.npz").unlink(), "mine.npz is neither a folder"),
    "config cut": (lambda run: os.truncate(run / "config.json", 50), "config.json is damaged (line"),
    "config binary": (lambda run: (run / "config.json").write_bytes(b"\xff\xfe"), "config.json is damaged"),
    "config a list": (lambda run: (run / "config.json").write_text("[]"), "config.json is damaged or of another"),
    "config deep": (lambda run: (run / "config.json").write_text("[" * 100_000), "config.json is damaged"),
    "config empty": (lambda run: (run / "config.json").write_text("{}"), "config.json is damaged or of another"),
    "config steps": (rewrite("config.json", lambda c: {**c, "steps": "x"}), "is damaged or of another version"),
    "a setting's kind": (
        rewrite("config.json", lambda c: {**c, "settings": {**c["settings"], "seed": "x"}}),
        "config.json is damaged or of another version (seed is int, not 'x')",
    ),
    "an unknown setting": (
        rewrite("config.json", lambda c: {**c, "settings": {**c["settings"], "sede": 1}}),
        "is damaged or of another version",
    ),
    "split gone": (lambda run: (run / "split.json").unlink(), "has no split.json; restore the file, or start again"),
    "split cut": (lambda run: os.truncate(run / "split.json", 30), "split.json is damaged"),
    "split of no lists": (lambda run: (run / "split.json").write_text("{}"), "The saved split is damaged"),
    "split out of range": (rewrite("split.json", lambda s: {**s, "val": [99]}), "names images that are not there"),
    "split without labels": (rewrite("split.json", lambda s: {**s, "labelled": [39]}), "without a label"),
    "split twice": (rewrite("split.json", lambda s: {**s, "val": s["labelled"]}), "held out twice"),
}


@pytest.mark.parametrize("name", HARMS)
def test_resume_refuses_what_does_not_fit(name: str, unfinished: Path, cli: Callable[..., Ended]) -> None:
    harm, said = HARMS[name]
    harm(unfinished)
    before = {p: p.read_bytes() for p in unfinished.rglob("*") if p.is_file() and p.name != "log.jsonl"}
    ended = cli("train", "--out", "run", "--resume")
    assert ended.code == 2, ended.err
    last = ended.err.splitlines()[-1]
    assert last.startswith("halfseen: ")
    assert said in last
    assert not (unfinished / "metrics.json").exists()
    assert {p: p.read_bytes() for p in before} == before  # what is there is left for the user to mend


def test_resume_with_other_data_or_another_method_named(unfinished: Path, cli: Callable[..., Ended]) -> None:
    assert "run was trained on mine.npz, not digits" in cli("train", "digits", "--out", "run", "--resume").err
    said = cli("train", "--out", "run", "--resume", "--method", "dml").err
    assert "run was started with --method fixmatch, not dml" in said


def test_the_advice_to_go_on_from_the_best_is_good(finished: Path, unfinished: Path, cli: Callable[..., Ended]) -> None:
    (unfinished / LAST).write_bytes(b"")
    assert "copy best.pt over it to go on from there" in cli("train", "--out", "run", "--resume").err
    shutil.copy(unfinished / "checkpoints/best.pt", unfinished / LAST)
    assert cli("train", "--out", "run", "--resume").code == 0
    assert scores(unfinished) == scores(finished / "run")


def test_a_damaged_best_checkpoint(unfinished: Path, cli: Callable[..., Ended]) -> None:
    (unfinished / "checkpoints/best.pt").write_bytes(b"x")
    ended = cli("train", "--out", "run", "--resume")
    assert ended.code == 2
    assert "best.pt is damaged and cannot be read; start again in another folder" in ended.err


def test_a_run_without_a_checkpoint_says_that_it_begins_again(
    finished: Path, unfinished: Path, cli: Callable[..., Ended]
) -> None:
    (unfinished / LAST).unlink()
    ended = cli("train", "--out", "run", "--resume")
    assert "no checkpoint had been saved yet, so the run starts at its beginning" in ended.err
    assert scores(unfinished) == scores(finished / "run")


def test_a_damaged_log_stops_no_resume(finished: Path, unfinished: Path, cli: Callable[..., Ended]) -> None:
    (unfinished / LAST).unlink()  # so that all steps are logged again
    log = unfinished / "log.jsonl"
    whole = len(log.read_text().splitlines())
    log.write_bytes(b'\xff\xfe\x00\n{}\n[1]\n"x"\n{"step": "one"}\n' + b"[" * 100_000 + b'\n{"step": 3, "stage')
    assert cli("train", "--out", "run", "--resume").code == 0
    assert len(log.read_text().splitlines()) == whole
    assert scores(unfinished) == scores(finished / "run")
