"""ZCA: against its closed form, in a view, and through a whole run: stopped, resumed, loaded, exported."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import halfseen
from halfseen.augment import Whitening, make_policy
from halfseen.augment.whitening import FLOOR
from halfseen.draws import Draws
from halfseen.errors import Stopped, UserError
from halfseen.machine.progress import Display

CPU = torch.device("cpu")
RUN = {"steps": 6, "batch": 8, "unlabelled_batch": 16, "threads": 1, "labels_per_class": 4, "report": False, "zca": True,
       "quiet": True, "method": "vat", "net": "small", "overrides": ("net.width=4", "method.eps=1")}  # fmt: skip


def smooth(n: int = 500, shape: tuple[int, ...] = (3, 5, 4), seed: int = 0) -> Tensor:
    """Images whose neighbouring pixels have much in common, and one pixel that is dead."""
    random = torch.Generator().manual_seed(seed)
    d = int(np.prod(shape))
    x = torch.randn(n, d, generator=random) @ torch.randn(d, d, generator=random)
    x = (128 + 12 * x).clamp(0, 255).byte()
    x[:, 7] = 31
    return x.view(n, *shape)


def test_training_images_come_out_uncorrelated_and_a_dead_pixel_stays_dead() -> None:
    x = smooth()
    whiten = Whitening.fit(x, torch.arange(500), CPU)
    white = whiten(x).flatten(1).double()
    expected = torch.eye(60, dtype=torch.float64)
    expected[7, 7] = 0
    torch.testing.assert_close(white.mean(0), torch.zeros(60, dtype=torch.float64), atol=1e-4, rtol=0)
    torch.testing.assert_close(white.T @ white / 500, expected, atol=2e-4, rtol=0)
    lit = x[:1].clone()
    lit.view(1, -1)[0, 7] = 255
    assert torch.allclose(whiten(lit), whiten(x[:1]), atol=1e-3), "what training never saw vary is not magnified"


def test_autocast_does_not_round_it() -> None:
    x = smooth()
    whiten = Whitening.fit(x, torch.arange(500), CPU)
    with torch.autocast("cpu", torch.bfloat16):
        found = whiten(x)
    assert torch.equal(found, whiten(x))


def test_it_is_the_reference_in_float64() -> None:
    """U diag(1 / sqrt S) U^T by singular values, as in takerum/vat_tf (which adds 1e-6 to each factor)."""
    x, ids = smooth(seed=1)[:, :1], torch.arange(40, 460)
    rows = x[ids].flatten(1).double().numpy() / 255
    rows = np.delete(rows, 7, axis=1)
    centred = rows - rows.mean(0)
    U, S, _ = np.linalg.svd(centred.T @ centred / len(rows))
    assert S.min() > FLOOR
    expected = centred @ (U @ np.diag(1 / np.sqrt(S)) @ U.T).T
    found = np.delete(Whitening.fit(x, ids, CPU)(x[ids]).flatten(1).numpy(), 7, axis=1)
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("name", ["none", "te", "cta"])
def test_a_view_is_whitened_after_it_is_augmented(name: str) -> None:
    x = smooth(64, (3, 16, 16))
    mean, std = torch.full((3,), 0.5), torch.full((3,), 0.25)

    def view(name: str, whitening: Whitening | None) -> Tensor:
        like = {"shape": (3, 16, 16), "flip": True, "mean": mean, "std": std, "draws": Draws.seeded(3)}
        return make_policy(name, whitening=whitening, **like)(x)

    whiten = Whitening.fit(x, torch.arange(64), CPU)
    plain = (view(name, None) * 0.25 + 0.5) * 255
    white = view(name, whiten)
    assert white.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(white, whiten(plain.round()), atol=1e-3, rtol=1e-3)
    noise = view(f"{name}+noise", whiten) - white
    assert noise.std().item() == pytest.approx(0.15, abs=0.01)


def test_a_run_is_whitened_by_what_it_learns_from_and_loads_and_exports(tmp_path: Path) -> None:
    result = halfseen.train("digits", out=tmp_path / "run", val=1, extra_val_per_class=5, **RUN)
    model = halfseen.load(tmp_path / "run")
    with np.load(tmp_path / "run" / "whitening.npz") as stored:
        kept = {k: torch.from_numpy(v) for k, v in stored.items()}
    assert torch.equal(model.facts.whitening.matrix, kept["matrix"])
    assert torch.equal(model.facts.whitening.mean, kept["mean"])
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    data = halfseen.open_data("digits")
    learnt = torch.tensor(sorted({*split["labelled"], *split["unlabelled"]}))
    assert len(learnt) + len(split["val"]) == len(data.x)
    torch.testing.assert_close(kept["mean"], data.x[learnt].flatten(1).float().mean(0) / 255)
    right = (model.predict_proba(data.test_x).argmax(1) == data.test_y.numpy()).mean()
    assert right == pytest.approx(result.metrics["headline"]["test"]["accuracy"])
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from halfseen.commands.export import export

    export(tmp_path / "run", tmp_path / "it.onnx")
    np.testing.assert_allclose(
        halfseen.load(tmp_path / "it.onnx").predict_proba(data.test_x[:50]),
        model.predict_proba(data.test_x[:50]),
        atol=1e-5,
    )


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halfseen.train("digits", out=tmp_path / "whole", **RUN)

    def press(self: Display, step: int, steps: int, stage: str) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Display, "at", press)
    with pytest.raises(Stopped):
        halfseen.train("digits", out=tmp_path / "parts", **RUN)
    monkeypatch.undo()

    def refuse(*_: object) -> Whitening:
        raise AssertionError("it was measured again")

    monkeypatch.setattr(Whitening, "fit", refuse)
    halfseen.train(out=tmp_path / "parts", resume=True)
    whole, parts = (halfseen.load(tmp_path / name).net.state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[k], parts[k]) for k in whole)


def test_sentences(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give one of them"):
        halfseen.train("digits", out=tmp_path / "a", per_image=True, **RUN)
    with pytest.raises(UserError, match="vectors of 2; leave it out"):
        halfseen.train("two-spirals", out=tmp_path / "a", **{**RUN, "net": "mlp", "overrides": ()})
    big = {"x": np.zeros((4, 40, 40, 3), dtype=np.uint8), "y": np.array([0, 1, 0, 1])}
    with pytest.raises(UserError, match="images of 4800; leave it out, or give a smaller --size"):
        halfseen.train(big, out=tmp_path / "a", **{**RUN, "labels_per_class": 1})
    assert not (tmp_path / "a").exists()


def test_what_was_lost_is_named(tmp_path: Path) -> None:
    halfseen.train("digits", out=tmp_path / "run", **RUN)
    (tmp_path / "run" / "metrics.json").unlink()
    (tmp_path / "run" / "whitening.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match=r"whitening.npz is missing or damaged; restore the file"):
        halfseen.train(out=tmp_path / "run", resume=True)
    np.savez_compressed(tmp_path / "run" / "whitening.npz", mean=np.arange(64.0), matrix=np.random.rand(64, 64))
    whole = bytearray((tmp_path / "run" / "whitening.npz").read_bytes())
    whole[60:120] = bytes(60)  # zlib's own error, where the archive's directory is sound
    (tmp_path / "run" / "whitening.npz").write_bytes(whole)
    with pytest.raises(UserError, match=r"whitening.npz is missing or damaged; restore the file"):
        halfseen.train(out=tmp_path / "run", resume=True)
    np.savez(tmp_path / "run" / "whitening.npz", mean=np.zeros(3), matrix=np.zeros((3, 3)))
    with pytest.raises(UserError, match="images of 3 values, not 64"):
        halfseen.train(out=tmp_path / "run", resume=True)
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "run" / "model" / "model.safetensors")
    del weights["whitening.matrix"]
    save_file(weights, tmp_path / "run" / "model" / "model.safetensors")
    with pytest.raises(UserError, match="is damaged or of another version"):
        halfseen.load(tmp_path / "run")
