"""CTAugment learns from a method: omega of probe views under the averaged network, alike on all processes."""

import pytest
import torch

from halfseen.augment import CTAugment
from halfseen.machine import distributed
from halfseen.parts import cta
from halfseen.parts.cta import learn_strengths
from tests.toy import make_trainer

PICTURES = {"data": "digits", "net": "mlp", "net_options": {"width": 30}, "batch": (16, 16)}
LOOSE = {
    "fixmatch": {},
    "commatch": {"dropout": 0.2, "passes": 2},
}


def trainer_with(strong: str, method: str = "fixmatch"):
    return make_trainer(method, policies=("fm", strong), settings=LOOSE[method], **PICTURES)


@pytest.mark.parametrize("method", LOOSE)
def test_a_method_moves_the_rates_by_what_the_average_says_of_probes(method: str) -> None:
    trainer = trainer_with("cta", method)
    strong, average = trainer.method.strong, trainer.method.average
    assert isinstance(strong, CTAugment)
    probed = []
    probe, update = strong.probe, strong.update

    def noted_probe(x):
        view, record = probe(x)
        probed.append((x, view, record))
        return view, record

    def noted_update(record, omega, add_up=None):
        probed[-1] += (omega,)
        update(record, omega, add_up)

    strong.probe, strong.update = noted_probe, noted_update
    trainer.enter()
    batch = trainer.data.batch(trainer.streams(), 0)
    rates = strong.rates.clone()
    trainer.method.loss(batch, trainer.clock())
    ((x, view, record, omega),) = probed
    assert torch.equal(x, batch.x)
    p = average.eval()(view).softmax(1)
    for i, y in enumerate(batch.y.tolist()):
        distance = sum(abs(p[i, k].item() - (k == y)) for k in range(p.shape[1]))
        assert omega[i].item() == pytest.approx(1 - distance / 2, rel=1e-5)
        assert omega[i].item() == pytest.approx(p[i, y].item(), rel=1e-5)  # which is the probability of the label
    moved = (strong.rates != rates).flatten()
    assert set(moved.nonzero().flatten().tolist()) == set(record.flatten().tolist())
    assert "strong.rates" in trainer.method.state_dict()


def test_other_views_and_modes_are_left_alone() -> None:
    trainer = trainer_with("fm+ra")
    state = trainer.draws.generator.get_state()
    batch = trainer.data.batch(trainer.streams(), 0)
    learn_strengths(trainer.method.strong, trainer.method.average, batch.x, batch.y)
    assert torch.equal(state, trainer.draws.generator.get_state())  # nothing was drawn
    trainer = trainer_with("cta")
    net = trainer.method.average.train()
    learn_strengths(trainer.method.strong, net, batch.x, batch.y)
    assert all(m.training for m in net.modules())


def test_processes_add_their_rows_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of two processes, with half of the rows, must arrive where one arrives with all."""
    one = trainer_with("cta").method.strong
    record, omega = one.probe(torch.randint(0, 256, (16, 1, 8, 8), dtype=torch.uint8))[1], torch.rand(16)
    one.update(record, omega)
    halves = [one.tally(record[r::2], omega[r::2]) for r in (0, 1)]

    def average(tensors) -> None:
        for t in tensors:
            t.copy_((halves[0] + halves[1]) / 2)

    monkeypatch.setattr(distributed, "average", average)
    monkeypatch.setattr(distributed, "world", lambda: 2)
    two = trainer_with("cta").method.strong
    two.update(record[::2], omega[::2], add_up=cta._over_processes)
    torch.testing.assert_close(two.rates, one.rates)
    assert (one.rates != 1).any()
