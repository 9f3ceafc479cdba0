"""Stages with batches of their own, passes over selected images, preferred net options, memories with equal ids."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from halfseen.errors import UserError
from halfseen.parts.memory import Memory, first_of_equal
from tests.toy import make_trainer


def test_a_stage_may_have_batches_of_its_own() -> None:
    trainer = make_trainer("supervised", batch=(8, 16))
    stage = trainer.stages[0]
    trainer.stages = [replace(stage, batch=(4, 6), epoch="unlabeled_pass")]
    batch = trainer.data.batch(trainer.streams(), 0)
    assert (len(batch.x), len(batch.u)) == (4, 6)
    assert trainer.clock().epoch_steps == len(trainer.data.unlabelled) // 6
    trainer.stages = [stage]
    batch = trainer.data.batch(trainer.streams(), 0)
    assert (len(batch.x), len(batch.u)) == (8, 16)


def test_batches_that_processes_cannot_share_are_refused() -> None:
    settings = {"supervised_batch": 41}
    make_trainer("r2d2", settings=settings)
    with pytest.raises(UserError, match=r"stage 'supervised' have 73 rows, which 2 processes cannot share"):
        make_trainer("r2d2", settings=settings, rank=0, world=2)


def test_a_selected_pass_hands_out_labelled_and_selected_images_once_each_in_equal_shares() -> None:
    trainer = make_trainer("r2d2", batch=(8, 16))
    data, chosen = trainer.data, trainer.data.unlabelled[::3]
    trainer.stage_index, trainer.selected = 2, chosen
    steps = trainer.clock().epoch_steps
    assert steps == (len(data.labelled) + len(chosen)) // 24
    seen: Counter[int] = Counter()
    shares = [make_trainer("r2d2", batch=(8, 16), rank=r, world=2).data for r in (0, 1)]
    for step in range(steps):
        whole = data.batch(trainer.streams(), step)
        assert (len(whole.x), len(whole.u), len(whole.y)) == (0, 24, 0)
        parts = [d.batch(trainer.streams(), step).u_ids for d in shares]
        assert [len(p) for p in parts] == [12, 12]
        assert torch.equal(torch.stack(parts, 1).flatten(), whole.u_ids)
        seen.update(whole.u_ids.tolist())
    assert set(seen.values()) == {1}
    assert set(seen) <= {*data.labelled.tolist(), *chosen.tolist()}
    assert set(seen) & set(data.labelled.tolist())


def test_preferred_options_give_way() -> None:
    def net(**more):
        return make_trainer("supervised", data="digits", net="small", **more).method.task.make_net

    assert net()(prefer={"dropout": 0.2, "heads": 2}).dropout.p == 0.2  # `small` has no second head: not needed
    assert net(net_options={"dropout": 0.1})(prefer={"dropout": 0.2}).dropout.p == 0.1
    with pytest.raises(UserError, match="no option 'heads'"):
        net()(heads=2)


def test_of_equal_ids_the_first_is_written() -> None:
    ids = torch.tensor([7, 3, 7, 7, 0, 3])
    assert first_of_equal(ids).tolist() == [0, 1, 0, 0, 4, 1]
    many = torch.randint(0, 50, (400,), generator=torch.Generator().manual_seed(0))
    firsts: dict[int, int] = {}
    want = [firsts.setdefault(v, i) for i, v in enumerate(many.tolist())]
    assert first_of_equal(many).tolist() == want
    assert first_of_equal(many[:0]).tolist() == []
    memory = Memory(8, 2)
    memory.write(ids, torch.arange(12.0).view(6, 2))
    assert memory[torch.tensor([0, 3, 7, 1])].tolist() == [[8, 9], [2, 3], [0, 1], [0, 0]]
