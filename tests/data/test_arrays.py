"""Arrays, .npz files and data sets that the user has: any usual layout becomes the same set, mistakes become sentences."""

import numpy as np
import pytest
import torch
from PIL import Image

from halfseen.data import open_data
from halfseen.errors import UserError


@pytest.fixture
def grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 6, 5), dtype=np.uint8)


@pytest.fixture
def colour() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)


Y = np.array([0, 1, 2, 0, 1, 2, -1, -1, -1, -1, -1, -1])


def test_layouts_and_number_formats_give_the_same_pixels(grey, colour):
    expected = torch.from_numpy(grey)[:, None]
    for same in (
        grey,
        grey[..., None],
        torch.from_numpy(grey),
        grey.astype(np.int64),
        grey / 255,
        grey.astype(np.float32),
        grey.astype(np.uint16) * 257,
    ):
        data = open_data((same, Y))
        assert data.x.dtype == torch.uint8
        assert torch.equal(data.x, expected)
    first = np.ascontiguousarray(colour.transpose(0, 3, 1, 2))
    for same in (colour, first, torch.from_numpy(first), torch.from_numpy(first).float() / 255):
        assert torch.equal(open_data((same, Y)).x, torch.from_numpy(first))


def test_what_an_array_set_says_of_itself(colour):
    data = open_data((colour, Y))
    assert data.shape == (3, 6, 5)
    assert data.num_classes == 3
    assert data.classes == ("0", "1", "2")
    assert data.given.tolist() == [True] * 6 + [False] * 6
    assert data.flip
    assert not open_data((colour[..., 0], Y)).flip
    assert not open_data((colour, Y), flip=False).flip
    pixels = colour.reshape(-1, 3) / 255
    assert np.allclose(data.mean, pixels.mean(0), atol=1e-6)
    assert np.allclose(data.std, pixels.std(0), atol=1e-6)


def test_vectors_stay_floats_and_are_measured_by_feature():
    x = np.random.default_rng(0).normal(3, [1, 5], (50, 2))
    data = open_data((x, np.arange(50) % 2))
    assert data.x.dtype == torch.float32
    assert not data.is_images
    assert np.allclose(data.std, x.std(0), rtol=1e-3)
    still = open_data((np.ones((4, 3)), [0, 1, 0, 1]))
    assert still.std.tolist() == [1, 1, 1]  # not 0: a division by it would be infinite


def test_labels_of_every_kind(grey):
    names = np.array(["cat", "dog", "", "cat", "dog", ""] * 2)
    mixed = [None if n == "" else n for n in names]
    for labels in (names, mixed, np.array(mixed, dtype=object)):
        data = open_data((grey, labels))
        assert data.classes == ("cat", "dog")
        assert data.y.tolist() == [0, 1, -1] * 4
    gaps = open_data((grey, np.array([10, 2, 30, -1] * 3)))
    assert gaps.classes == ("2", "10", "30")
    assert gaps.y.tolist() == [1, 0, 2, -1] * 3
    holes = open_data((grey, np.array([0.0, 1.0, np.nan] * 4)))
    assert holes.y.tolist() == [0, 1, -1] * 4
    numbered = open_data((grey, np.array(["img10", "img2", "img1"] * 4)))
    assert numbered.classes == ("img1", "img2", "img10")


def test_numbers_are_positions_where_the_names_are_given_even_if_these_are_numbers(grey):
    data = open_data({"x": grey, "y": Y, "classes": ["7", "3", "1"], "test_x": grey[:2], "test_y": [1, 2]})
    assert data.classes == ("7", "3", "1")
    assert data.y.tolist() == Y.tolist()
    assert data.test_y.tolist() == [1, 2]


def test_npz_with_a_test_part_and_named_classes(tmp_path, grey):
    for keys in (("x_test", "y_test"), ("test_x", "test_y")):
        parts = {keys[0]: grey[:4], keys[1]: np.array([2, 1, 0, 0])}
        np.savez(tmp_path / "mine.npz", x=grey, y=Y, classes=np.array(["a", "b", "c"]), **parts)
        data = open_data(tmp_path / "mine.npz")
        assert data.name == "mine"
        assert data.classes == ("a", "b", "c")
        assert torch.equal(data.test_x, data.x[:4])
        assert data.test_y.tolist() == [2, 1, 0, 0]
        assert open_data(str(tmp_path / "mine.npz")).fingerprint() == data.fingerprint()


def test_size_and_channels_as_asked(grey):
    data = open_data((grey, Y, grey, np.arange(12) % 3), size=10, channels=3)
    assert data.shape == (3, 10, 10)
    assert data.test_x.shape == (12, 3, 10, 10)
    smaller = np.asarray(Image.fromarray(grey[3]).resize((10, 10), Image.Resampling.BICUBIC))
    assert np.array_equal(data.x[3, 1], smaller)


def test_a_test_part_has_the_scale_of_the_training_part(grey):
    dark = np.full((3, 6, 5), 1.0, np.float32)  # grey level 1 of 255, and not white
    data = open_data((grey.astype(np.float32), Y, dark, np.array([0, 1, 2])))
    assert data.test_x.unique().tolist() == [1]


class Rows:
    """As torchvision's sets: rows of (image, int)."""

    def __init__(self, rows, classes=None):
        self.rows = rows
        if classes:
            self.classes = classes

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def test_map_style_sets_of_pictures_arrays_and_tensors(colour):
    pictures = Rows([(Image.fromarray(c), k % 2) for k, c in enumerate(colour)], ["cat", "dog"])
    arrays = Rows([(c, k % 2) for k, c in enumerate(colour)], ["cat", "dog"])
    tensors = Rows([(torch.from_numpy(c).permute(2, 0, 1) / 255, torch.tensor(k % 2)) for k, c in enumerate(colour)])
    sets = [open_data(rows) for rows in (pictures, arrays, tensors)]
    for data in sets:
        assert torch.equal(data.x, torch.from_numpy(colour).permute(0, 3, 1, 2))
        assert data.y.tolist() == [0, 1] * 6
    assert sets[0].classes == ("cat", "dog")
    hugging = {"train": Rows([{"img": Image.fromarray(c), "label": k % 2} for k, c in enumerate(colour)])}
    assert open_data(hugging).fingerprint() == sets[2].fingerprint()


def test_map_style_pictures_of_all_sizes_are_resized_to_one():
    rows = [(Image.new("RGB" if k % 3 else "L", (20 + k, 30)), k % 2) for k in range(8)]
    data = open_data({"train": Rows(rows), "test": Rows(rows[:4])})
    assert data.shape == (3, 32, 32)
    assert data.test_x.shape == (4, 3, 32, 32)


def test_a_dark_row_does_not_change_the_scale():
    rows = [(np.full((4, 4), v, np.float32), v > 100) for v in (0.0, 1.0, 200.0, 255.0)]
    assert open_data(Rows(rows)).x[:, 0, 0, 0].tolist() == [0, 1, 200, 255]


def test_read_only_and_memory_mapped_arrays_do_not_warn(tmp_path, grey, recwarn):
    np.save(tmp_path / "x.npy", grey[:, None])
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert torch.equal(open_data((mapped, Y)).x, torch.from_numpy(grey)[:, None])
    assert not [w for w in recwarn if "writable" in str(w.message)]


def test_the_fingerprint_is_of_the_contents(grey):
    one = open_data((grey, Y)).fingerprint()
    assert one == open_data((grey.copy(), Y.copy())).fingerprint()
    other = grey.copy()
    other[3, 2, 1] ^= 1
    assert one != open_data((other, Y)).fingerprint()
    assert one != open_data((grey, np.roll(Y, 1))).fingerprint()
    assert one != open_data({"x": grey, "y": Y, "classes": ["a", "b", "c"]}).fingerprint()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y": np.zeros(12, int)}, "only the class '0'"),
        ({"y": np.full(12, -1)}, "no labels at all"),
        ({"y": np.arange(11)}, "12 rows and y has 11"),
        ({"y": np.array([0.5] * 12)}, "fractions"),
        ({"y": np.zeros((12, 2))}, "one label for each row"),
        ({"y": np.array([0, 1, -2] * 4)}, "-1 means unlabelled"),
        ({"x": np.full((12, 4), np.nan)}, "nan or infinite values in 12 rows"),
        ({"x": np.full((12, 4, 4), np.inf)}, "nan or infinite"),
        ({"x": np.full((12, 4, 4), -0.5)}, "negative pixels"),
        ({"x": np.full((12, 4, 4), 999.5)}, "pixels up to 999.5"),
        ({"x": np.zeros((12, 5, 5, 7), np.uint8)}, r"the shape \(12, 5, 5, 7\)"),
        ({"x": np.zeros(12, np.uint8)}, "the shape"),
        ({"x": np.array(["a"] * 12)}, "not numbers"),
        ({"x": np.zeros((0, 4, 4), np.uint8), "y": np.zeros(0, int)}, "no training images"),
        ({"test_x": np.zeros((2, 6, 5), np.uint8)}, "only one of test_x and test_y"),
        ({"test_x": np.zeros((2, 9, 9), np.uint8), "test_y": [0, 1]}, "does not have the shape of x"),
        ({"test_x": np.zeros((2, 6, 5), np.uint8), "test_y": [0, 7]}, "label 7, which no training image has"),
        ({"test_x": np.zeros((2, 6, 5), np.uint8), "test_y": [0, -1]}, "1 rows without a label"),
        ({"classes": ["a", "b"]}, "names 2 classes but holds the label 2"),
        ({"classes": ["a", "b", "b"]}, "names a class twice"),
    ],
)
def test_mistakes_are_said_in_words(grey, change, words):
    with pytest.raises(UserError, match=words):
        open_data({"x": grey, "y": Y} | change)


def test_sources_that_are_nothing(tmp_path, grey):
    with pytest.raises(UserError, match="did you mean 'mnist'"):
        open_data("mnits")
    with pytest.raises(UserError, match="2 channels are not possible"):
        open_data("digits", channels=2)
    with pytest.raises(UserError, match="size of 0"):
        open_data("digits", size=0)
    with pytest.raises(UserError, match="neither a folder"):
        open_data(tmp_path / "gone.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(UserError, match=r"could not be read as an .npz"):
        open_data(tmp_path / "bad.npz")
    np.savez(tmp_path / "objects.npz", x=np.array([{}, None], dtype=object), y=[0, 1])
    with pytest.raises(UserError, match="plain arrays"):
        open_data(tmp_path / "objects.npz")
    np.savez(tmp_path / "other.npz", pictures=grey)
    with pytest.raises(UserError, match="no array 'x' but pictures"):
        open_data(tmp_path / "other.npz")
    with pytest.raises(UserError, match="give a folder, a name, arrays"):
        open_data(7)
    with pytest.raises(UserError, match="no pair"):
        open_data(Rows([1, 2, 3]))
    with pytest.raises(UserError, match="has the columns text"):
        open_data(Rows([{"text": "a"}]))
    with pytest.raises(UserError, match="holds no images"):
        open_data(Rows([]))
