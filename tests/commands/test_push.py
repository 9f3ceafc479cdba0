"""A model to the hub and back: a stub on loopback; the card; and what is refused."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import halfseen
from halfseen.cli import main
from tests.commands.hub_stub import Hub, serving

WORDS = ["train", "digits", "--num-labels", "20", "--steps", "4", "--batch", "8", "--unlabelled-batch", "16"]
WORDS += ["--set", "net.width=8", "--val", "none", "--threads", "1", "--no-report", "--quiet", "--out"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    threads, out = torch.get_num_threads(), tmp_path_factory.mktemp("push") / "run"
    main([*WORDS, str(out)])
    torch.set_num_threads(threads)
    return out


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    with serving() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        yield found


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_what_is_pushed_is_loaded_again(run: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    main(["push", str(run), "me/digits-20", "--private"])
    assert f'{hub.address}/me/digits-20; load it with halfseen.load("hf:me/digits-20")' in capsys.readouterr().err
    assert hub.created[0]["name"] == "me/digits-20"
    assert hub.created[0].get("private") or hub.created[0].get("visibility") == "private"
    assert set(hub.repos["me/digits-20"]) == {
        "README.md",
        "metrics.json",
        "model/model.json",
        "model/model.safetensors",
    }
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    there, here = halfseen.load("hf:me/digits-20"), halfseen.load(run)
    assert np.array_equal(there.predict_proba(images), here.predict_proba(images))
    hub.refuses = 503  # what was fetched once is there without the hub
    assert halfseen.load("hf:me/digits-20").classes == here.classes


def test_predict_takes_it_too(run: Path, hub: Hub, tmp_path: Path) -> None:
    main(["push", str(run), "me/digits"])
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 8, 8), dtype=np.uint8))
    main(["predict", "hf:me/digits", str(tmp_path / "x.npz"), "--out", str(tmp_path / "p.csv")])
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 4


def test_the_card_says_what_the_run_says(run: Path, hub: Hub) -> None:
    main(["push", str(run), "me/digits"])
    card = hub.repos["me/digits"]["README.md"].decode()
    head = json.loads((run / "metrics.json").read_text())["headline"]["test"]
    assert card.startswith("---\nlibrary_name: halfseen\npipeline_tag: image-classification\n")
    assert f"| {head['n']} test | {100 * head['accuracy']:.2f}% | {100 * head['interval'][0]:.2f}% to " in card
    assert "20 labelled images and 1,4" in card
    assert 'halfseen.load("hf:me/digits")' in card
    assert "`fixmatch`, `net.width=8`" in card
    assert "Recall of the classes that it knows least: `" in card
    assert "\n\n\n" not in card


def test_folders_above_the_data_stay_here(run: Path, hub: Hub, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    for file in ("config.json", "metrics.json", "model/model.json"):
        told = json.loads((copy / file).read_text())
        (copy / file).write_text(json.dumps({**told, "data": "/home/alice/secret/flowers"}))
    main(["push", str(copy), "me/flowers"])
    sent = b"".join(hub.repos["me/flowers"].values())
    assert b"flowers" in sent
    assert b"alice" not in sent
    assert b"secret" not in sent


def test_what_cannot_be_pushed(
    run: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "'digits' is no name of a model on the hub; write it like user/name" in refused(
        ["push", str(run), "digits"], capsys
    )
    assert "is not the folder of a run" in refused(["push", str(tmp_path), "me/x"], capsys)
    begun = tmp_path / "begun"
    shutil.copytree(run, begun)
    (begun / "metrics.json").unlink()
    assert "the run has not finished" in refused(["push", str(begun), "me/x"], capsys)
    hub.refuses = 401
    assert "hf:me/x may not be written with the token at hand; run `hf auth login`" in refused(
        ["push", str(run), "me/x"], capsys
    )
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 does not answer, so hf:me/x could not be written" in refused(
        ["push", str(run), "me/x"], capsys
    )


def test_what_cannot_be_loaded(run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(halfseen.UserError, match="there is no hf:me/nothing, or you may not read it"):
        halfseen.load("hf:me/nothing")
    with pytest.raises(halfseen.UserError, match="is no name of a model"):
        halfseen.load("hf:nothing")
    hub.repos["me/other"] = {"README.md": b"hello"}
    with pytest.raises(halfseen.UserError, match="hf:me/other holds no model of halfseen"):
        halfseen.load("hf:me/other")
    about = json.loads((run / "model" / "model.json").read_text())
    hub.repos["me/code"] = {
        "model/model.json": json.dumps({**about, "method": "evil.py"}).encode(),
        "method.py": b"1/0",
    }
    with pytest.raises(halfseen.UserError, match=r"needs code of its own \('evil.py'\), which is not run from the hub"):
        halfseen.load("hf:me/code")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(halfseen.UserError, match="does not answer, so hf:me/away could not be read"):
        halfseen.load("hf:me/away")


def test_no_client_is_a_sentence(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(halfseen.UserError, match=r"pip install 'halfseen\[hub\]'"):
        halfseen.load("hf:me/x")


def test_a_model_says_what_it_is(run: Path) -> None:
    said = repr(halfseen.load(run))
    assert said.startswith(
        "<halfseen model: 8x8 pictures of 1 channel to 10 classes (0, 1, 2, 3, ...); fixmatch with small"
    )
    assert said.endswith(", learned from 20 labels of digits; on cpu>")
