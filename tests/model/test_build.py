"""A method put together: networks that start from data do."""

import torch
from torch import nn

from halfseen.data import ImageSet
from tests.toy import make_trainer


def pictures() -> ImageSet:
    """Of 12x12 pixels, in four classes of different brightness."""
    g = torch.Generator().manual_seed(0)
    y = torch.arange(80) % 4
    x = (torch.randint(0, 120, (80, 1, 12, 12), generator=g) + 40 * y.view(-1, 1, 1, 1)).to(torch.uint8)
    given = torch.ones(80, dtype=torch.bool)
    mean, std = torch.tensor([0.45]), torch.tensor([0.2])
    return ImageSet("pictures", ("a", "b", "c", "d"), x, y, given, mean, std, False, x[:8], y[:8])


def spreads(norm: str, method: str = "supervised") -> list[float]:
    """How far the deviation of any channel of a fresh cnn13 is from 1, on the images that it starts from."""
    trainer = make_trainer(
        method, data=pictures(), net="cnn13", net_options={"norm": norm, "input_noise": 0.0, "dropout": 0.0}, steps=2
    )
    net = trainer.method.net
    seen: list[float] = []
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            m.register_forward_hook(lambda m, i, out: seen.append((out.std((0, 2, 3)) - 1).abs().max().item()))
    _, x = next(trainer.data.sweep(trainer.data.unlabelled[:64]))
    with torch.no_grad():
        net.train()(trainer.method.task.view("none")(x))
    return seen


def test_the_weight_norm_form_of_cnn13_starts_from_data() -> None:
    assert max(spreads("wn_mean_only")) < 1e-3
    assert min(spreads("mean_only")) > 0.1


def test_an_average_starts_where_its_network_does() -> None:
    trainer = make_trainer("pi_model", data=pictures(), net="cnn13", net_options={"norm": "wn_mean_only"}, steps=2)
    method = trainer.method
    for a, b in zip(method.average.parameters(), method.net.parameters(), strict=True):
        assert torch.equal(a, b)
