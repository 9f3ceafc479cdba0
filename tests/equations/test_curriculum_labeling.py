"""Curriculum Labeling: who is chosen in each round, class weights, the mixed loss, the average, fresh networks."""

import pytest
import torch
import torch.nn.functional as F

from halfseen.augment.mix import mix_partners, mixing_weights
from halfseen.errors import UserError
from halfseen.method import Batch, Clock, Plan
from halfseen.methods.curriculum_labeling import Config, CurriculumLabeling
from tests.equations.rounds import Pool
from tests.equations.tiny import batch, step, task


def entered(t: int, **settings) -> tuple[CurriculumLabeling, torch.Tensor]:
    """A method that entered round t, and what its average had said of the pool."""
    method = CurriculumLabeling(Config(**settings), task())
    p = method.average(Pool().x).softmax(1).detach()
    with torch.no_grad():
        method.begin_round(Pool(), t)
    return method, p


@pytest.mark.parametrize(("t", "count"), [(1, 7), (2, 13), (5, 32)])
def test_a_round_chooses_the_share_of_the_pool_that_it_is_most_sure_of(t: int, count: int) -> None:
    method, p = entered(t)
    best = p[8:].max(1).values.argsort(descending=True)[:count] + 8
    assert set(method.chosen.tolist()) == set(best.tolist())
    assert torch.equal(method.label[method.chosen], p[method.chosen].argmax(1))
    assert torch.equal(method.label.values[:8], Pool().y[:8])
    assert method.given.values.sum() == 8


def test_class_weights_are_those_of_the_round() -> None:
    method, _ = entered(2)
    y = torch.cat([Pool().y[:8], method.label[method.chosen]])
    n = torch.bincount(y, minlength=4).float()
    torch.testing.assert_close(method.class_weight, (n.sum() - n) / n.clamp_min(1))
    assert (entered(2, class_weights=False)[0].class_weight == 1).all()


def test_a_round_begins_with_a_fresh_network() -> None:
    method = CurriculumLabeling(Config(), task())
    old = [p.clone() for p in method.net.parameters()]
    with torch.no_grad():
        method.begin_round(Pool(), 1)
    for a, b in zip(old, method.net.parameters(), strict=True):
        assert not torch.equal(a, b)


def test_the_mixed_loss_against_a_loop() -> None:
    method = CurriculumLabeling(Config(seen="strong"), task())
    method.class_weight.copy_(torch.tensor([0.5, 1.0, 2.0, 3.0]))
    b = batch(U=12)
    method.label.values.copy_(torch.arange(40) % 4)
    (losses,) = step(method, b)
    method.task.draws.generator.manual_seed(0)
    lam = mixing_weights(method.task.draws, 1.0, 12, per_image=False)
    partner = mix_partners(method.task.draws, 12)
    assert len(lam.unique()) == 1
    x, up, down = b.u + 0.1, 0.0, 0.0  # the strong view of a tiny task
    for i in range(12):
        k, j = float(lam[i]), int(partner[i])
        log_p = method.net((k * x[i] + (1 - k) * x[j]).unsqueeze(0)).log_softmax(1)[0]
        for row, share in ((i, k), (j, 1 - k)):
            y = int(b.u_ids[row]) % 4
            w = share * method.class_weight[y].item()
            up, down = up - w * log_p[y].item(), down + w
    assert losses.terms["CE"].item() == pytest.approx(up / down, rel=1e-6)


def test_without_mixup_and_weights_it_is_cross_entropy() -> None:
    method, b = CurriculumLabeling(Config(mixup=0.0), task()), batch()
    method.label.values.copy_(torch.arange(40) % 4)
    expected = F.cross_entropy(method.net(b.u), b.u_ids % 4).item()  # seen weakly
    assert step(method, b)[0].terms["CE"].item() == pytest.approx(expected)
    first = method.supervised(b, Clock(0, 100, 10))
    assert first.terms["CE"].item() == pytest.approx(F.cross_entropy(method.net(b.x), b.y).item())


def test_the_average_is_the_mean_of_networks_at_equal_distances() -> None:
    method = CurriculumLabeling(Config(swa_from=0.5, swa_every=0.1), task())
    taken = []
    for s in range(40):
        with torch.no_grad():
            for p in method.net.parameters():
                p.add_(0.1 * (s + 1))
        method.after_step(Clock(s, 40, 10))
        now = next(method.net.parameters()).clone()
        if s < 20:
            assert torch.equal(next(method.average.parameters()), now)
        elif (s - 20) % 4 == 0:
            taken.append(now)
    assert len(taken) == 5
    torch.testing.assert_close(next(method.average.parameters()), torch.stack(taken).mean(0))


def test_the_plan() -> None:
    stages = CurriculumLabeling(Config(rounds=3), task()).stages(Plan(100, 8, 32, (4, 4)))
    assert [s.name for s in stages] == ["round 0", "round 1", "round 2", "round 3"]
    assert sum(s.steps for s in stages) == 100
    assert [s.epoch for s in stages] == ["labeled_pass"] + ["selected_pass"] * 3
    assert stages[0].enter is None
    few = CurriculumLabeling(Config(), task()).stages(Plan(3, 8, 32, (4, 4)))
    assert sum(s.steps for s in few) == 3


@pytest.mark.parametrize("settings", [{"rounds": 0}, {"mixup": -1.0}, {"swa_from": 1.0}, {"swa_every": 0.0}])
def test_settings_that_cannot_be(settings: dict) -> None:
    with pytest.raises(UserError, match="curriculum_labeling needs"):
        CurriculumLabeling(Config(**settings), task())


def test_labelled_images_are_not_reported_as_taught() -> None:
    method, _ = entered(3)
    b = batch()
    mixed = Batch(b.x[:0], b.y[:0], b.u, b.x_ids[:0], torch.arange(16) + 4)  # rows 4 to 7 are labelled
    told = step(method, mixed)[0].unlabelled
    assert told.kept.tolist() == [False] * 4 + [True] * 12
