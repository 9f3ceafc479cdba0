"""The four ways of the weak pass against formulas: what normalises which rows, whose gradient flows, what is remembered."""

import copy

import pytest
import torch
from torch import nn

from halfseen.nets import make_net
from halfseen.parts.forward import batch_norms
from halfseen.parts.weak import with_weak
from tests.toy import make_trainer

MODES = ["separate", "joint", "eval", "with_labelled"]


class Deep(nn.Module):
    """linear - norm - tanh - linear - norm - tanh - linear, in float64."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.n1, self.n2 = nn.BatchNorm1d(6), nn.BatchNorm1d(6)
        self.double()

    def forward(self, x):
        return self.c(self.n2(self.b(self.n1(self.a(x)).tanh())).tanh())


def views():
    g = torch.Generator().manual_seed(1)
    return tuple(k + torch.randn(n, 5, generator=g, dtype=torch.float64) for n, k in ((7, 0.0), (12, 1.0), (12, -1.0)))


def normed(norm, h, *seen):
    rows = torch.cat(seen)
    return norm.weight * (h - rows.mean(0)) / (rows.var(0, unbiased=False) + norm.eps).sqrt() + norm.bias


def beside_constants(net, x, w):
    """Labelled and weak rows layer by layer, the weak ones cut off at every norm."""
    for layer, norm in ((net.a, net.n1), (net.b, net.n2)):
        hx, hw = layer(x), layer(w).detach()
        x, w = normed(norm, hx, hx, hw).tanh(), normed(norm, hw, hx, hw).tanh().detach()
    return net.c(x), net.c(w)


def gradients(net, loss):
    return torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)


def test_with_labelled_is_one_normalisation_with_the_gradient_of_the_labelled_rows():
    net, (x, w, s) = Deep(), views()
    expected_x, expected_w = beside_constants(copy.deepcopy(net), x, w)
    alone = copy.deepcopy(net)(s)
    got_x, got_w, got_s = with_weak(net, x, w, s, "with_labelled")
    for got, expected in ((got_x, expected_x), (got_w, expected_w), (got_s, alone)):
        torch.testing.assert_close(got, expected)
    other = copy.deepcopy(net)
    loss = beside_constants(other, x, w)[0].square().sum()
    for mine, theirs in zip(gradients(net, got_x.square().sum()), gradients(other, loss), strict=True):
        torch.testing.assert_close(mine, theirs)
    joint = gradients(net, net(torch.cat([x, w]))[:7].square().sum())[0]
    assert not torch.allclose(joint, gradients(other, beside_constants(other, x, w)[0].square().sum())[0])


@pytest.mark.parametrize("mode", MODES)
def test_no_weak_row_gets_a_gradient_and_every_other_does(mode):
    net, (x, w, s) = Deep(), views()
    x, w, s = (v.requires_grad_() for v in (x, w, s))
    logits_x, logits_w, logits_s = with_weak(net, x, w, s, mode)
    assert not logits_w.requires_grad
    gx, gw, gs = torch.autograd.grad(
        logits_x.square().sum() + logits_s.square().sum(), (x, w, s), allow_unused=True, materialize_grads=True
    )
    assert gx.abs().sum() > 0
    assert gs.abs().sum() > 0
    assert (gw.abs().sum() > 0) == (mode == "joint")  # there through the statistics that all rows share


@pytest.mark.parametrize("mode", MODES)
def test_the_running_statistics_are_moved_by_the_rows_that_are_documented(mode):
    net, (x, w, s) = Deep(), views()
    start = net.n1.running_mean.clone()
    with_weak(net, x, w, s, mode)
    rows = {"separate": (x, s), "joint": (x, w, s), "with_labelled": (x, w), "eval": (w,)}[mode]
    share = 1.0 if mode == "eval" else 0.1
    expected = start + share * (net.a(torch.cat(rows)).mean(0) - start)
    torch.testing.assert_close(net.n1.running_mean, expected)
    assert int(net.n1.num_batches_tracked) == 1


def test_eval_follows_the_weak_rows_and_normalises_by_what_it_followed():
    net, (x, w, s) = Deep(), views()
    mean, var = torch.zeros(6).double(), torch.ones(6).double()
    for t in range(1, 15):
        shifted = w + t / 10
        logits_w = with_weak(net, x, shifted, s, "eval")[1]
        share = max(1 / t, 0.1)
        h = net.a(shifted)
        mean, var = mean + share * (h.mean(0) - mean), var + share * (h.var(0) - var)
        torch.testing.assert_close(net.n1.running_mean, mean)
        torch.testing.assert_close(net.n1.running_var, var)
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(shifted), logits_w)


@pytest.mark.parametrize("options", [{"norm": "wn_mean_only"}, {"norm": "bn", "logits_norm": True}])
@pytest.mark.parametrize("mode", MODES)
def test_other_norms_and_no_norm(mode, options):
    torch.manual_seed(0)
    x, w, s = (torch.randn(n, 1, 14, 14) for n in (4, 6, 6))
    net = make_net("cnn13", classes=3, shape=(1, 14, 14), dropout=0.0, input_noise=0.0, **options)
    logits = with_weak(net, x, w, s, mode)
    assert [len(a) for a in logits] == [4, 6, 6]
    if mode == "with_labelled":
        torch.testing.assert_close(torch.cat(logits[:2]), net(torch.cat([x, w])), rtol=1e-3, atol=1e-4)
    assert all(m.track_running_stats and not m._forward_hooks and not m._forward_pre_hooks for m in batch_norms(net))
    plain = make_net("mlp", classes=3, shape=(5,), dropout=0.0)
    three = [torch.randn(n, 5) for n in (4, 6, 6)]
    for got, view in zip(with_weak(plain, *three, mode), three, strict=True):
        torch.testing.assert_close(got, plain(view))


@pytest.mark.parametrize("method", ["fixmatch", "pseudo_label", "dnll"])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_trains(method, mode):
    net = {"net": "small", "net_options": {"width": 4}}
    trainer = make_trainer(method, data="digits", steps=3, settings={"weak_pass": mode}, **net)
    trainer.run()
    row = trainer.watcher.log[-1]
    assert all(v == v for v in row.values())


def test_commatch_normalises_its_passes_with_the_labelled_rows():
    net = {"net": "small", "net_options": {"width": 4, "dropout": 0.3}}
    trainer = make_trainer("commatch", data="digits", steps=3, settings={"mc_bn": "with_labelled"}, **net)
    trainer.run()
    assert all(v == v for v in trainer.watcher.log[-1].values())


@pytest.mark.parametrize(("method", "logged"), [("fixmatch", True), ("dnll", False)])
def test_what_labelled_images_are_taught_is_logged_where_they_are_among_the_unlabelled(method, logged):
    settings = {"tau": 0.0} if method == "fixmatch" else {}
    trainer = make_trainer(method, data="blobs", labels_per_class=20, steps=20, settings=settings)
    trainer.run()
    assert any("labelled_pseudo_accuracy" in row for row in trainer.watcher.log) == logged
