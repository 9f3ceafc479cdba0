"""`small` with whole channels dropped before its last convolution."""

import torch

from halfseen.nets import make_net
from halfseen.parts.mcdropout import mc_logits


def test_it_drops_whole_channels_and_only_in_training() -> None:
    torch.manual_seed(0)
    net = make_net("small", classes=3, shape=(1, 8, 8), width=8, early_dropout=0.5)
    given: list[torch.Tensor] = []
    net.conv4.register_forward_pre_hook(lambda module, args: given.append(args[0]))
    x = torch.randn(16, 1, 8, 8)
    net(x)
    net.eval()(x)
    dropped, whole = ((g == 0).all(3).all(2).float().mean().item() for g in given)
    assert 0.3 < dropped - whole < 0.7
    plain = make_net("small", classes=3, shape=(1, 8, 8), width=8)
    plain.load_state_dict(net.state_dict())  # it adds no weights
    assert torch.equal(plain.eval()(x), net(x))


def test_monte_carlo_passes_differ_before_the_last_convolution() -> None:
    torch.manual_seed(0)
    net = make_net("small", classes=3, shape=(1, 8, 8), width=8, early_dropout=0.5)
    calls: list[int] = []
    net.conv1.register_forward_hook(lambda *_: calls.append(1))
    assert len(mc_logits(net, torch.randn(4, 1, 8, 8), 5).unique(dim=0)) == 5
    assert len(calls) == 5
