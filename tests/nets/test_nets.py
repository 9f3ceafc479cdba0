"""Networks: parameter counts of the papers, structure against references, gradients everywhere, errors in words."""

import copy
import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from halfseen.errors import UserError
from halfseen.nets import NETS, describe_options, make_net
from halfseen.nets.cnn13 import MeanOnlyNorm, init_from_data
from halfseen.nets.shake_shake import ShiftedSkip, _Mix

COUNTS = [
    ("cnn13", 10, (3, 32, 32), {"norm": "bn"}, 3_121_802),
    ("cnn13", 100, (3, 32, 32), {"norm": "bn"}, 3_133_412),
    ("cnn13", 10, (3, 32, 32), {"norm": "bn_bias"}, 3_123_850),
    ("cnn13", 100, (3, 32, 32), {"norm": "bn_bias"}, 3_135_460),
    ("cnn13", 10, (3, 32, 32), {}, 3_125_908),
    ("cnn13", 100, (3, 32, 32), {}, 3_137_608),
    ("cnn13", 10, (3, 32, 32), {"heads": 2}, 3_127_208),
    ("cnn13", 100, (3, 32, 32), {"heads": 2}, 3_150_608),
    ("cnn13", 10, (1, 28, 28), {"norm": "bn"}, 3_119_498),
    # a shift per channel, no scale; then with a scale (weight norm), and one per class
    ("cnn13", 10, (3, 32, 32), {"norm": "mean_only"}, 3_121_802 - 2048),
    ("cnn13", 10, (3, 32, 32), {"norm": "wn_mean_only"}, 3_121_802 + 10),
    ("wrn-28-2", 10, (3, 32, 32), {}, 1_467_610),
    ("wrn-28-2", 100, (3, 32, 32), {}, 1_479_220),
    ("wrn-28-2", 10, (3, 32, 32), {"bias": True}, 1_469_642),
    ("wrn-28-2", 10, (3, 32, 32), {"release_skip": True}, 1_467_610),
    ("wrn-28-8", 10, (3, 32, 32), {}, 23_354_842),
    ("wrn-28-8", 100, (3, 32, 32), {}, 23_401_012),
    ("wrn-28-8", 100, (3, 32, 32), {"bias": True}, 23_409_092),
    ("shake-26-2x96d", 10, (3, 32, 32), {}, 26_193_466),
    ("shake-26-2x96d", 100, (3, 32, 32), {}, 26_228_116),
    ("shake-26-2x32d", 10, (3, 32, 32), {}, 2_923_322),
    ("resnet18", 1000, (3, 224, 224), {}, 11_689_512),
    ("resnet18", 10, (3, 224, 224), {}, 11_181_642),
    ("lenet", 10, (1, 28, 28), {}, 427_102),
    ("lenet5", 10, (1, 28, 28), {}, 61_056),
    ("cnn3", 10, (3, 28, 28), {}, 15_256),
    ("air", 10, (3, 32, 32), {}, 1_972_826),  # airbench94's and the bias of a learnt first layer's norm and of the head
    ("air", 10, (3, 32, 32), {"width": 24}, 282_106),
    ("mlp", 2, (2,), {}, 182_102),
]


def parameters(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("name", "classes", "shape", "options", "count"), COUNTS)
def test_parameter_counts(name, classes, shape, options, count):
    # large ones without memory; a weight norm without memory takes seconds to import
    with torch.device("meta" if count > 5e6 else "cpu"):
        assert parameters(make_net(name, classes=classes, shape=shape, **options)) == count


def test_small_is_small():
    for shape in ((1, 28, 28), (3, 32, 32)):
        for classes in (10, 100):
            assert parameters(make_net("small", classes=classes, shape=shape)) < 150_000
    for width, count in ((16, 28_794), (32, 112_874)):  # what its docs say
        assert parameters(make_net("small", classes=10, shape=(1, 28, 28), width=width)) == count


SHAPES = {
    "small": (1, 28, 28),
    "mlp": (5,),
    "cnn13": (3, 12, 12),
    "cnn3": (3, 28, 28),
    "wrn-28-2": (3, 8, 8),
    "shake-26-2x32d": (3, 10, 10),
    "resnet18": (3, 32, 32),
    "air": (3, 16, 16),
    "lenet": (1, 28, 28),
    "lenet5": (1, 28, 28),
}
CASES = (
    [(name, {}) for name in SHAPES]
    + [("cnn13", {"norm": norm}) for norm in ("bn", "bn_bias", "wn_mean_only", "mean_only")]
    + [("cnn13", {"norm": "bn", "logits_norm": True, "heads": 2})]
    + [("wrn-28-2", {"release_skip": True}), ("wrn-28-2", {"bias": True, "dropout": 0.3})]
    + [("small", {"dropout": 0.3}), ("mlp", {"width": 7, "depth": 1, "dropout": 0.3})]
)


def images(shape, n=3, seed=0):
    x = torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))
    return x.to(memory_format=torch.channels_last) if len(shape) == 3 else x


@pytest.mark.parametrize("classes", [2, 100])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_trained_parameter_gets_a_finite_gradient(name, options, classes):
    torch.manual_seed(0)
    shape = SHAPES[name]
    net = make_net(name, classes=classes, shape=shape, **options).to(memory_format=torch.channels_last).train()
    logits = net(images(shape))
    assert logits.shape == (3, classes)
    loss = F.cross_entropy(logits, torch.tensor([0, 1, 1]))
    if net.head2 is not None:
        loss = loss + F.cross_entropy(net.two(images(shape))[1], torch.tensor([1, 0, 1]))
    loss.backward()
    for key, p in net.named_parameters():
        if p.requires_grad:
            assert p.grad is not None, key
            assert p.grad.isfinite().all(), key
    assert sum(float(p.grad.abs().sum()) for p in net.parameters() if p.grad is not None) > 0


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_net_is_its_head_on_its_features_copies_and_loads(name, options):
    torch.manual_seed(0)
    shape = SHAPES[name]
    net = make_net(name, classes=4, shape=shape, **options)
    net.train()(images(shape, 4))  # moves the running statistics
    net.eval()
    h, logits = net.features(images(shape)), net(images(shape))
    assert h.shape == (3, net.num_features)
    assert isinstance(net.head, nn.Linear)
    assert (net.head.in_features, net.head.out_features) == (net.num_features, 4)
    torch.testing.assert_close(net.head(h), logits)
    assert torch.equal(net(images(shape)), logits)  # nothing is random in evaluation
    assert torch.equal(copy.deepcopy(net)(images(shape)), logits)
    other = make_net(name, classes=4, shape=shape, **options).eval()
    assert not torch.equal(other(images(shape)), logits)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(images(shape)), logits)
    assert net(images(shape, 0)).shape == (0, 4)


def test_the_same_seed_gives_the_same_net():
    for name, shape in SHAPES.items():
        torch.manual_seed(3)
        one = make_net(name, classes=4, shape=shape).state_dict()
        torch.manual_seed(3)
        two = make_net(name, classes=4, shape=shape).state_dict()
        assert all(torch.equal(v, two[k]) for k, v in one.items()), name


@pytest.mark.parametrize("name", ["cnn13", "cnn3"])
def test_input_noise_is_for_training_only(name):
    net = make_net(name, classes=2, shape=SHAPES[name])
    noise = net.body[0]
    x = torch.zeros(50, *SHAPES[name])
    assert torch.equal(noise.eval()(x), x)
    noisy = noise.train()(x)
    assert noisy.std().item() == pytest.approx(0.15, rel=0.02)
    assert torch.equal(x, torch.zeros_like(x))
    quiet = make_net(name, classes=2, shape=SHAPES[name], input_noise=0.0)
    assert torch.equal(quiet.body[0].train()(x), x)


def test_heads():
    for name in ("cnn13", "cnn3", "shake-26-2x32d"):
        net = make_net(name, classes=3, shape=SHAPES[name], heads=2).eval()
        x = images(SHAPES[name])
        one, two = net.two(x)
        torch.testing.assert_close(one, net(x))
        torch.testing.assert_close(two, net.head2(net.features(x)))
        assert not torch.allclose(one, two)
        with pytest.raises(ValueError, match="heads=2"):
            make_net(name, classes=3, shape=SHAPES[name], heads=1).two(x)
        with pytest.raises(UserError, match="1 or 2 heads"):
            make_net(name, classes=3, shape=SHAPES[name], heads=3)


def reference_wrn(s, x, release):
    """The same network as plain functions, in evaluation mode, from a state_dict: the left path is the residual."""

    def norm_act(x, key):
        mean, var, w, b = (s[f"{key}.{n}"].view(1, -1, 1, 1) for n in ("running_mean", "running_var", "weight", "bias"))
        x = (x - mean) / (var + 1e-3).sqrt() * w + b
        return torch.where(x > 0, x, 0.1 * x)

    x = F.conv2d(x, s["stem.weight"], padding=1)
    for i in range(12):
        k, stride = f"blocks.{i}", 2 if i in (4, 8) else 1
        activated = norm_act(x, f"{k}.norm1")
        changes = f"{k}.skip.weight" in s
        if i == 0:
            x = activated
        h = x if release and changes else activated
        h = F.conv2d(h, s[f"{k}.conv1.weight"], stride=stride, padding=1)
        h = F.conv2d(norm_act(h, f"{k}.norm2"), s[f"{k}.conv2.weight"], padding=1)
        x = h + (F.conv2d(x, s[f"{k}.skip.weight"], stride=stride) if changes else x)
    return norm_act(x, "norm").mean((2, 3)) @ s["head.weight"].T + s["head.bias"]


@pytest.mark.parametrize("release", [False, True])
def test_wrn_against_a_reference(release):
    torch.manual_seed(0)
    net = make_net("wrn-28-2", classes=4, shape=(3, 9, 8), release_skip=release).double()
    x = images((3, 9, 8)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p) * 0.01)
        for _ in range(3):
            net.train()(x)
        torch.testing.assert_close(net.eval()(x), reference_wrn(net.state_dict(), x, release))


def test_wrn_settings():
    net = make_net("wrn-28-2", classes=4, shape=(3, 32, 32), dropout=0.3)
    assert {(m.momentum, m.eps) for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {(1e-3, 1e-3)}
    assert sum(m.p == 0.3 for m in net.modules() if isinstance(m, nn.Dropout)) == 12
    at_head = make_net("wrn-28-2", classes=4, shape=(3, 32, 32), dropout=0.3, dropout_site="head")
    assert [m.p for m in at_head.modules() if isinstance(m, nn.Dropout)] == [0.3]
    with pytest.raises(UserError, match="'block' and 'head'"):
        make_net("wrn-28-2", classes=4, shape=(3, 32, 32), dropout_site="tail")


def test_shake_draws_for_each_image_and_again_for_the_gradient():
    x, y = torch.randn(4, 2, 3, 3, requires_grad=True), torch.randn(4, 2, 3, 3, requires_grad=True)
    a, b = torch.rand(2, 4, 1, 1, 1)
    out = _Mix.apply(x, y, a, b)
    torch.testing.assert_close(out, a * x + (1 - a) * y)
    g = torch.randn_like(out)
    to_x, to_y = torch.autograd.grad(out, (x, y), g)
    torch.testing.assert_close(to_x, b * g)
    torch.testing.assert_close(to_y, (1 - b) * g)


def test_shake_block_mixes_at_random_in_training_and_halves_in_evaluation():
    torch.manual_seed(0)
    block = make_net("shake-26-2x32d", classes=2, shape=(3, 8, 8)).blocks[1].eval()
    x = torch.randn(6, 32, 8, 8)
    one, two = (branch(x) for branch in block.branches)
    torch.testing.assert_close(block(x), x + (one + two) / 2)
    block.training = True  # the mixing alone: the norms keep their running statistics
    share = ((block(x) - x - two) * (one - two)).sum((1, 2, 3)) / (one - two).square().sum((1, 2, 3))  # [n]
    assert ((share > 0) & (share < 1)).all()
    assert share.unique().numel() == 6


def test_shifted_skip():
    torch.manual_seed(0)
    skip = ShiftedSkip(2, 4).eval()
    x = torch.randn(1, 2, 4, 4)
    r = F.relu(x)
    w, b = skip.conv.weight[:, :, 0, 0], skip.conv.bias
    even, odd = r[0, :, 0::2, 0::2], r[0, :, 1::2, 1::2]
    expected = torch.cat([torch.einsum("oc,chw->ohw", w[:2], even), torch.einsum("oc,chw->ohw", w[2:], odd)])
    expected = (expected + b[:, None, None]) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(skip(x)[0], expected)
    assert skip(torch.randn(1, 2, 5, 7)).shape == (1, 4, 3, 4)


def test_mean_only_norm():
    norm, x = MeanOnlyNorm(2), torch.randn(8, 2, 3, 3) * 5 + 7
    with torch.no_grad():
        norm.bias.copy_(torch.tensor([1.0, -1.0]))
    out = norm(x)
    torch.testing.assert_close(out.mean((0, 2, 3)), norm.bias.detach())
    torch.testing.assert_close(out.std((0, 2, 3)), x.std((0, 2, 3)))
    torch.testing.assert_close(norm.running_mean, 0.1 * x.mean((0, 2, 3)))
    norm.eval()
    torch.testing.assert_close(norm(x), x + (norm.bias - norm.running_mean).view(1, 2, 1, 1))


@pytest.mark.parametrize("norm", ["wn_mean_only", "mean_only", "wn_bn"])
def test_init_from_data_gives_every_layer_unit_variance(norm):
    torch.manual_seed(0)
    net = make_net("cnn13", classes=5, shape=(3, 12, 12), norm=norm, heads=2, dropout=0.0, input_noise=0.0).train()
    x = images((3, 12, 12), 16)
    buffers = copy.deepcopy(dict(net.named_buffers()))
    init_from_data(net, x)
    assert all(torch.equal(v, buffers[k]) for k, v in net.named_buffers())
    assert all(m.training for m in net.modules())
    seen = []
    for m in net.modules():
        if isinstance(m, nn.Conv2d | nn.Linear):
            m.register_forward_hook(lambda m, i, out: seen.append(out.std([0, *range(2, out.ndim)])))
    if norm == "wn_bn":
        net.eval()  # in training its batch norms would divide by the variance once more
    net.two(x)
    assert len(seen) == 11
    for sd in seen:
        torch.testing.assert_close(sd, torch.ones_like(sd), rtol=1e-3, atol=1e-3)


def test_cnn3_takes_one_window_of_the_paper_s_maps():
    net = make_net("cnn3", classes=10, shape=(3, 28, 28)).eval()
    x = images((3, 28, 28))
    maps = net.body(x)
    assert maps.shape == (3, 32, 7, 7)
    torch.testing.assert_close(net.features(x), maps[:, :, :6, :6].mean((2, 3)))


def test_cnn13_pools_whatever_map_is_left():
    for side, left in ((28, 5), (32, 6), (12, 1)):
        net = make_net("cnn13", classes=10, shape=(1, side, side), norm="bn").eval()
        assert net.body(images((1, side, side))).shape == (3, 128, left, left)


def test_mlp_flattens_pictures():
    net = make_net("mlp", classes=3, shape=(1, 4, 5), width=6)
    x = images((1, 4, 5))
    torch.testing.assert_close(net(x), net(x.reshape(3, 20)))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 11), (3, 64, 64), (2, 28, 28)])
def test_small_takes_any_size(shape):
    assert make_net("small", classes=3, shape=shape)(images(shape)).shape == (3, 3)


def test_options_are_described():
    assert describe_options("cnn13") == [
        ("norm", "wn_bn"),
        ("heads", 1),
        ("input_noise", 0.15),
        ("dropout", 0.5),
        ("logits_norm", False),
    ]
    assert "width" not in dict(describe_options("wrn-28-2"))  # the name says it
    assert describe_options("lenet") == []
    for name in NETS:
        assert all(default is not inspect.Parameter.empty for _, default in describe_options(name))


@pytest.mark.parametrize(
    ("name", "shape", "options", "sentence"),
    [
        ("wrn28-2", (3, 32, 32), {}, "did you mean 'wrn-28-2'"),
        ("zebra", (3, 32, 32), {}, "known: .*small"),
        ("cnn13", (3, 32, 32), {"nrom": "bn"}, "no option 'nrom': did you mean 'norm'"),
        ("cnn13", (3, 32, 32), {"norm": "wn_bm"}, "did you mean 'wn_bn'"),
        ("lenet", (1, 28, 28), {"norm": "bn"}, "it has no options"),
        ("wrn-28-2", (3, 32, 32), {"width": 3}, "no option 'width'"),
        ("small", (7,), {}, "vectors of 7 numbers: take --net mlp"),
        ("cnn13", (3, 8, 8), {}, "at least 12x12 pixels, and these have 8x8"),
        ("small", (1, 7, 28), {}, "at least 8x8"),
        ("air", (3, 15, 32), {}, "at least 16x16"),
        ("mlp", (), {}, "empty"),
        ("mlp", (3,), {"depth": 0}, "at least one layer"),
        ("small", (1, 28, 28), {"dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_errors_are_sentences(name, shape, options, sentence):
    with pytest.raises(UserError, match=sentence):
        make_net(name, classes=10, shape=shape, **options)


def test_one_class_is_refused():
    with pytest.raises(UserError, match="at least 2 classes"):
        make_net("mlp", classes=1, shape=(2,))


MINE = """
import torch
class Mine(torch.nn.Module):
    def __init__(self, classes, shape, hidden=8):
        super().__init__()
        self.num_features = hidden
        self.body = torch.nn.Linear(shape[0], hidden)
        self.head = torch.nn.Linear(hidden, classes)
    def features(self, x):
        return self.body(x)
    def forward(self, x):
        return self.head(self.features(x))

def bare(classes, shape):
    return torch.nn.Linear(shape[0], classes)

def word(classes, shape):
    return "net"

def shapeless(classes):
    return bare(classes, (4,))
"""


def test_a_net_from_a_users_file_and_from_a_factory(tmp_path):
    file = tmp_path / "my_net.py"
    file.write_text(MINE)
    net = make_net(f"{file}:Mine", classes=3, shape=(4,), hidden=5)
    assert net(torch.zeros(2, 4)).shape == (2, 3)
    assert describe_options(f"{file}:Mine") == [("hidden", 8)]
    assert make_net(type(net), classes=3, shape=(4,)).num_features == 8
    assert make_net(lambda **kw: type(net)(kw["classes"], kw["shape"], kw["h"]), classes=2, shape=(4,), h=3)


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        (":Mime", "did you mean 'Mine'"),
        ("", "say which function"),
        (":bare", "no features and no head and no num_features"),
        (":word", "is a str"),
        (":shapeless", "must accept classes=, shape= and its options: .* 'shape'"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, end, sentence):
    file = tmp_path / "my_net.py"
    file.write_text(MINE)
    with pytest.raises(UserError, match=sentence):
        make_net(f"{file}{end}", classes=3, shape=(4,))


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        make_net(f"{tmp_path}/none.py:f", classes=3, shape=(4,))
    (tmp_path / "broken.py").write_text("import torhc")
    with pytest.raises(UserError, match="No module named 'torhc'"):
        make_net(f"{tmp_path}/broken.py:f", classes=3, shape=(4,))
    with pytest.raises(UserError, match="not int"):
        make_net(3, classes=3, shape=(4,))


def test_cnn13_norms_its_logits_where_it_is_asked_to():
    """As the reference of VAT does for SVHN: mean 0 and variance 1 of each logit over the batch, before training."""
    torch.manual_seed(0)
    net = make_net("cnn13", classes=5, shape=(3, 12, 12), norm="bn", logits_norm=True, dropout=0.0).train()
    logits = net(images((3, 12, 12), n=64))
    torch.testing.assert_close(logits.mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(logits.var(0, correction=0), torch.ones(5), atol=1e-2, rtol=0)
    plain = make_net("cnn13", classes=5, shape=(3, 12, 12), norm="bn")
    assert parameters(net) == parameters(plain) + 5  # a scale for each class; the shift is the bias
    with pytest.raises(UserError, match="already"):
        make_net("cnn13", classes=5, shape=(3, 12, 12), norm="wn_mean_only", logits_norm=True)
