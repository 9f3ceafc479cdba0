"""The bank of views: what a row hangs on, what is made again and what is not, and what training is given of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from halfseen.augment import make_policy
from halfseen.augment.bank import Pick
from halfseen.data import ImageSet, open_data
from halfseen.data import store as store_file
from halfseen.data.bank import Bank, banked, spread
from halfseen.data.store import ByImage, Store, Views, digests
from halfseen.draws import Draws
from halfseen.errors import UserError


class Toy:
    """Means over the quarters of a picture, and how many pictures it has been shown."""

    name, least, dim, side = "toy", 8, 12, 16

    def __init__(self, key: str = "k", stop_after: int | None = None) -> None:
        self.key, self.shown, self.stop_after = key, 0, stop_after

    def frozen(self) -> "Toy":
        return self

    def __call__(self, x: Tensor) -> Tensor:
        if self.stop_after is not None and self.shown >= self.stop_after:
            raise KeyboardInterrupt
        self.shown += len(x)
        assert x.shape[1] == 3
        assert x.min() >= 0
        assert x.max() <= 1
        return torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


def pictures(n: int = 50, test: int = 7, channels: int = 3, seed: int = 0) -> ImageSet:
    random = np.random.default_rng(seed)
    x = random.integers(0, 256, (n, 16, 16, channels), dtype=np.uint8)
    arrays = {"x": x, "y": np.arange(n) % 3}
    if test:
        arrays |= {"test_x": random.integers(0, 256, (test, 16, 16, channels), dtype=np.uint8)}
        arrays |= {"test_y": np.arange(test) % 3}
    return open_data(arrays, flip=True)


def rows(made: ImageSet) -> dict[str, list[Tensor]]:
    bank = made.bank
    assert isinstance(bank, Bank)
    numbers = bank.rows[made.x[:, 0]]
    return {kind: [view[numbers] for view in views] for kind, views in bank.kinds.items()}


def same(one: ImageSet, two: ImageSet) -> bool:
    a, b = rows(one), rows(two)
    return all(torch.equal(v, w) for kind in a for v, w in zip(a[kind], b[kind], strict=True))


def test_rows_are_what_the_backbone_makes_of_views(tmp_path: Path) -> None:
    images, toy = pictures(), Toy()
    made = banked(images, toy, Views(2, 3), cache_dir=tmp_path)
    assert toy.shown == 50 * 6 + 7  # test images are kept clean only
    assert made.shape == (12,)
    assert made.x.tolist() == [[i] for i in range(50)]
    assert made.test_x is not None
    assert made.test_x.tolist() == [[50 + i] for i in range(7)]
    assert [len(v) for v in rows(made).values()] == [1, 2, 3]
    bank = made.bank
    assert isinstance(bank, Bank)
    plain = Toy()(images.x.float() / 255)
    torch.testing.assert_close(bank.clean(torch.arange(50)), plain, atol=1e-3, rtol=1e-3)
    assert images.test_x is not None
    torch.testing.assert_close(
        bank.clean(torch.arange(50, 57)), Toy()(images.test_x.float() / 255), atol=1e-3, rtol=1e-3
    )
    # a view of one image is that of the policy with the image's own numbers, whatever the chunk
    store = next(tmp_path.glob("bank-*"))
    about = json.loads((store / "about.json").read_text())
    seed = store_file.Store(store, about).seed_of(digests(images.x)[17].tobytes(), "strong-2")
    zero, one = torch.zeros(3), torch.ones(3)
    policy = make_policy("photo+photo-ra", shape=(3, 16, 16), flip=True, mean=zero, std=one, draws=ByImage([seed]))
    torch.testing.assert_close(
        rows(made)["strong"][2][17].float(), Toy()(policy(images.x[17:18]))[0], atol=1e-3, rtol=1e-3
    )
    assert not torch.equal(rows(made)["weak"][0], rows(made)["weak"][1])


def test_opened_again_nothing_is_looked_at_and_growth_costs_its_own(tmp_path: Path) -> None:
    images = pictures()
    first = banked(images, Toy(), Views(1, 1), cache_dir=tmp_path)
    again = Toy()
    assert same(first, banked(images, again, Views(1, 1), cache_dir=tmp_path))
    assert again.shown == 0
    more_views = Toy()
    grown = banked(images, more_views, Views(2, 2), cache_dir=tmp_path)
    assert more_views.shown == 50 * 2
    assert torch.equal(rows(grown)["weak"][0], rows(first)["weak"][0])
    other = pictures(seed=1, n=5, test=0)
    joined = open_data(
        {
            "x": torch.cat([other.x, images.x]).permute(0, 2, 3, 1).numpy(),
            "y": torch.cat([other.y, images.y]).numpy(),
        },
        flip=True,
    )
    added = Toy()
    last = banked(joined, added, Views(2, 2), cache_dir=tmp_path)
    assert added.shown == 5 * 5  # five new images, five views each
    assert torch.equal(rows(last)["strong"][1][5:], rows(grown)["strong"][1])
    fresh = banked(joined, Toy(), Views(2, 2), cache_dir=tmp_path / "elsewhere")
    assert same(last, fresh)  # whatever came first


def test_who_finds_all_rows_does_not_wait_for_who_adds_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, more = pictures(20), pictures(30, seed=1)
    made = banked(images, Toy(), Views(2, 2), cache_dir=tmp_path, progress=False)
    listed = next(tmp_path.glob("bank-*")) / "images.sums"
    with monkeypatch.context() as patched:
        patched.setattr(Store, "alone", lambda store: pytest.fail("it asked for the lock"))
        assert same(made, banked(images, Toy(), Views(2, 2), cache_dir=tmp_path, progress=False))
        with listed.open("ab") as file:  # another process has listed its images, and made none of their rows yet
            file.write(digests(more.x).tobytes())
        assert same(made, banked(images, Toy(), Views(2, 2), cache_dir=tmp_path, progress=False))
    fresh = Toy()
    banked(more, fresh, Views(2, 2), cache_dir=tmp_path, progress=False)
    assert fresh.shown == 30 * 5 + 7  # and its test images, clean


def test_a_kill_costs_one_chunk_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_file, "CHUNK", 8)
    images = pictures()
    with pytest.raises(KeyboardInterrupt):
        banked(images, Toy(stop_after=100), Views(2, 2), cache_dir=tmp_path)
    rest = Toy()
    made = banked(images, rest, Views(2, 2), cache_dir=tmp_path)
    assert rest.shown <= 50 * 5 + 7 - 100 + 8
    assert same(made, banked(images, Toy(), Views(2, 2), cache_dir=tmp_path / "whole"))


@pytest.mark.parametrize("lost", ["weak-0.rows", "weak-0.done", "images.sums"])
def test_what_was_lost_is_made_again(lost: str, tmp_path: Path) -> None:
    images = pictures()
    first = banked(images, Toy(), Views(1, 1), cache_dir=tmp_path)
    held = {kind: [view.clone() for view in views] for kind, views in rows(first).items()}
    file = next(tmp_path.glob("bank-*")) / lost
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2 + 1])
    toy = Toy()
    again = rows(banked(images, toy, Views(1, 1), cache_dir=tmp_path))
    assert 20 <= toy.shown <= 90
    for kind, views in held.items():
        for one, two in zip(views, again[kind], strict=True):
            assert torch.equal(one, two)


def test_other_weights_or_another_mirror_is_another_bank(tmp_path: Path) -> None:
    banked(pictures(), Toy(), Views(1, 1), cache_dir=tmp_path)
    for images, toy in ((pictures(), Toy("other")), (pictures(channels=1), Toy())):
        banked(images, toy, Views(1, 1), cache_dir=tmp_path)
        assert toy.shown == 50 * 3 + 7
    assert len(list(tmp_path.glob("bank-*"))) == 3


def test_the_same_picture_twice_is_looked_at_once(tmp_path: Path) -> None:
    images = pictures(n=10, test=0)
    twice = open_data(
        {"x": torch.cat([images.x, images.x]).permute(0, 2, 3, 1).numpy(), "y": np.arange(20) % 3}, flip=True
    )
    toy = Toy()
    made = banked(twice, toy, Views(1, 1), cache_dir=tmp_path)
    assert toy.shown == 10 * 3
    assert torch.equal(rows(made)["weak"][0][:10], rows(made)["weak"][0][10:])


def test_only_clean(tmp_path: Path) -> None:
    toy = Toy()
    made = banked(pictures(), toy, Views(), cache_dir=tmp_path, only_clean=True)
    assert toy.shown == 57
    assert [len(v) for v in rows(made).values()] == [1, 0, 0]


def test_pick_chooses_among_the_rows_of_its_kind(tmp_path: Path) -> None:
    made = banked(pictures(), Toy(), Views(2, 3), cache_dir=tmp_path)
    bank = made.bank
    assert isinstance(bank, Bank)
    mean, std = made.mean, made.std
    numbers = made.x[torch.tensor([3, 3, 9] * 40)]
    held = rows(made)
    for kind, name in (("clean", "none"), ("weak", "weak"), ("strong", "strong")):
        seen = Pick(name, bank, mean, std, Draws.seeded(0))(numbers)
        for i, n in enumerate(numbers[:, 0]):
            choices = [((view[n].float() - mean) / std) for view in held[kind]]
            assert any(torch.equal(seen[i], c) for c in choices)
        assert len(seen[numbers[:, 0] == 3].unique(dim=0)) == len(held[kind])
    noisy = Pick("none+noise", bank, mean, std, Draws.seeded(0))(numbers)
    clean = Pick("none", bank, mean, std, Draws.seeded(0))(numbers)
    assert 0.12 < float((noisy - clean).std()) < 0.18
    dropped = Pick("none+dropout", bank, mean, std, Draws.seeded(0))(numbers)
    assert 0.05 < float((dropped == 0).float().mean()) < 0.15


def test_what_is_centred_keeps_its_angles(tmp_path: Path) -> None:
    made = banked(pictures(), Toy(), Views(1, 1), cache_dir=tmp_path)
    bank = made.bank
    assert isinstance(bank, Bank)
    mean, std = spread(bank, made.x[:, 0])
    assert len(std.unique()) == 1
    torch.testing.assert_close(bank.clean(made.x[:, 0]).mean(0), mean, atol=1e-5, rtol=1e-5)


def test_draws_by_image_hang_on_the_seed_alone() -> None:
    one, two = ByImage([5, 6, 7]), ByImage([7, 5])
    for draw in (
        lambda d, n: d.uniform(n, 2),
        lambda d, n: d.normal(n, 3),
        lambda d, n: d.integers(0, 9, n, 4),
        lambda d, n: d.beta(0.5, 0.5, n),
        lambda d, n: d.gumbel(n, 2),
    ):
        a, b = draw(one, 3), draw(two, 2)
        assert torch.equal(a[2], b[0])
        assert torch.equal(a[0], b[1])


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("vectors", "holds vectors, and a backbone looks at pictures"),
        ("small", "needs pictures of at least 8x8 pixels, and these have 4x4: give a larger --size"),
        ("views", "a bank keeps at least one view of each kind"),
        ("room", r"The bank of views needs .* MB in .*, where 0 MB are free"),
        ("nan", "not finite in half precision"),
    ],
)
def test_bad_input(what: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, toy, views = pictures(), Toy(), (1, 1)
    if what == "vectors":
        images = open_data({"x": np.zeros((9, 4), np.float32) + np.arange(9)[:, None], "y": np.arange(9) % 3})
    if what == "small":
        images = open_data({"x": np.zeros((9, 4, 4), np.uint8), "y": np.arange(9) % 3})
    if what == "views":
        views = (0, 1)
    if what == "room":
        monkeypatch.setattr(store_file.shutil, "disk_usage", lambda _: store_file.shutil._ntuple_diskusage(1, 1, 0))
    if what == "nan":
        monkeypatch.setattr(Toy, "__call__", lambda self, x: torch.full((len(x), 12), 1e9))
    with pytest.raises(UserError, match=said):
        banked(images, toy, Views(*views), cache_dir=tmp_path)
