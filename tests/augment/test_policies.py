"""Policies: what a view may show, and that it depends on its own random numbers and on nothing else."""

import io
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from halfseen.augment import IMAGE_POLICIES, CTAugment, make_policy
from halfseen.augment.geometry import cutout, shift
from halfseen.augment.randaugment import OPS_14, RandAugment
from halfseen.draws import Draws
from halfseen.errors import UserError

NAMES = (*IMAGE_POLICIES, "ds+noise", "fm+jitter", "affine+cutout16", "fm+ra", "fm+cta", "affine+ra+noise", "cta+fm")
MEAN, STD = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])


def images(n: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (n, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def policy(name, shape=(3, 32, 32), flip=True, draws=None, seed=0, **options):
    mean, std = MEAN[: shape[0]], STD[: shape[0]]
    draws = draws or Draws.seeded(seed)
    return make_policy(name, shape=shape, flip=flip, mean=mean, std=std, draws=draws, **options)


class Permuted(Draws):
    """Gives row i what row order[i] would have got."""

    order: Tensor

    def _rows(self, n: int) -> tuple[int, Any]:
        return n, self.order


def bytes_of(view: Tensor) -> Tensor:
    """Undo the normalisation."""
    c = view.shape[1]
    return (255 * (view * STD[:c, None, None] + MEAN[:c, None, None])).round()


@pytest.mark.parametrize("name", NAMES)
def test_form_of_a_view(name: str) -> None:
    for shape in ((3, 32, 32), (1, 28, 28), (3, 41, 57), (1, 2, 3)):
        for n in (0, 1, 5):
            x = images(n, *shape)
            before = x.clone()
            view = policy(name, shape)(x)
            assert view.shape == x.shape
            assert view.dtype == torch.float32
            assert view.is_contiguous(memory_format=torch.channels_last)
            assert view.isfinite().all()
            assert torch.equal(x, before), "the raw images stay as they are"


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_view_and_fresh_ones_each_call(name: str) -> None:
    x = images(64, 3, 32, 32)
    one, two = policy(name), policy(name)
    first = one(x)
    assert torch.equal(first, two(x))
    changed = (one(x) != first).flatten(1).any(1).float().mean()
    assert changed == 0 if name == "none" else changed > 0.6  # tx2 has five views: four in five change
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one(x)
    assert torch.equal(state, torch.get_rng_state()), "the global generator is nobody's business"


@pytest.mark.parametrize("name", NAMES)
def test_an_image_sees_only_its_own_numbers(name: str) -> None:
    x = images(50, 3, 32, 32)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(2))
    permuted = Permuted.seeded(7)
    permuted.order = order
    assert torch.equal(policy(name, draws=permuted)(x[order]), policy(name, seed=7)(x)[order])


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_make_the_views_of_one(name: str) -> None:
    x = images(40, 3, 32, 32)
    whole = policy(name, seed=5)(x)
    for rank in range(2):
        part = policy(name, draws=Draws.seeded(5, rank=rank, world=2))(x[rank::2])
        assert torch.equal(part, whole[rank::2])


def test_normalisation() -> None:
    x = images(4, 3, 9, 11)
    expected = (x.double() / 255 - MEAN.double()[:, None, None]) / STD.double()[:, None, None]
    assert torch.allclose(policy("none", (3, 9, 11))(x).double(), expected, atol=1e-6)
    view = policy("none", (3, 9, 11), per_image=True)(x)
    assert torch.allclose(view.mean((1, 2, 3)), torch.zeros(4), atol=1e-5)
    assert torch.allclose(view.std((1, 2, 3), correction=0), torch.ones(4), atol=1e-5)
    flat = torch.full((2, 3, 9, 11), 200, dtype=torch.uint8)
    assert (policy("none", (3, 9, 11), per_image=True)(flat) == 0).all()


def test_per_image_normalisation_keeps_what_augmentation_did_to_the_image() -> None:
    """It uses the statistics of the raw image, so a view with a hole is not re-scaled."""
    x = images(8, 3, 32, 32)
    whole, holed = policy("none", per_image=True)(x), policy("cutout16", per_image=True)(x)
    assert ((whole == holed).float().mean((1, 2, 3)) >= 0.74).all()


@pytest.mark.parametrize(("name", "reach"), [("te", 2), ("ds", 4), ("fm", 4)])
@pytest.mark.parametrize("flip", [True, False])
def test_crops_are_windows_of_the_reflected_image(name: str, reach: int, flip: bool) -> None:
    n = 600
    x = images(1, 3, 12, 10).expand(n, 3, 12, 10)
    view = bytes_of(policy(name, (3, 12, 10), flip)(x))
    padded = torch.nn.functional.pad(x[:1].float(), (reach,) * 4, mode="reflect")[0]
    windows = {}
    for dy in range(2 * reach + 1):
        for dx in range(2 * reach + 1):
            window = padded[:, dy : dy + 12, dx : dx + 10]
            windows[window.numpy().tobytes()] = (dy, dx, False)
            windows[window.flip(2).contiguous().numpy().tobytes()] = (dy, dx, True)
    found = [windows[v.contiguous().numpy().tobytes()] for v in view]  # KeyError: not a window
    flips = sum(mirrored for _, _, mirrored in found)
    assert 230 < flips < 370 if flip else flips == 0
    assert {dy for dy, _, _ in found} == {dx for _, dx, _ in found} == set(range(2 * reach + 1))


@pytest.mark.parametrize("flip", [True, False])
def test_tx2_moves_left_and_right_alone(flip: bool) -> None:
    """Every image is its own rows over a reflected border, by -2 to 2 columns, all as often; never mirrored."""
    n = 1000
    x = images(n, 3, 12, 10)
    view = bytes_of(policy("tx2", (3, 12, 10), flip)(x))
    padded = torch.nn.functional.pad(x.float(), (2, 2, 0, 0), mode="reflect")
    moves = [
        [dx - 2 for dx in range(5) if torch.equal(view[i], padded[i, :, :, dx : dx + 10])] for i in range(n)
    ]  # an image of random bytes is one of them alone
    assert all(len(found) == 1 for found in moves)
    counts = torch.bincount(torch.tensor(moves).flatten() + 2, minlength=5)
    assert ((counts > 140) & (counts < 260)).all()


def test_affine_flips_only_when_it_may() -> None:
    x = torch.zeros(400, 1, 28, 28, dtype=torch.uint8)
    x[..., 20:] = 255  # bright on the right
    for flip in (True, False):
        view = policy("affine", (1, 28, 28), flip)(x)
        mirrored = (view[..., :14].sum((1, 2, 3)) > view[..., 14:].sum((1, 2, 3))).sum()
        assert 150 < mirrored < 250 if flip else mirrored == 0


def test_affine_at_rest_changes_nothing_but_the_flip() -> None:
    x = images(64, 3, 17, 20)
    still = {"rotate": 0.0, "zoom": 0.0, "shear": 0.0, "move": 0.0}
    assert torch.equal(bytes_of(policy("affine", (3, 17, 20), False, **still)(x)), x.float())
    view = bytes_of(policy("affine", (3, 17, 20), True, **still)(x))
    kept = (view == x).flatten(1).all(1)
    assert torch.equal(view[~kept], x[~kept].flip(3).float())
    assert 15 < kept.sum() < 49


@settings(max_examples=40, deadline=None)
@given(h=st.integers(1, 9), w=st.integers(1, 9), dy=st.integers(-6, 6), dx=st.integers(-6, 6), mirror=st.booleans())
def test_shift_pixel_by_pixel(h: int, w: int, dy: int, dx: int, mirror: bool) -> None:
    def reflected(i: int, size: int) -> int:
        while not 0 <= i < size:
            i = 0 if size == 1 else -i if i < 0 else 2 * (size - 1) - i
        return i

    x = images(1, 2, h, w)
    view = shift(x, torch.tensor([dy]), torch.tensor([dx]), torch.tensor([mirror]))
    for i in range(h):
        for j in range(w):
            column = reflected((w - 1 - j if mirror else j) + dx, w)
            assert torch.equal(view[0, :, i, j], x[0, :, reflected(i + dy, h), column])


def test_cutout_is_one_hole_of_the_mean_colour() -> None:
    n = 500
    x = torch.full((n, 3, 32, 32), 255, dtype=torch.uint8)
    view = policy("cutout16")(x)
    hole = view.abs().amax(1) < 0.01  # the mean is 0 after normalisation
    area = hole.sum((1, 2))
    assert area.max() == 256
    assert area.min() >= 64  # a centre in the corner leaves a quarter
    rows, columns = hole.any(2), hole.any(1)
    assert torch.equal(area, rows.sum(1) * columns.sum(1)), "a rectangle"
    assert (hole == rows[:, :, None] & columns[:, None, :]).all()
    assert 0.12 < hole.float().mean() < 0.21  # 0.75^2 of a quarter on average, as clipped at the border
    assert hole.any(0).all(), "every pixel can be hidden"


def test_cutout_by_hand() -> None:
    x = torch.full((3, 1, 6, 6), 9, dtype=torch.uint8)
    at, side = torch.tensor([0, 3, 5]), torch.tensor([3, 4, 0])
    view = cutout(x, at, torch.tensor([3, 3, 3]), side, (1,))
    expected = x.clone()
    expected[0, 0, 0:2, 2:5] = 1
    expected[1, 0, 1:5, 1:5] = 1
    assert torch.equal(view, expected)


def test_noise() -> None:
    x = images(200, 3, 16, 16)
    clean, noisy = policy("none", (3, 16, 16))(x), policy("noise", (3, 16, 16))(x)
    away = noisy - clean
    assert abs(float(away.mean())) < 0.003
    assert float(away.std()) == pytest.approx(0.15, rel=0.02)
    twice = policy("noise+noise", (3, 16, 16), noise_sd=0.3)(x) - clean
    assert float(twice.std()) == pytest.approx(0.3 * 2**0.5, rel=0.02)


def test_jitter_strengths() -> None:
    """On a grey ramp of one value per image only brightness shows: factors from .6 to 1.4, all of them."""
    x = torch.full((2000, 3, 2, 2), 100, dtype=torch.uint8)
    view = bytes_of(policy("jitter", (3, 2, 2))(x))[:, 0, 0, 0]
    assert 58 <= view.min() < 63
    assert 137 < view.max() <= 140


def test_randaugment_draws() -> None:
    n, names = 20000, [name for name, _ in OPS_14]
    ops, amounts = RandAugment("tenths", 2).draw(n, Draws.seeded(0), 32, 40)
    from halfseen.augment.chain import ID

    share = {name: float((ops == ID[name]).float().mean()) for name in names}
    for name in names:
        expected = 0.5 + 0.5 / 14 if name == "identity" else 0.5 / 14
        assert share[name] == pytest.approx(expected, abs=0.006)
    assert set(amounts[ops == ID["rotate"]].round(decimals=3).tolist()) == {
        s * 3.0 * v for s in (1, -1) for v in range(1, 10)
    }
    assert set(amounts[ops == ID["translate_x"]].tolist()) == {
        s * float(int(1.2 * v + 1e-9)) for s in (1, -1) for v in range(1, 10)
    }
    assert set(amounts[ops == ID["posterise"]].trunc().tolist()) == {4.0, 5.0, 6.0, 7.0}
    brightness = amounts[ops == ID["brightness"]]
    assert (float(brightness.min()), float(brightness.max())) == pytest.approx((0.14, 0.86))
    solarise = amounts[ops == ID["solarise"]]
    assert (float(solarise.min()), float(solarise.max())) == pytest.approx((25.6, 230.4))

    ops, amounts = RandAugment("uniform", 3).draw(n, Draws.seeded(0), 32, 40)
    assert ops.shape == (n, 3)
    for name in names:
        assert float((ops == ID[name]).float().mean()) == pytest.approx(1 / 14, abs=0.005)
    for name, reach in (("rotate", 30.0), ("shear_x", 0.3), ("translate_x", 12.0), ("translate_y", 9.6)):
        values = amounts[ops == ID[name]]
        assert values.abs().max() <= reach + 1e-4
        assert float(values.mean()) == pytest.approx(0, abs=0.05 * reach)
        assert float(values.std()) == pytest.approx(reach / 3**0.5, rel=0.05)


def test_randaugment_holes() -> None:
    white = torch.full((800, 1, 32, 32), 255, dtype=torch.uint8)
    hole = bytes_of(policy("ra", (1, 32, 32), ra_ops=1)(white)) == 127
    assert (hole.sum((1, 2, 3)) >= 64).float().mean() > 0.9
    sides = (bytes_of(policy("ra-torchssl", (1, 32, 32), ra_ops=1)(white)) == 127).any(2).sum(2).squeeze(1)
    assert 0 < sides.float().mean() < 12


def test_policy_state_is_the_generator() -> None:
    """Resume: a new policy with the saved generator state goes on as the old one."""
    x = images(16, 3, 32, 32)
    draws = Draws.seeded(3)
    run = policy("fm+ra", draws=draws)
    run(x)
    state = draws.generator.get_state()
    expected = run(x)
    again = Draws.seeded(99)
    again.generator.set_state(state)
    assert torch.equal(policy("fm+ra", draws=again)(x), expected)


def test_mistakes_are_sentences() -> None:
    with pytest.raises(UserError, match="did you mean 'cutout16'"):
        policy("fm+cutout")
    with pytest.raises(UserError, match="did you mean 'affine'"):
        policy("afine")
    with pytest.raises(UserError, match="feature vectors"):
        make_policy("fm", shape=(4,), flip=False, mean=torch.zeros(4), std=torch.ones(4), draws=Draws.seeded(0))
    with pytest.raises(UserError, match="2 channels"):
        make_policy("fm", shape=(2, 8, 8), flip=False, mean=torch.zeros(2), std=torch.ones(2), draws=Draws.seeded(0))
    with pytest.raises(UserError, match="one for each channel"):
        make_policy("fm", shape=(1, 8, 8), flip=False, mean=torch.zeros(3), std=torch.ones(3), draws=Draws.seeded(0))
    with pytest.raises(UserError, match="std"):
        make_policy("fm", shape=(1, 8, 8), flip=False, mean=torch.zeros(1), std=torch.zeros(1), draws=Draws.seeded(0))
    with pytest.raises(UserError, match="twice"):
        policy("cta+cta")


def test_images_come_raw() -> None:
    with pytest.raises(TypeError, match="uint8"):
        policy("fm")(torch.zeros(2, 3, 32, 32))


def test_cta_is_saved_with_the_module_that_owns_it() -> None:
    view = policy("fm+cta")
    assert isinstance(view, CTAugment)
    owner = torch.nn.Module()
    owner.strong = view
    view.rates[3, 4] = 0.25
    file = io.BytesIO()
    torch.save(owner.state_dict(), file)
    file.seek(0)
    other = torch.nn.Module()
    other.strong = policy("fm+cta")
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.strong.rates, view.rates)
