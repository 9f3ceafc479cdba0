"""The loop: stages, several updates, memories, epochs, checkpoints, signals, and losses that are not finite."""

import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from halfseen.errors import NotFiniteError, Stopped, UserError
from halfseen.method import Losses, Moment, Plan, Unlabelled
from halfseen.training import checkpoint
from halfseen.training.trainer import Pace, Tally, Trainer, part_of
from tests.toy import assert_same, make_trainer, stop_after

TWO_STAGES = str(Path(__file__).parents[1] / "methods" / "two_stages.py")


def toy(**more) -> Trainer:
    return make_trainer(TWO_STAGES, batch=(8, 64), labels_per_class=10, **more)


def test_stages_follow_one_another_and_freeze_what_they_do_not_name() -> None:
    trainer = toy(steps=40)
    seen = []
    trainer.watcher.at = lambda step, steps, stage: seen.append((stage, trainer.method.free.requires_grad))
    trainer.run()
    assert seen == [("labels", False)] * 20 + [("both", True)] * 20
    assert trainer.done
    assert trainer.total == 40


def test_reprediction_happens_on_entry_and_after_every_epoch_but_the_last() -> None:
    trainer = toy(steps=200)
    epoch = trainer.plan.epoch_steps("unlabeled_pass")
    assert epoch == len(trainer.data.unlabelled) // 64
    trainer.run()
    assert trainer.method.predictions == 1 + math.ceil(100 / epoch) - 1


def test_moments_come_after_their_steps_without_gradient() -> None:
    trainer = toy(steps=12)
    seen = []

    def note(clock, data) -> None:
        assert not torch.is_grad_enabled()
        assert data is trainer.data
        trainer.method.eval()
        seen.append(clock.step + 1)

    trainer.stages[1] = replace(trainer.stages[1], moments=(Moment(lambda done: done in (2, 5, 6), note),))
    trainer.run()
    assert seen == [2, 5, 6]
    assert trainer.method.training


def test_an_unlabelled_pass_visits_each_image_at_most_once() -> None:
    trainer = toy(steps=2 * (400 // 64))
    epoch = trainer.plan.epoch_steps("unlabeled_pass")
    trainer = toy(steps=2 * epoch)
    trainer.run()
    visits = trainer.method.visits.values[trainer.data.unlabelled]
    assert visits.max() == 1
    assert visits.sum() == epoch * 64


def test_several_yields_are_several_updates_of_the_named_optimisers() -> None:
    trainer = toy(steps=10)
    trainer.stage_index = 1
    trainer.enter()
    calls = []
    for name, optimizer in trainer.optimizers.items():
        optimizer.register_step_pre_hook(lambda *_, name=name: calls.append(name))
    streams = trainer.data.streams(trainer.plan, 5, 0, None)
    trainer.train_step(trainer.data.batch(streams, 0), trainer.clock())
    assert calls == ["net", "net", "free"]


def test_the_free_logits_move_by_their_own_rate_and_gradient() -> None:
    """A parameter row is a per-sample state with a learning rate: d KL(q||p)/d free, nothing on other rows."""
    trainer = toy(steps=10, settings={"rate": 3.0})
    trainer.stage_index = 1
    trainer.enter()
    streams = trainer.data.streams(trainer.plan, 5, 0, None)
    batch = trainer.data.batch(streams, 0)
    before = trainer.method.free.detach().clone()
    trainer.train_step(batch, trainer.clock())
    moved = (trainer.method.free.detach() - before).abs().sum(1) > 0
    assert set(moved.nonzero().flatten().tolist()) <= set(batch.u_ids.tolist())
    assert moved.sum() > len(batch.u_ids) // 2
    torch.testing.assert_close(
        (trainer.method.free.detach() - before).sum(1), torch.zeros(len(before)), atol=1e-5, rtol=0
    )


def test_gradients_are_clipped() -> None:
    trainer = toy(steps=10, settings={"clip": 1e-3})
    trainer.prepare()
    batch = trainer.data.batch(trainer.data.streams(trainer.plan, 5, 0, None), 0)
    trainer.train_step(batch, trainer.clock())
    norm = torch.stack([p.grad.norm() for p in trainer.method.net.parameters()]).norm()
    assert norm <= 1e-3 * 1.001


@pytest.mark.parametrize("stop", [3, 20, 33, 39])
def test_resume_inside_a_stage_and_across_its_boundary(stop: int, tmp_path: Path) -> None:
    """Also with batch norm and dropout, validation and the best checkpoint."""
    more = {"data": "digits", "net": "small", "net_options": {"dropout": 0.2}, "val": 2, "policies": ("fm", "fm")}
    straight = toy(steps=40, folder=tmp_path / "a", **more)
    straight.run()
    straight.save("last", 0.0)
    broken = toy(steps=40, folder=tmp_path / "b", **more)
    stop_after(broken, stop)
    state = checkpoint.load(tmp_path / "b" / "checkpoints" / "last.pt")
    torch.rand(7)  # a new process stands elsewhere in torch's random numbers
    resumed = toy(steps=40, folder=tmp_path / "b", **more)
    resumed.load(state)
    assert resumed.total == stop
    resumed.run()
    resumed.save("last", 0.0)
    for which in ("last", "best"):
        one, two = (checkpoint.load(tmp_path / f / "checkpoints" / f"{which}.pt") for f in "ab")
        assert_same(one, two)
    assert straight.history == resumed.history
    assert straight.watcher.log == broken.watcher.log + resumed.watcher.log


def test_the_best_checkpoint_is_chosen_on_validation_only(tmp_path: Path) -> None:
    trainer = toy(steps=40, folder=tmp_path, val=2, data="digits", policies=("fm", "fm"))
    trainer.judge.parts["test"] = ()  # may not be looked at
    trainer.run()
    accuracies = [row["predictors"]["net"]["val"]["accuracy"] for row in trainer.history]
    assert all("test" not in row["predictors"]["net"] for row in trainer.history)
    assert trainer.best["accuracy"] == max(accuracies)
    last_best = max(i for i, a in enumerate(accuracies) if a == max(accuracies))
    assert trainer.best["step"] == trainer.history[last_best]["step"]


def test_a_loss_that_is_not_finite_names_step_term_and_checkpoint(tmp_path: Path) -> None:
    trainer = toy(steps=40, settings={"poison": 7}, folder=tmp_path, pace=Pace(10, 20, 0.0))
    with pytest.raises(NotFiniteError, match=r"L_2 is not finite since step 27 of 40.*last\.pt"):
        trainer.run()
    state = checkpoint.load(tmp_path / "checkpoints" / "last.pt")
    assert state["total"] <= 27
    assert all(torch.isfinite(v).all() for v in state["method"].values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops(number: signal.Signals, tmp_path: Path) -> None:
    trainer = toy(steps=40, folder=tmp_path)
    trainer.watcher.at = lambda step, steps, stage: os.kill(os.getpid(), number) if step == 12 else None
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped:
        trainer.run()
    assert stopped.value.signum == number
    assert checkpoint.load(tmp_path / "checkpoints" / "last.pt")["total"] == 12
    assert signal.getsignal(number) == before


def test_the_tally_means_what_the_steps_reported() -> None:
    tally = Tally()
    for step, (a, b) in enumerate([(1.0, 4.0), (3.0, 8.0)]):
        tally.add_losses(Losses({"a": torch.tensor(a)}, {"b": torch.tensor(b)}), step)
    target = torch.eye(4)
    negatives = torch.tensor([[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    kept = torch.tensor([True, True, False, True])
    truth = torch.tensor([0, 1, 0, -1])  # row 0 right, row 1 right, row 2 not kept, row 3 unknown
    tally.add_scores(Unlabelled(torch.zeros(4, 4), target, kept, negatives), truth)
    means, bad = tally.read()
    assert bad is None
    assert means == pytest.approx(
        {
            "a": 2.0,
            "b": 6.0,
            "mask_rate": 0.75,
            "pseudo_accuracy": 1.0,
            "negative_error": 1 / 4,
            "rarest": 1.0,
            "rarest_class": 0.0,
        }
    )
    assert tally.read() == ({}, None)


def test_epochs_mean_what_the_spec_says() -> None:
    plan = Plan(1000, labelled=4000, unlabelled=46000, batch=(128, 384))
    assert plan.epoch_steps("unlabeled_pass") == 119
    assert plan.epoch_steps("labeled_pass") == 31
    assert plan.epoch_steps("mixed_pass") == 97
    assert plan.epoch_steps("selected_pass", 1000) == 9
    assert plan.epoch_steps(1024) == 1024
    assert Plan(10, 20, 4000, (64, 448)).epoch_steps("labeled_pass") == 1


def test_a_damaged_checkpoint_is_a_sentence(tmp_path: Path) -> None:
    trainer = toy(steps=10, folder=tmp_path)
    trainer.run()
    trainer.save("last", 0.0)
    path = tmp_path / "checkpoints" / "last.pt"
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"not a checkpoint"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            checkpoint.load(path)
    with pytest.raises(UserError, match="no checkpoint"):
        checkpoint.load(tmp_path / "elsewhere.pt")


def test_no_half_written_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path / "x.pt", {"a": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="could not be written"):
        checkpoint.save(tmp_path / "x.pt", {"a": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]
    assert checkpoint.load(tmp_path / "x.pt") == {"a": 1}


def test_the_part_of_a_path_is_a_network_or_a_parameter_also_in_a_list() -> None:
    pair = torch.nn.ModuleList(toy(steps=4).method for _ in range(2))
    both = torch.nn.ModuleDict({"hosts": pair})
    assert part_of(both, "hosts.1.free") == [pair[1].free]
    found = part_of(both, "hosts.0.net")
    assert len(found) == len(list(pair[0].net.parameters()))
    assert all(a is b for a, b in zip(found, pair[0].net.parameters(), strict=True))
