"""Settings as text: every kind of field is read, a wrong key names the nearest, a wrong value says what would be right."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfseen.errors import UserError
from halfseen.optim import Optim
from halfseen.overrides import below, pairs, read, with_settings
from halfseen.settings import Settings


@dataclass(frozen=True)
class Config:
    tau: float = 0.95
    m: int = 3
    on: bool = True
    form: Literal["exact", "add_eps"] = "exact"
    heads: Literal[1, 2] = 1
    decay: float | None = None
    pair: tuple[int, float] = (1, 2.0)
    many: tuple[float, ...] = ()
    name: str = "x"
    optim: Optim = field(default_factory=Optim)

    def __post_init__(self) -> None:
        if self.m < 1:
            raise ValueError(f"m={self.m} must be at least 1")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("tau", "0.5", 0.5),
        ("tau", "1e-3", 0.001),
        ("m", "7", 7),
        ("on", "no", False),
        ("on", "TRUE", True),
        ("form", "add_eps", "add_eps"),
        ("heads", "2", 2),
        ("decay", "none", None),
        ("decay", ".99", 0.99),
        ("pair", "3,4.5", (3, 4.5)),
        ("pair", "(3, 4.5)", (3, 4.5)),
        ("many", "1,2,3", (1.0, 2.0, 3.0)),
        ("many", "", ()),
        ("name", "a=b", "a=b"),
    ],
)
def test_text_becomes_the_fields_type(key: str, text: str, value: Any) -> None:
    found = getattr(with_settings(Config(), {key: text}, "method"), key)
    assert found == value
    assert type(found) is type(value)


def test_dotted_keys_reach_inside_and_leave_the_rest() -> None:
    made = with_settings(Config(), {"optim.lr": "0.1", "optim.betas": "0.5,0.9", "m": "2"}, "method")
    assert made == Config(m=2, optim=Optim(lr=0.1, betas=(0.5, 0.9)))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("tua", "1", "method has no setting 'tua'; did you mean 'tau'?"),
        ("optim.lrr", "1", "method.optim has no setting 'lrr'; did you mean 'lr'?"),
        ("tau.x", "1", "method.tau has no part 'x'"),
        ("tau", "high", "method.tau is a number, not 'high'"),
        ("m", "2.5", "method.m is an integer, not '2.5'"),
        ("on", "perhaps", "method.on is true or false"),
        ("form", "exakt", "did you mean 'exact'?"),
        ("heads", "3", "method.heads cannot be '3'; known: 1, 2"),
        ("pair", "1", "method.pair wants 2 values"),
        ("optim", "adam", "method.optim cannot be given as text"),
        ("optim.schedule", "cosin", "did you mean 'cos'?"),
        ("m", "0", "m=0 must be at least 1"),
        ("tau", "x" * 5000, "method.tau is a number"),
        # from Python
        ("m", True, "method.m is int, not True"),
        ("on", 1, "method.on is bool, not 1"),
        ("tau", [1], "method.tau is float"),
        ("form", 3, "method.form cannot be 3"),
    ],
)
def test_a_mistake_is_a_sentence(key: str, value: Any, said: str) -> None:
    with pytest.raises(UserError) as e:
        with_settings(Config(), {key: value}, "method")
    assert said in str(e.value)


def test_a_whole_number_from_python_is_a_float() -> None:
    assert with_settings(Config(), {"tau": 1}, "method").tau == 1


def test_no_settings_at_all() -> None:
    @dataclass(frozen=True)
    class Empty:
        pass

    with pytest.raises(UserError, match="it has no settings"):
        with_settings(Empty(), {"tau": "1"}, "method")


def test_pairs_and_below() -> None:
    assert pairs(["a=1", " b = c=d ", "e="]) == {"a": "1", "b": "c=d", "e": ""}
    assert below({"method.tau": 1, "methods.x": 2, "net.a": 3}, "method") == {"tau": 1}
    for wrong in ("tau", "=1", " =1"):
        with pytest.raises(UserError, match="not KEY=VALUE"):
            pairs([wrong])


@given(st.floats(allow_nan=False), st.integers(), st.lists(st.floats(allow_nan=False), max_size=4))
def test_numbers_survive_being_written(x: float, n: int, many: list[float]) -> None:
    assert read(repr(x), float, "x") == x
    assert read(str(n), int, "n") == n
    assert read(",".join(map(repr, many)), tuple[float, ...], "many") == tuple(many)


@given(st.text(max_size=40), st.sampled_from([float, int, bool, Literal["a", "b"], tuple[int, int], float | None]))
def test_any_text_is_a_value_or_a_sentence(text: str, kind: Any) -> None:
    complaint = "method.x "
    try:
        read(text, kind, "method.x")
    except UserError as e:
        complaint = str(e)
    assert complaint.startswith("method.x ")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 5, "epochs": 1.0}, "--epochs and --steps both"),
        ({"minutes": 0.0}, "--minutes must be more than 0"),
        ({"minutes": float("nan")}, "--minutes must be more than 0 and finite, not nan"),
        ({"epochs": float("inf")}, "--epochs must be more than 0 and finite, not inf"),
        ({"unlabelled_batch": -1}, "--unlabelled-batch must be more than 0"),
        ({"eval_every": -1}, "--eval-every must not be negative"),
        ({"log_every": -1}, "--log-every must not be negative"),
        ({"num_labels": 20, "labels_per_class": 2}, "--num-labels and --labels-per-class"),
    ],
)
def test_settings_that_contradict_themselves(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Settings(**wrong)


@pytest.mark.parametrize(("text", "value"), [("auto", "auto"), ("none", "none"), ("0.2", 0.2), ("3", 3)])
def test_val_as_the_split_takes_it(text: str, value: Any) -> None:
    found = Settings(val=text).val_value()
    assert found == value
    assert type(found) is type(value)
