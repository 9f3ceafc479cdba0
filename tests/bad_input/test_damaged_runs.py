"""Checkpoints, settings, splits, logs and models that have been damaged: a valid result or a UserError.

Nothing else may come out: no other exception, no file beside them, and no more memory than the file could honestly need.
"""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given

import halfseen
from halfseen.cli import main
from halfseen.data import Split, open_data
from halfseen.errors import UserError
from halfseen.model import load_model
from halfseen.model.facts import Facts
from halfseen.run.beginning import began_with
from halfseen.run.folder import Folder
from halfseen.training import checkpoint
from tests.bad_input.damage import FEW, MANY, ROOM, harms, peak, survives


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("trained")
    x = np.random.default_rng(0).integers(0, 256, (24, 8, 8), dtype=np.uint8)
    np.savez(home / "mine.npz", x=x, y=np.r_[np.arange(20) % 2, -np.ones(4, int)])
    threads = torch.get_num_threads()
    width = ["--set", "net.width=4"]
    quick = ["--steps", "2", "--threads", "1", "--batch", "4", "--unlabelled-batch", "4", "--net", "small", *width]
    main(["train", str(home / "mine.npz"), "--out", str(home / "run"), "--no-report", "--quiet", *quick])
    torch.set_num_threads(threads)
    return home / "run"


@pytest.fixture
def run(trained: Path, here: Path) -> Path:
    shutil.copytree(trained, here / "run")
    return here / "run"


@MANY
@given(harms())
@pytest.mark.filterwarnings("ignore")
def test_checkpoints(trained: Path, here: Path, harm: Callable[[bytes], bytes]) -> None:
    before = peak()
    (here / "last.pt").write_bytes(harm((trained / "checkpoints" / "last.pt").read_bytes()))
    state = survives(lambda: checkpoint.load(here / "last.pt"))
    assert state is None or isinstance(state, dict)
    assert peak() - before < ROOM


@pytest.mark.parametrize("name", ["config.json", "split.json"])
@MANY
@given(harm=harms())
def test_files_that_a_resumed_run_reads(trained: Path, run: Path, name: str, harm: Callable[[bytes], bytes]) -> None:
    (run / name).write_bytes(harm((trained / name).read_bytes()))
    if name == "config.json":
        found = survives(lambda: began_with(Folder.open(run)))
        assert found is None or found[0]["steps"] >= 0
    else:
        labels = open_data(trained.parent / "mine.npz").y
        split = survives(lambda: Split.from_json(Folder.open(run).read(name)).checked(labels))
        assert split is None or (labels[split.labelled] >= 0).all()


@FEW
@given(harms())
def test_logs(trained: Path, run: Path, harm: Callable[[bytes], bytes]) -> None:
    (run / "log.jsonl").write_bytes(harm((trained / "log.jsonl").read_bytes()))
    Folder.open(run).forget_after(1)
    assert all(row["step"] <= 1 for row in Folder.open(run).rows())


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
@MANY
@given(harm=harms())
@pytest.mark.filterwarnings("ignore")
def test_models(trained: Path, run: Path, name: str, harm: Callable[[bytes], bytes]) -> None:
    before = peak()
    (run / "model" / name).write_bytes(harm((trained / "model" / name).read_bytes()))
    model = survives(lambda: load_model(run))
    if model is not None:
        survives(lambda: model.probabilities(torch.zeros(2, *model.facts.shape, dtype=torch.uint8)))
    assert peak() - before < ROOM


def facts_of(run: Path, **changes: Any) -> None:
    about = json.loads((run / "model/model.json").read_text())
    (run / "model/model.json").write_text(json.dumps({**about, "facts": {**about["facts"], **changes}}))


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": "ab"},
        {"classes": [1, 2]},
        {"shape": [1, "8", 8]},
        {"shape": [1, 8]},
        {"shape": 8},
        {"mean": [0.5, 0.5]},
        {"std": [None]},
        {"flip": 1},
        {"samples": "many"},
        {"colour": "red"},
    ],
    ids=str,
)
def test_facts_of_a_model_that_cannot_be(changes: dict[str, Any], run: Path) -> None:
    halfseen.load(run)
    facts_of(run, **changes)
    with pytest.raises(UserError):
        halfseen.load(run)


@pytest.mark.parametrize("facts", [None, [], "facts", 3], ids=repr)
def test_facts_of_a_model_that_are_none(facts: Any) -> None:
    with pytest.raises(UserError, match="facts is dict, not"):
        Facts.from_json(facts)


def test_a_weights_file_that_claims_to_be_huge(run: Path) -> None:
    weights = run / "model/model.safetensors"
    raw = weights.read_bytes()
    before = peak()
    for claim in (2**63 - 1, 2**40, 10**8, len(raw)):
        weights.write_bytes(struct.pack("<Q", claim) + raw[8:])
        with pytest.raises(UserError, match="damaged or of another version"):
            load_model(run)
    assert peak() - before < ROOM
