"""Methods by name and by file: what a file must hold, and what is said when it does not."""

from pathlib import Path

import pytest

from halfseen import methods
from halfseen.errors import UserError
from halfseen.method import Method

MINE = '''"""Mine: a test, arXiv:0000.00000.

    L = H(y, p)        (1)
"""
from dataclasses import dataclass

from halfseen.method import Losses, Method
from halfseen.methods.supervised import Supervised  # a second Method in sight, which is not this file's
from halfseen.parts.losses import cross_entropy


@dataclass(frozen=True)
class Config:
    scale: float = 2.0


class Mine(Method[Config]):
    def __init__(self, cfg, task):
        super().__init__(cfg, task)
        self.net = task.make_net()

    def loss(self, batch, clock):
        return Losses({"L": self.cfg.scale * cross_entropy(self.net(self.weak(batch.x)), batch.y).mean()})

    def predictors(self):
        return {"net": self.net}
'''


def write(folder: Path, text: str) -> str:
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)


def test_every_file_of_the_package_is_a_method() -> None:
    names = methods.names()
    assert {"supervised", "pseudo_label", "fixmatch", "mean_teacher"} <= set(names)
    for name in names:
        entry = methods.load(name)
        assert entry.name == name
        assert issubclass(entry.method, Method)
        assert entry.source.name == f"{name}.py"
        assert entry.summary == entry.doc.splitlines()[0]
        assert len(entry.summary) > 10


def test_dashes_are_underscores() -> None:
    assert methods.load("mean-teacher").method is methods.load("mean_teacher").method


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    entry = methods.load(write(tmp_path, MINE))
    assert (entry.name, entry.method.__name__, entry.config().scale) == ("mine", "Mine", 2.0)
    assert entry.summary == "Mine: a test, arXiv:0000.00000."
    assert entry.source == tmp_path / "mine.py"


def test_two_files_of_one_name_do_not_mix(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    first = methods.load(write(tmp_path / "a", MINE))
    second = methods.load(write(tmp_path / "b", MINE.replace("2.0", "5.0")))
    assert (first.config().scale, second.config().scale) == (2.0, 5.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", "cannot be imported: SyntaxError"),
        ("import nothing_of_this_name\n", "No module named 'nothing_of_this_name'; mend the file"),
        ("raise RuntimeError('no')\n", "RuntimeError: no"),
        ("", "one dataclass Config and one subclass of Method, not 0"),
        (MINE.replace("@dataclass(frozen=True)\n", ""), "one dataclass Config"),
        (MINE.replace("class Config:", "class Settings:").replace("[Config]", "[Settings]"), "one dataclass Config"),
        (MINE + "\n\nclass Other(Mine):\n    pass\n", "not 2"),
        (MINE.replace(" = 2.0", ""), "Config.scale has no default"),
    ],
)
def test_a_file_that_is_no_method(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as e:
        methods.load(write(tmp_path, text))
    assert said in str(e.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fixmach", "did you mean 'fixmatch'?"),
        ("", "known: "),
        ("../methods/fixmatch", "there is no method"),
        ("gone.py", "there is no file gone.py"),
        ("os", "there is no method 'os'"),
    ],
)
def test_names_that_are_none(name: str, said: str) -> None:
    with pytest.raises(UserError) as e:
        methods.load(name)
    assert said in str(e.value)
