"""Schedules against their formulas, and which parameters decay."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from halfseen.errors import UserError
from halfseen.optim import Optim, make_optimizer, schedule_of, set_rates
from halfseen.parts import ramps


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_schedules_are_the_formulas(p: float) -> None:
    assert schedule_of("constant")(p) == 1
    assert schedule_of("linear")(p) == pytest.approx(1 - p)
    assert schedule_of("linear(0.5)")(p) == pytest.approx({0.0: 1, 0.1: 1, 0.5: 1, 0.9: 0.2, 1.0: 0}[p])
    assert schedule_of("cos")(p) == pytest.approx((1 + math.cos(math.pi * p)) / 2)
    assert schedule_of("cos(1.1666667)")(p) == pytest.approx(ramps.cosine(300 * p, 350), abs=1e-6)
    assert schedule_of("cos7/16")(p) == pytest.approx(math.cos(7 * math.pi * p / 16))
    assert schedule_of("te(0.26666667,0.16666667)")(p) == pytest.approx(ramps.te_rate(300 * p, 300), abs=1e-6)


def test_steps_drop_where_they_say() -> None:
    f = schedule_of("steps(0.25:0.5,0.5:0.1)")
    assert [f(p) for p in (0, 0.24, 0.25, 0.49, 0.5, 1)] == [1, 1, 0.5, 0.5, 0.1, 0.1]


def test_a_fraction_is_exact() -> None:
    assert schedule_of("steps(1/4:2/3,0.5:1/30)")(0.3) == 2 / 3
    assert schedule_of("steps(1/4:2/3,0.5:1/30)")(0.5) == 1 / 30
    assert schedule_of("te(80/300, 50/300)")(0.1) == schedule_of("te")(0.1)
    theirs, mine = (
        make_optimizer([nn.Parameter(torch.ones(1))], Optim(kind="adam", schedule=s))
        for s in ("te", "te(80/300,50/300)")
    )
    for optimizer, schedule in ((theirs, "te"), (mine, "te(80/300,50/300)")):
        set_rates(optimizer, Optim(kind="adam", schedule=schedule, beta1_end=0.5), 0.9)
    assert theirs.param_groups[0]["betas"] == mine.param_groups[0]["betas"]


@pytest.mark.parametrize(
    "text",
    ["steps(0.5:1/0)", "te(1/2/3)", "cosine", "cos(a)", "linear(1)", "linear(-0.1)", "steps(1)", "te(1,2,3,4)", ""],
)
def test_a_wrong_schedule_is_a_sentence(text: str) -> None:
    with pytest.raises(UserError):
        Optim(schedule=text)


def test_biases_and_norms_do_not_decay() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    groups = make_optimizer(net.parameters(), Optim(weight_decay=0.1)).param_groups
    decays = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    assert decays[id(net[0].weight)] == 0.1
    assert {decays[id(p)] for p in (net[0].bias, net[1].weight, net[1].bias)} == {0.0}
    everything = make_optimizer(net.parameters(), Optim(weight_decay=0.1, decay_all=True)).param_groups
    assert [g["weight_decay"] for g in everything] == [0.1]
    assert len(everything[0]["params"]) == 4


def test_sgd_is_the_textbook_update() -> None:
    """v <- m v + g + w theta; theta <- theta - lr (g + w theta + m v)."""
    theta = nn.Parameter(torch.tensor([[1.0, -2.0]], dtype=torch.float64))
    optimizer = make_optimizer([theta], Optim(lr=0.1, momentum=0.9, weight_decay=0.01, schedule="linear"))
    mine, v = theta.detach().clone(), torch.zeros(1, 2, dtype=torch.float64)
    for step in range(5):
        spec = Optim(lr=0.1, schedule="linear")
        set_rates(optimizer, spec, step / 5)
        optimizer.zero_grad()
        (theta**3).sum().backward()
        optimizer.step()
        g = 3 * mine**2 + 0.01 * mine
        v = 0.9 * v + g
        mine = mine - 0.1 * (1 - step / 5) * (g + 0.9 * v)
    torch.testing.assert_close(theta.detach(), mine)


def test_decoupled_decay_shrinks_without_a_gradient() -> None:
    theta = nn.Parameter(torch.ones(2, 2))
    optimizer = make_optimizer([theta], Optim(kind="adamw", lr=0.5, weight_decay=0.1))
    theta.grad = torch.zeros(2, 2)
    optimizer.step()
    torch.testing.assert_close(theta.detach(), torch.full((2, 2), 0.95))


def test_beta1_falls_with_the_rate() -> None:
    spec = Optim(kind="adam", schedule="te(0.2,0.5)", beta1_end=0.5)
    optimizer = make_optimizer([nn.Parameter(torch.ones(1))], spec)
    for progress in (0.1, 0.5, 0.75, 1.0):
        set_rates(optimizer, spec, progress)
        expected = ramps.te_beta1(100 * progress, 100, 50)
        assert optimizer.param_groups[0]["betas"][0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("schedule", "at"), [("te(0.2,0.5)", {0.0: 0.9, 0.5: 0.9, 1.0: 0.5}), ("linear(0.8)", {0.79: 0.9, 0.8: 0.5})]
)
def test_beta1_falls_where_the_rate_does(schedule: str, at: dict[float, float]) -> None:
    """Temporal Ensembling: 0.5 + 0.4 exp(-d^2/200), d = 50 at the end; VAT: at once, where its rate begins to fall."""
    spec = Optim("adam", schedule=schedule, beta1_end=0.5)
    optimizer = make_optimizer([nn.Parameter(torch.zeros(2))], spec)
    for progress, beta1 in at.items():
        set_rates(optimizer, spec, progress)
        assert optimizer.param_groups[0]["betas"] == pytest.approx((beta1, 0.999), abs=1e-5)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_the_steps_are_torchs(kind: str) -> None:
    """Bit for bit, and the state of either is that of the other."""
    spec = Optim(kind=kind, lr=0.1, weight_decay=0.01)
    theirs = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind]
    first = torch.randn(5, 3)
    options = {"momentum": 0.9, "nesterov": True} if kind == "sgd" else {}
    nets = [nn.Parameter(first.clone()) for _ in range(2)]
    mine = make_optimizer([nets[0]], spec)
    their = theirs([{"params": [nets[1]], "weight_decay": 0.01, "share": 1.0}], lr=0.1, fused=True, **options)
    for _ in range(2):
        for _ in range(4):
            for p, optimizer in zip(nets, (mine, their), strict=True):
                optimizer.zero_grad()
                (p.sin() * first).sum().backward()
                optimizer.step()
        assert torch.equal(*nets)
        assert not torch.equal(nets[0], first)
        state = mine.state_dict()
        mine.load_state_dict(their.state_dict())
        their.load_state_dict(state)


def test_no_run_waits_for_the_compiler_to_load() -> None:
    code = """
import sys, torch
from halfseen.optim import Optim, make_optimizer
for kind in ("sgd", "adam", "adamw"):
    p = torch.nn.Parameter(torch.ones(1))
    optimizer = make_optimizer([p], Optim(kind=kind))
    p.sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
sys.exit("torch._dynamo" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
