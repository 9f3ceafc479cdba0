"""`halfseen explain` and `halfseen list` say what the methods' own files say."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from halfseen import methods
from halfseen.augment.bank import BANK_POLICIES
from halfseen.augment.policies import IMAGE_POLICIES, VECTOR_POLICIES, VIEWS
from halfseen.commands.explain import explain, keys_of, notes_of
from halfseen.commands.list import RANKED, list_all, print_methods, ranks_in
from halfseen.data import NAMES
from halfseen.errors import UserError
from halfseen.nets import NETS, make_net
from halfseen.overrides import with_settings

SCREEN = 60  # lines of a terminal window as high as a screen

MINE = """from __future__ import annotations
from dataclasses import dataclass, field
from typing import Literal

from halfseen.method import Losses, Method
from halfseen.optim import Optim


@dataclass(frozen=True)
class Base:
    inherited: int = 1  # from the base


@dataclass(frozen=True)
class Config(Base):
    # said above the setting,
    # in two lines
    above: float = 1e-7
    plain: str = "# no comment"
    several: Literal[
        "a", "b"
    ] = "a"  # after the last line [of three]
    maybe: float | None = None  # none: off
    pair: tuple[int, ...] = (1, 2)
    first: Optim = Optim(lr=0.5)  # of the first network
    second: Optim = field(default_factory=lambda: Optim(kind="adam", lr=0.001))


class Mine(Method[Config]):
    epoch = "mixed_pass"
    batch = (3, 5)
    views = ("te", "noise")

    def __init__(self, cfg, task):
        super().__init__(cfg, task)
        self.nets = {name: task.make_net() for name in ("one", "two")}

    def loss(self, batch, clock):
        return Losses({})

    def predictors(self):
        return self.nets
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return str(path)


def said(capsys: pytest.CaptureFixture[str], method: str) -> str:
    explain(method)
    return capsys.readouterr().out


def flat(config: Any, prefix: str) -> set[str]:
    names: set[str] = set()
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        names |= flat(value, f"{prefix}.{f.name}") if dataclasses.is_dataclass(value) else {f"{prefix}.{f.name}"}
    return names


@pytest.mark.parametrize("name", methods.names())
def test_everything_is_there_and_fits_a_screen(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, name)
    entry = methods.load(name)
    for line in entry.doc.splitlines():
        assert line.rstrip() in text
    found = set(re.findall(r"(?m)(?:^|(?<=  ))(method\.[\w.]+)", text))
    assert flat(entry.config(), "method") <= found
    assert text.index("--set") < (text.index("Departures:") if "Departures:" in entry.doc else len(text))
    weak, strong = entry.method.views
    assert f"weak {weak}, strong {strong}" in text
    assert len(text.splitlines()) <= SCREEN


@pytest.mark.parametrize("name", methods.names())
def test_defaults_can_be_given_back(name: str) -> None:
    config = methods.load(name).config()
    own, nested = keys_of(type(config), "method")
    texts = {k.name.removeprefix("method."): k.default for k in own + nested if not k.name.endswith(".*")}
    assert with_settings(config, texts, "method") == config


def test_a_file_of_ones_own(mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, mine)
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines() if line.startswith("method.")}
    assert rows["method.inherited"] == "int 1 from the base"
    assert rows["method.above"] == "float 1e-07 said above the setting, in two lines"
    assert rows["method.plain"] == "str # no comment"
    assert rows["method.several"] == "a | b a after the last line [of three]"
    assert rows["method.maybe"] == "float | none none none: off"
    assert rows["method.pair"] == "int, ... 1,2"
    assert rows["method.first.*"] == "Optim below of the first network"
    assert "method.first.lr=0.5" in text
    assert "method.second.kind=adam" in text
    assert "weak te, strong noise" in text
    assert "3 labelled, 5 unlabelled" in text
    assert "once through all images" in text
    assert "evaluated  one, two (" in text
    assert "mine has no docstring" in text


def test_known_predictors(capsys: pytest.CaptureFixture[str]) -> None:
    assert "evaluated  teacher, net (" in said(capsys, "mean_teacher")
    assert "evaluated  average, net (" in said(capsys, "fixmatch")


def test_a_method_that_wants_more_classes_is_still_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse = 'super().__init__(cfg, task)\n        raise UserError("give me ten classes")'
    text = MINE.replace("super().__init__(cfg, task)", refuse)
    (tmp_path / "mine.py").write_text(
        text.replace("from halfseen.method", "from halfseen.errors import UserError\nfrom halfseen.method")
    )
    shown = said(capsys, str(tmp_path / "mine.py"))
    assert "method.above" in shown
    assert "evaluated" not in shown


def test_a_config_without_source_text_has_no_reasons() -> None:
    assert notes_of(dataclasses.make_dataclass("Config", [("a", int, 1)])) == {}


def test_unknown_method_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'mean_teacher'"):
        explain("mean_techer")


def test_list_names_all_there_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("halfseen.commands.list.RANKED", tmp_path / "none.json")
    list_all()
    text = capsys.readouterr().out
    words = set(text.split())
    for names in (methods.names(), NETS, NAMES, IMAGE_POLICIES, VECTOR_POLICIES):
        assert set(names) <= words
    for name in methods.names():
        assert methods.load(name).summary in text
    count = sum(p.numel() for p in make_net("cnn3", classes=10, shape=(3, 32, 32)).parameters())
    assert re.search(rf"(?m)^  cnn3 +{count:,}$", text)
    # networks and passes an image: 1 labelled and 7 unlabelled images of which each has a weak view without a gradient
    assert re.search(rf"(?m)^  fixmatch +1 +{(3 + 7 + 21) / 8:.1f}  FixMatch: Sohn", text)
    assert re.search(r"(?m)^  supervised +1 +3\.0  ", text)
    assert re.search(r"(?m)^  ccn +2 ", text)
    assert re.search(r"(?m)^  vpet +4 ", text)


def test_the_committed_table_ranks_every_method() -> None:
    assert ranks_in(RANKED).keys() == set(methods.names())


def test_ranks_come_from_a_kept_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results" / "digits-all" / "results.json"
    assert ranks_in(file) == {}
    file.parent.mkdir(parents=True)
    rows = [{"settings": "fixmatch:optim.lr=0.1", "rank": 2.25}, {"settings": "vat", "rank": None}]
    file.write_text(json.dumps({"rows": rows}))
    assert ranks_in(file) == {"fixmatch": 2.25}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("halfseen.commands.list.RANKED", file)
        patch.setattr(methods, "names", lambda: ["fixmatch", "vat"])
        print_methods()
    said = capsys.readouterr().out
    assert "mean rank in results/digits-all/results.json" in said
    assert re.search(r"(?m)^  fixmatch +1 +3\.9 +2\.2  FixMatch", said)
    assert re.search(r"(?m)^  vat +1 +[0-9.]+ +VAT", said)


def test_every_view_is_described() -> None:
    assert set(VIEWS) == {*IMAGE_POLICIES, *VECTOR_POLICIES, *BANK_POLICIES}
