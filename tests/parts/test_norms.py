"""Batch-norm statistics measured anew: against one big batch, and what is scored, saved and left as it was."""

import copy

import pytest
import torch
from torch import nn

import halfseen
from halfseen.data import open_data
from halfseen.nets import make_net
from halfseen.parts.ema import Ema
from halfseen.parts.forward import batch_norms
from halfseen.parts.norms import GROUP, MOST, measured, rows_for_norms
from halfseen.training import checkpoint, metrics
from halfseen.training.trainer import Pace
from tests.toy import assert_same, make_trainer, stop_after


class Rows:
    """A training set in memory that writes down which ids were asked for."""

    def __init__(self, x, labelled=(), unlabelled=None):
        self.x, self.seen = x, []
        self.labelled = torch.tensor(labelled, dtype=torch.int64)
        self.unlabelled = torch.arange(len(x)) if unlabelled is None else unlabelled
        self.y = torch.full((len(x),), -1)

    def sweep(self, ids=None):
        for part in torch.split(ids, 512):
            self.seen.append(part)
            yield part, self.x[part]


def clean(x):
    return x


def statistics(net):
    return {
        f"{i}/{k}": b.clone()
        for i, m in enumerate(batch_norms(net))
        for k, b in (("mean", m.running_mean), ("var", m.running_var))
        if b is not None
    }


def big_batch(net, x):
    """Statistics of one forward in train mode of all rows, without dropout and noise."""
    net = copy.deepcopy(net)
    for m in net.modules():
        m.training = m in batch_norms(net)
    for m in batch_norms(net):
        m.momentum = 1.0
    with torch.no_grad():
        net(x)
    return statistics(net)


NETS = {
    "small": {"width": 4, "dropout": 0.3},
    "cnn13 mean_only": {"norm": "mean_only"},
    "cnn13 wn_mean_only": {"norm": "wn_mean_only"},
    "cnn13 logits": {"norm": "bn", "logits_norm": True},
    "shake-26-2x32d": {},
}


@pytest.mark.parametrize("name", NETS)
def test_statistics_are_those_of_one_big_batch(name):
    torch.manual_seed(0)
    rows = 60 if name == "small" else 12
    net = make_net(name.split()[0], classes=3, shape=(1, 28, 28), **NETS[name])
    x = torch.randn(rows, 1, 28, 28) * 3 + 1
    expected, before = big_batch(net, x), statistics(net)
    with measured(Rows(x), clean, net):
        for key, value in statistics(net).items():
            torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-5)
    assert_same(statistics(net), before)
    assert net.training


def test_groups_are_pooled_with_what_lies_between_their_means():
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 2))
    x = torch.randn(3 * GROUP - 100, 5) + torch.arange(3 * GROUP - 100)[:, None] / 300  # drifts
    data = Rows(x)
    with measured(data, clean, net):
        torch.testing.assert_close(net[0].running_mean, x.mean(0), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(net[0].running_var, x.var(0), rtol=1e-5, atol=1e-5)
    assert len(data.seen) == 3
    assert max(map(len, data.seen)) - min(map(len, data.seen)) <= 1


def test_averages_and_float64():
    torch.manual_seed(0)
    net = make_net("small", classes=3, shape=(1, 12, 12), width=4)
    x = torch.randn(50, 1, 12, 12)
    expected = big_batch(net, x)
    for other in (Ema(net), copy.deepcopy(net).double()):
        view = (lambda v: v.double()) if next(other.parameters()).dtype == torch.float64 else clean
        with measured(Rows(x), view, other):
            for key, value in statistics(other).items():
                torch.testing.assert_close(value.float(), expected[key], rtol=1e-5, atol=1e-5)


def test_a_compiled_network_is_measured_too():
    net = make_net("small", classes=3, shape=(1, 12, 12), width=4)
    x = torch.randn(20, 1, 12, 12)
    net.compile(backend="eager")
    net(x)
    expected = big_batch(net, x)
    with measured(Rows(x), clean, net):
        for key, value in statistics(net).items():
            torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-5)


def test_the_rows_are_fixed_and_of_the_training_set():
    data = Rows(torch.zeros(5000, 1), labelled=(3, 4), unlabelled=torch.arange(0, 5000, 2))
    ids = rows_for_norms(data, "all")
    assert len(ids) == MOST == len(ids.unique())
    assert torch.equal(ids, rows_for_norms(data, "all"))
    assert set(ids.tolist()) <= {3, *range(0, 5000, 2)}
    assert sorted(rows_for_norms(data, "labelled").tolist()) == [3, 4]


def test_without_norms_nothing_is_computed():
    data = Rows(torch.zeros(9, 4))
    with measured(data, clean, make_net("mlp", classes=2, shape=(4,))):
        assert not data.seen


def shifted(settings=None, **more):
    """A run whose average is far from its network: statistics of one do not fit the other."""
    given = {"decay": 0.99, "optim.lr": 0.05, "tau": 0.5, **(settings or {})}
    return make_trainer(
        "fixmatch",
        data="digits",
        net="small",
        net_options={"width": 8},
        settings=given,
        steps=60,
        policies=("none", "fm"),
        **more,
    )


def test_an_average_far_from_its_network_is_right_only_when_measured():
    trainer = make_trainer(
        "fixmatch", data="digits", net="small", net_options={"width": 8}, steps=80, policies=("none", "none")
    )
    trainer.run()
    with torch.no_grad():
        for m in batch_norms(trainer.method.average):  # what a large rate does to copied statistics
            m.running_mean.add_(3 * m.running_var.sqrt())
    found = trainer.judge.at_end(trainer.method, 10)["average"]["test"]["accuracy"]
    x, y = trainer.judge.parts["test"]
    foreign = metrics.summary(trainer.judge.logits(trainer.method.average, x), y, 10)["accuracy"]
    assert found > foreign + 0.2


def run(tmp_path, name, **more):
    settings = {
        "labels_per_class": 6, "val": 2, "steps": 12, "eval_every": 4, "quiet": True, "report": False, "threads": 1,
        "overrides": ("net.width=4",), "batch": 16, "unlabelled_batch": 16, "device": "cpu", **more,
    }  # fmt: skip
    return halfseen.train("digits", out=tmp_path / name, **settings)


@pytest.mark.parametrize("method", ["fixmatch", "dnll"])
def test_the_saved_best_model_has_measured_statistics(tmp_path, method):
    """Those of its weights on the training rows: loading it needs no measuring, and gives what was scored."""
    result = run(tmp_path, "run", method=method)
    model, images = halfseen.load(result.folder), open_data("digits", progress=False)
    with torch.no_grad():
        right = (model.probabilities(images.test_x).argmax(1) == images.test_y).double().mean()
    assert result.metrics["best"]["test"]["accuracy"] == pytest.approx(float(right))
    stored = checkpoint.load(result.folder / "checkpoints" / "best.pt")["method"]
    prefix = {"average": "average.net.", "net": "net.", "one": "nets.0.", "two": "nets.1."}[
        result.metrics["best"]["predictor"]
    ]
    inner = model.net.net if isinstance(model.net, Ema) else model.net
    mine, theirs = inner.state_dict(), {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}
    assert torch.equal(mine["head.weight"], theirs["head.weight"])
    assert not torch.allclose(mine["norm1.running_mean"], theirs["norm1.running_mean"])


def test_copied_is_as_before(tmp_path):
    result = run(tmp_path, "run", method="dnll", overrides=("net.width=4", "method.norm=copied"))
    stored = checkpoint.load(result.folder / "checkpoints" / "best.pt")["method"]
    mine = halfseen.load(result.folder).net.state_dict()
    prefix = {"one": "nets.0.", "two": "nets.1."}[result.metrics["best"]["predictor"]]
    assert torch.equal(mine["norm1.running_mean"], stored[f"{prefix}norm1.running_mean"])


@pytest.mark.parametrize(
    ("method", "labelled_only"), [("supervised", True), ("fixmatch", False), ("on_discarded", False)]
)
def test_ids_are_training_rows_only(method, labelled_only):
    trainer = make_trainer(
        method, data="digits", net="small", net_options={"width": 4}, steps=4, val=2, labels_per_class=6,
        settings={"settings": "optim.lr=0.03"} if method == "on_discarded" else {}, pace=Pace(2, 2, 1e9),
    )  # fmt: skip
    sweep, seen = trainer.data.sweep, []

    def watched(ids=None):
        seen.append(ids)
        return sweep(ids)

    trainer.data.sweep = watched
    trainer.run()
    trainer.judge.at_end(trainer.method, 10)
    ids = set(torch.cat(seen).tolist())
    labelled, unlabelled = set(trainer.data.labelled.tolist()), set(trainer.data.unlabelled.tolist())
    assert ids == labelled if labelled_only else ids <= labelled | unlabelled
    assert ids
    assert len(ids) < len(trainer.data.x)


@pytest.mark.parametrize("method", ["fixmatch", "r2d2"])
def test_evaluations_leave_training_as_it_is(method, tmp_path):
    """Measured often or never, stopped and continued: the same weights, running statistics and random numbers."""

    def make(pace, folder=None):
        return make_trainer(
            method, data="digits", net="small", net_options={"width": 4, "dropout": 0.2}, steps=24, val=2,
            labels_per_class=6, pace=pace, folder=folder, policies=("fm", "fm"),
        )  # fmt: skip

    often = make(Pace(8, 3, 1e9))
    often.run()
    never = make(Pace(8, 10**9, 1e9))
    never.run()
    assert_same(often.method.state_dict(), never.method.state_dict())
    stopped = make(Pace(8, 3, 1e9), tmp_path)
    stop_after(stopped, 13)
    stopped.save("last", 0.0)
    again = make(Pace(8, 3, 1e9), tmp_path)
    again.load(checkpoint.load(tmp_path / "checkpoints" / "last.pt"))
    again.run()
    assert_same(often.method.state_dict(), again.method.state_dict())
    assert often.history == again.history
