"""Forward modes leave no trace, one pass of several views equals a pass each, averages and memories keep their word."""

import copy
import math

import pytest
import torch
from torch import nn

from halfseen.nets import make_net
from halfseen.parts import memory as memory_module
from halfseen.parts.ema import Ema
from halfseen.parts.forward import (
    eval_mode,
    frozen_batchnorm,
    frozen_parameters,
    has_active_dropout,
    only_dropout,
    together,
)
from halfseen.parts.memory import Memory
from tests.toy import make_trainer


class BrokenError(Exception):
    pass


def a_net(**options):
    torch.manual_seed(0)
    return make_net("cnn13", classes=3, shape=(1, 12, 12), **options)


def images(n=4):
    return torch.randn(n, 1, 12, 12, generator=torch.Generator().manual_seed(1))


def modes(net):
    return [m.training for m in net.modules()]


def test_together_equals_one_pass_of_the_concatenation_and_skips_empty_views():
    net, x = a_net().eval(), images(6)
    one, none, two = together(net, x[:4], x[:0], x[4:])
    assert none.shape == (0, 3)
    torch.testing.assert_close(one, net(x[:4]))
    torch.testing.assert_close(two, net(x[4:]))
    (features,) = together(net.features, x)
    torch.testing.assert_close(features, net.features(x))
    assert [len(v) for v in together(net, x[:0], x[:0])] == [0, 0]


def test_together_shares_batch_statistics_between_the_views():
    net, x = a_net(dropout=0.0, input_noise=0.0).train(), images(6)
    whole = net(x)
    one, two = together(net, x[:4], x[4:])
    torch.testing.assert_close(torch.cat([one, two]), whole)
    assert not torch.allclose(net(x[:4]), one, atol=1e-3)


def test_together_keeps_channels_last_beside_an_empty_or_contiguous_view():
    seen = []

    def net(x):
        seen.append(x.is_contiguous(memory_format=torch.channels_last))
        return x.mean((2, 3))

    x = torch.randn(4, 3, 8, 8).to(memory_format=torch.channels_last)
    together(net, torch.zeros(0, 3, 8, 8), x, x[:1])
    together(net, torch.randn(2, 3, 8, 8), x)
    assert seen == [True, True]


@pytest.mark.parametrize("block", [only_dropout, eval_mode])
def test_modes_come_back_exactly_also_after_an_exception(block):
    net = a_net().train()
    net.body[1].eval()  # a mixed state must come back as it was
    before = modes(net)
    with block(net):
        assert modes(net) != before
    assert modes(net) == before

    def fail():
        with block(net):
            raise BrokenError

    with pytest.raises(BrokenError):
        fail()
    assert modes(net) == before


def test_only_dropout_draws_anew_each_pass_and_touches_no_statistics():
    net, x = a_net(dropout=0.3).train(), images()
    state = copy.deepcopy(net.state_dict())
    with torch.no_grad(), only_dropout(net):
        one, two = net(x), net(x)
    assert not torch.equal(one, two)
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    with torch.no_grad(), eval_mode(net):
        assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("norm", ["bn", "wn_mean_only"])
def test_frozen_batchnorm_uses_batch_statistics_and_leaves_the_running_ones(norm):
    net, x = a_net(norm=norm, dropout=0.0, input_noise=0.0).train(), images()
    reference = copy.deepcopy(net)(x)
    state = copy.deepcopy(net.state_dict())
    with frozen_batchnorm(net):
        torch.testing.assert_close(net(x), reference)
        with frozen_batchnorm(net):
            net(x)
        net(x)  # the inner block did not thaw the outer one
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())

    def fail():
        with frozen_batchnorm(net):
            raise BrokenError

    with pytest.raises(BrokenError):
        fail()
    net(x)
    changed = {k for k, v in net.state_dict().items() if not torch.equal(v, state[k])}
    assert {"running_mean", "num_batches_tracked"} <= {k.rpartition(".")[2] for k in changed}


def test_frozen_batchnorm_in_eval_mode_still_uses_the_running_statistics():
    net, x = a_net(norm="bn"), images()
    net.train()(x)
    net.eval()
    before = net(x)
    with frozen_batchnorm(net):
        assert torch.equal(net(x), before)


def test_frozen_parameters_pass_the_gradient_to_the_input_only():
    net, x = a_net(dropout=0.0).eval(), images().requires_grad_()
    net.head.bias.requires_grad_(False)
    before = [p.requires_grad for p in net.parameters()]

    def attack():
        with frozen_parameters(net):
            net(x).sum().backward()
            raise BrokenError

    with pytest.raises(BrokenError):
        attack()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in net.parameters())
    assert [p.requires_grad for p in net.parameters()] == before


def test_has_active_dropout():
    assert has_active_dropout(a_net())
    assert not has_active_dropout(a_net(dropout=0.0))
    assert not has_active_dropout(nn.Linear(2, 2))


def moved(net):
    """The network with other weights and statistics, as after some training."""
    other = copy.deepcopy(net).train()
    with torch.no_grad():
        for p in other.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(2)))
        other(images())
        other(images())
    return other


@pytest.mark.parametrize("buffers", ["copied", "averaged", "own"])
def test_the_average_follows_by_its_formula(buffers):
    net = a_net(norm="bn")
    average, other = Ema(net), moved(net)
    assert not any(p.requires_grad for p in average.parameters())
    average.follow(other, 0.9, buffers=buffers)
    average.follow(other, 0.9, buffers=buffers)
    now, start, target = average.net.state_dict(), net.state_dict(), other.state_dict()
    weights = dict(net.named_parameters())
    for key in now:
        mixed = 0.81 * start[key] + 0.19 * target[key]
        if key in weights or (buffers == "averaged" and start[key].is_floating_point()):
            torch.testing.assert_close(now[key], mixed)
        else:
            assert torch.equal(now[key], start[key] if buffers == "own" else target[key]), key


def test_a_warm_average_is_the_mean_of_what_it_saw_at_first():
    net = nn.Linear(1, 1, bias=False)
    average = Ema(net)
    for t, w in enumerate([1.0, 4.0, 7.0], start=1):
        with torch.no_grad():
            net.weight.fill_(w)
        if t == 1:
            with torch.no_grad():
                average.net.weight.fill_(0)
        average.follow(net, 0.9, warm_step=t)
    assert average.net.weight.item() == pytest.approx((0 + 1 + 4 + 7) / 4)  # decays 1/2, 2/3, 3/4


def test_an_average_of_a_copy_does_not_share_memory_and_offers_what_the_net_offers():
    net, x = a_net(heads=2), images()
    average = Ema(net).eval()
    torch.testing.assert_close(average(x), average.head(average.features(x)))
    assert average.num_features == 128
    assert len(average.two(x)) == 2
    theirs = {p.data_ptr() for p in net.parameters()}
    assert not theirs & {p.data_ptr() for p in average.parameters()}


def test_an_average_resumes_exactly():
    net = a_net()
    other = moved(net)
    one = Ema(net)
    one.follow(other, 0.9, warm_step=1)
    two = Ema(moved(other))
    two.load_state_dict(one.state_dict())
    for average in (one, two):
        average.follow(net, 0.9, warm_step=2)
    assert all(torch.equal(v, two.state_dict()[k]) for k, v in one.state_dict().items())


def test_memory_reads_and_writes_rows_by_id():
    m = Memory(5, 2, fill=-1.0)
    ids, values = torch.tensor([4, 1]), torch.tensor([[1.0, 2], [3, 4]], requires_grad=True)
    m.write(ids, values)
    assert m[ids].tolist() == [[1, 2], [3, 4]]
    assert m[torch.tensor([0])].tolist() == [[-1, -1]]
    assert not m.values.requires_grad
    assert len(m) == 5
    assert list(m.state_dict()) == ["values"]
    m.write(ids[:0], values[:0])
    counts = Memory(3, dtype=torch.int64)
    counts.write(torch.tensor([2]), torch.tensor([7.0]))
    assert counts.values.tolist() == [0, 0, 7]


def test_memory_takes_the_rows_of_all_processes(monkeypatch):
    others = {torch.int64: torch.tensor([0]), torch.float32: torch.tensor([9.0])}
    monkeypatch.setattr(memory_module, "gather_rows", lambda rows: torch.cat([rows, others[rows.dtype]]))
    m = Memory(3)
    m.write(torch.tensor([2]), torch.tensor([5.0]))
    assert m.values.tolist() == [9, 0, 5]


def test_permuting_the_ids_permutes_the_memory():
    ids, values = torch.arange(6), torch.randn(6, 3)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    one, two = Memory(6, 3), Memory(6, 3)
    one.write(ids, values)
    two.write(order[ids], values)
    assert torch.equal(two.values[order], one.values)
    assert math.isfinite(one.values.sum())


@pytest.mark.parametrize("norm", ["averaged", "copied"])
@pytest.mark.parametrize("method", ["supervised", "pseudo_label", "fixmatch", "commatch"])
def test_the_statistics_of_an_evaluated_average_are_chosen_by_norm(method, norm):
    """The same weights either way; the running variance is the network's, or follows it with the weights' decay."""
    settings = {"norm": norm, "decay": 0.7}
    options = {"width": 4} | ({"dropout": 0.3} if method == "commatch" else {})
    trainer = make_trainer(method, data="digits", net="small", net_options=options, settings=settings, steps=3)
    seen, follow = [], trainer.method.average.follow

    def watch(net, *args, **kwargs):
        before = statistics(trainer.method.average)
        follow(net, *args, **kwargs)
        seen.append((before, statistics(net), statistics(trainer.method.average)))

    trainer.method.average.follow = watch
    trainer.run()
    assert len(seen) == 3
    for t, (before, target, after) in enumerate(seen):
        d = min((1 + t) / (10 + t), 0.7)
        expected = target if norm == "copied" else d * before + (1 - d) * target
        torch.testing.assert_close(after, expected)


def statistics(net):
    found = [m.running_var for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    return torch.cat(found).clone()
