"""A backbone that is trained with its head: what is frozen, which rate a layer has, and what a backward holds."""

from pathlib import Path

import pytest
import torch
from torch import nn

from halfseen.backbones import load_backbone
from halfseen.backbones.backbone import Backbone
from halfseen.backbones.lite0 import Lite
from halfseen.errors import UserError
from halfseen.model import tuned
from halfseen.model.facts import Facts
from halfseen.model.tuned import FALL, RATE, Base, FrozenNorm, Tuned, settle
from halfseen.nets import make_net
from halfseen.optim import Optim, make_optimizer, set_rates
from tests.backbones.graphs import write
from tests.backbones.small import saved


def facts(dim: int) -> Facts:
    return Facts(("a", "b"), (dim,), (0.1,) * dim, (2.0,) * dim, True, 8, 4, 4)


def under(net: Backbone, tune: str) -> Tuned:
    top = make_net("linear", classes=2, shape=(net.dim,))
    made = Base(net, facts(net.dim), tune).under(top)
    assert isinstance(made, Tuned)
    return made


@pytest.mark.parametrize("kind", ["vit", "dinov2", "clip", "siglip", "resnet", "convnext"])
@pytest.mark.parametrize("tune", ["last", "all"])
def test_what_is_trained_of_a_network_of_transformers(kind: str, tune: str, tmp_path: Path) -> None:
    saved(kind, tmp_path)
    net = load_backbone(str(tmp_path))
    x = torch.rand(3, 3, 32, 32) if kind != "dinov2" else torch.rand(3, 3, 28, 28)
    with torch.no_grad():
        plain = net(x)
    made = under(net, tune).train()
    assert set(made.backbone.state_dict()) == set(net.state_dict())  # whatever is trained, it is saved under its name
    torch.testing.assert_close(made.pooled(x), plain)
    made(x).square().sum().backward()
    trained = dict(made.backbone.named_parameters())
    moved = [name for name, p in trained.items() if p.grad is not None and p.grad.abs().sum() > 0]
    assert moved
    assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in made.modules())
    every = [p for layer in net.layers() for p in layer.parameters()]
    assert (sum(p.numel() for p in trained.values()) < sum(p.numel() for p in every)) == (
        tune == "last" or kind == "resnet"
    )


def test_the_rate_falls_from_layer_to_layer() -> None:
    net = Lite("lite0").eval()
    made = under(net, "all")
    depth = len(net.layers())
    shares = {p.share for p in made.backbone.parameters()}
    assert sorted(shares, reverse=True) == pytest.approx([RATE * FALL**i for i in range(depth)])
    optimizer = make_optimizer(made.parameters(), Optim(lr=0.5, schedule="constant"))
    set_rates(optimizer, Optim(lr=0.5, schedule="constant"), 0.3)
    rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates[made.head.weight] == 0.5
    assert rates[made.backbone.head.conv.weight] == pytest.approx(0.5 * RATE)
    assert rates[made.backbone.stem.conv.weight] == pytest.approx(0.5 * RATE * FALL ** (depth - 1))
    last = under(net, "last")
    assert [name for name, _ in last.backbone.named_parameters()] == ["head.conv.weight"]


def test_batch_norm_stays_what_it_was() -> None:
    torch.manual_seed(0)
    net = Lite("lite0").eval()
    made = under(net, "all").train()
    before = {k: v.clone() for k, v in made.backbone.state_dict().items() if ".norm." in k}
    optimizer = make_optimizer(made.parameters(), Optim(lr=0.1))
    for _ in range(2):
        optimizer.zero_grad()
        made(torch.rand(4, 3, 32, 32)).square().sum().backward()
        optimizer.step()
    after = made.backbone.state_dict()
    assert before
    assert all(torch.equal(v, after[k]) for k, v in before.items())
    assert not torch.equal(after["stem.conv.weight"], net.state_dict()["stem.conv.weight"])
    assert sum(isinstance(part, FrozenNorm) for part in made.modules()) == len(before) // 5
    frozen = made.backbone.frozen()  # folded, as a model is asked
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(frozen(x), made.backbone(x), atol=1e-4, rtol=1e-3)


def test_going_through_it_again_changes_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuned, "AT_ONCE", 2)
    torch.manual_seed(0)
    made = under(Lite("lite0").eval(), "all")
    assert made.again
    x = torch.rand(5, 3, 32, 32)
    seen = []
    made.backbone.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    found = []
    for again in (True, False):
        made.again = again
        made.zero_grad()
        made(x).square().sum().backward()
        found.append([p.grad.clone() for p in made.parameters()])
    assert seen == [2, 2, 1, *[1, 2, 2], 2, 2, 1]  # forward, again in the backward, and forward alone
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two)


def test_what_cannot_be_tuned(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="pip install halfseen[onnx]")
    graph = load_backbone(str(write(tmp_path / "net.onnx", ["n", 3, "h", "w"])))
    with pytest.raises(UserError, match="is a graph without gradients; take --tune head"):
        settle(graph, "all")
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    side = 8\n"
        "    def forward(self, x):\n        return x.mean((2, 3))\n"
    )
    with pytest.raises(UserError, match="names none with weights; take --tune head"):
        settle(load_backbone(f"{tmp_path}/mine.py:Net"), "last")
