"""Training in bfloat16: what is trained gets its gradient, and the weights stay in float32."""

import pytest
import torch

from tests.toy import make_trainer


@pytest.mark.parametrize("method", ["fixmatch", "mean_teacher"])
def test_every_trained_parameter_moves_though_a_pass_without_gradient_came_first(method: str) -> None:
    trainer = make_trainer(method, data="digits")
    trainer.bf16 = True
    trainer.enter()
    net = trainer.method.net
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    streams = trainer.data.streams(trainer.plan, trainer.stage.epoch, 0, None)
    trainer.train_step(trainer.data.batch(streams, 0), trainer.clock())
    for name, p in net.named_parameters():
        assert p.dtype == p.grad.dtype == torch.float32
        assert torch.isfinite(p.grad).all(), name
        assert not torch.equal(p, before[name]), name


def test_casts_are_not_cached() -> None:
    """A cached cast from a pass without gradient cuts the next pass off, up to torch 2.10 (pytorch issue 158232)."""
    trainer = make_trainer("fixmatch", data="digits")
    trainer.bf16 = True
    with trainer.autocast():
        assert torch.is_autocast_enabled("cpu")
        assert not torch.is_autocast_cache_enabled()


def test_full_precision_is_not_touched() -> None:
    trainer = make_trainer("fixmatch", data="digits")
    with trainer.autocast():
        assert not torch.is_autocast_enabled("cpu")
