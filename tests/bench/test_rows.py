"""The bench at tiny sizes: every row is there and a number, workers answer and end, parts of a step add up."""

import json
import math
import time
from pathlib import Path

import pytest
import torch

from halfseen.bench.rows import Bench, Row, against_plain
from halfseen.bench.subject import Bare, Case, Plain, Subject
from halfseen.bench.timing import Parts, in_place_of, in_turn, ratio
from halfseen.bench.worker import VARIANTS, Worker, make
from halfseen.commands.bench import Sizes, bench
from halfseen.errors import UserError

CPU = torch.device("cpu")
GREY, COLOUR = Case("small", (1, 8, 8), 3, 5), Case("wrn-28-2", (3, 8, 8), 2, 6)
TINY = Sizes(wide=COLOUR, small=GREY, rounds=2, small_rounds=2, view_rows=20, leads=False, costs=False, mc_rows=4)
PARTS = {"gather", "views", "forward, weak views", "forward, trained", "backward", "optimiser", "EMA", "tally", "rest"}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():  # the workers take the number over
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_bench_prints_and_writes_every_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "bench.json"
    returned = bench(False, "cpu", out, TINY)
    figures = json.loads(out.read_text())
    assert figures == json.loads(json.dumps(returned))
    rows = {row["name"]: row for row in figures["rows"]}
    assert set(rows) == {
        *("speedup/wrn-28-2", "overhead/wrn-28-2", "overhead/small"),
        *("views/colour/ra", "views/colour/fm", "views/grey/ra", "views/grey/fm"),
        *("dropout passes/wrn-28-2", "dropout passes/small"),
    }
    for row in rows.values():
        assert math.isfinite(row["value"])
        assert row["value"] > 0
        assert all(took > 0 for seconds in row["seconds"].values() for took in seconds)
    targets = {name: row["target"] for name, row in rows.items() if row["target"]}
    assert targets == {
        "speedup/wrn-28-2": {"at least": 2.5, "applies_to_this_size": False},
        "overhead/wrn-28-2": {"at most": 1.1, "applies_to_this_size": False},
        "overhead/small": {"at most": 1.5, "applies_to_this_size": False},
        "views/colour/ra": {"at least": 15000.0, "applies_to_this_size": False},
        "dropout passes/wrn-28-2": {"at most": 1.05, "applies_to_this_size": True},
        "dropout passes/small": {"at most": 1.05, "applies_to_this_size": True},
    }
    sized = [row for name, row in rows.items() if not name.startswith("dropout passes")]
    assert all(row["met"] is None for row in sized)  # nothing else was measured at its target's size
    for shares in figures["shares"].values():
        assert set(shares) == PARTS
        assert sum(shares.values()) == pytest.approx(1)
        assert all(share > 0 for share in shares.values())
    assert {"cpu", "cores", "threads", "torch", "load"} <= set(figures["environment"])
    printed = capsys.readouterr()
    assert "≥ 2.50x at full size" in printed.out
    assert "forward, weak views" in printed.out
    assert "measuring views" in printed.err


def test_a_ratio_is_taken_within_each_round() -> None:
    order: list[str] = []
    times = {"a": iter([9.0, 2.0, 20.0, 2.0]), "b": iter([1.0, 1.0, 10.0, 4.0])}

    def reader(name: str):
        def run() -> float:
            order.append(name)
            return next(times[name])

        return run

    seconds = in_turn({"a": reader("a"), "b": reader("b")}, rounds=3)
    assert order == ["a", "b"] * 4
    assert seconds == {"a": [2.0, 20.0, 2.0], "b": [1.0, 10.0, 4.0]}  # the first round warmed up
    assert ratio(seconds["a"], seconds["b"]) == 2.0


def test_a_busy_machine_ends_the_rounds_early() -> None:
    seconds = in_turn({"a": lambda: time.sleep(0.01) or 0.01}, rounds=50, patience=0.0)
    assert len(seconds["a"]) == 2


def test_a_target_is_judged_at_its_own_size_only() -> None:
    assert Row("r", 2.6, "x", "", 2.5, at_least=True).met is True
    assert Row("r", 2.4, "x", "", 2.5, at_least=True).met is False
    assert Row("r", 1.2, "x", "", 1.1).met is False
    assert Row("r", 1.2, "x", "", 1.1, at_target_size=False).met is None
    assert Row("r", 1.2, "x", "").met is None


def test_a_part_within_a_part_is_charged_to_itself_only() -> None:
    parts = Parts(CPU)
    inner = parts.around("inner", lambda: time.sleep(0.02))
    outer = parts.around("outer", lambda: (inner(), time.sleep(0.01)))
    began = time.perf_counter()
    with parts.whole():
        outer()
    whole = time.perf_counter() - began
    seconds = parts.seconds()
    assert seconds["inner"] >= 0.02
    assert seconds["outer"] >= 0.01
    assert sum(seconds.values()) <= whole
    assert sum(parts.shares().values()) == pytest.approx(1)


def test_what_was_changed_for_timing_is_put_back() -> None:
    subject = Subject(GREY, CPU)
    weak, owned = subject.method.weak, set(vars(subject.method))
    subject.shares(1)
    assert subject.method.weak is weak
    assert set(vars(subject.method)) == owned
    assert "update" not in vars(subject.trainer)
    assert not subject.method.net._forward_hooks
    assert not subject.method.net._forward_pre_hooks
    with pytest.raises(TypeError), in_place_of([(subject.method, "weak", lambda w: None)]):
        subject.method.weak(subject.batch().u)
    assert subject.method.weak is weak


def test_the_step_that_is_timed_trains() -> None:
    subject = Subject(GREY, CPU)
    before = [p.detach().clone() for p in subject.method.net.parameters()]
    subject.step()
    assert any(not torch.equal(a, b) for a, b in zip(before, subject.method.net.parameters(), strict=True))
    assert len(subject.batch().x) == 3
    assert len(subject.batch().u) == 5


def test_bare_passes_leave_a_gradient_everywhere_and_train_nothing() -> None:
    bare = Bare(Subject(COLOUR, CPU))
    before = [p.detach().clone() for p in bare.parameters]
    bare.step()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in bare.parameters)
    assert all(torch.equal(a, b) for a, b in zip(before, bare.parameters, strict=True))
    assert bare.trained.is_contiguous(memory_format=torch.channels_last)
    assert len(bare.trained) == 8


def test_the_plain_loop_is_contiguous_and_follows_its_weights() -> None:
    plain = Plain(Subject(COLOUR, CPU))
    assert [len(view) for view in plain.views] == [2, 6, 6]
    assert all(view.is_contiguous() for view in plain.views)
    assert all(p.is_contiguous() for p in plain.net.parameters())
    before = [p.clone() for p in plain.average.parameters()]
    plain.step()
    for old, mine, new in zip(before, plain.average.parameters(), plain.net.parameters(), strict=True):
        torch.testing.assert_close(mine, 0.999 * old + 0.001 * new)


def test_each_lead_is_the_step_without_it_over_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    took = {"halfseen": 2.0, "plain": 6.0, "contiguous": 2.6, "own blocks": 3.4, "joint": 2.8}
    running: list[str] = []

    class Pretended:
        def __init__(self, variant: str, case: Case, device: torch.device, times: int) -> None:
            self.variant = variant

        def __enter__(self):
            running.append(self.variant)
            return self

        def __exit__(self, *_: object) -> None:
            running.remove(self.variant)

        def step(self) -> float:
            assert len(running) == 2  # never more: each holds gigabytes
            return took[self.variant]

    monkeypatch.setattr("halfseen.bench.rows.Worker", Pretended)
    rows = against_plain(Bench(CPU, Sizes(rounds=2), lambda text: None))
    assert {row.name: row.value for row in rows} == pytest.approx(
        {
            "speedup/wrn-28-2": 3.0,
            "lead/channels-last": 1.3,
            "lead/kept blocks": 1.7,
            "lead/no gradient for weak views": 1.4,
        }
    )
    assert rows[0].met is True
    assert not running


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_is_what_its_name_says(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    monkeypatch.setattr("halfseen.bench.worker.keep_large_blocks", lambda: kept.append(True))
    made = make({"variant": variant, "case": vars(COLOUR), "device": "cpu", "times": 1, "threads": 1})
    assert bool(kept) == (variant not in ("plain", "own blocks"))
    assert isinstance(made, Plain) == (variant == "plain")
    if isinstance(made, Subject):
        weights = made.method.net.stem.weight
        last = variant != "contiguous"
        assert weights.is_contiguous(memory_format=torch.channels_last) == last
        view = made.method.strong(made.batch().u)
        assert view.is_contiguous(memory_format=torch.channels_last) == last
        assert made.method.cfg.weak_pass == ("joint" if variant == "joint" else "separate")
    made.step()


def test_a_worker_steps_on_command_and_ends() -> None:
    with Worker("halfseen", GREY, CPU, 1) as worker:
        assert worker.step() > 0
        assert worker.step() > 0
        assert worker.process.poll() is None
    assert worker.process.returncode == 0


def test_a_worker_that_dies_is_an_error_with_its_exit_code() -> None:
    with Worker("plain", GREY, CPU, 1) as worker:
        worker.process.kill()
        with pytest.raises(RuntimeError, match=r"the loop everyone writes ended with code -9"):
            worker.step()


def test_a_place_that_cannot_be_written_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another place"):
        bench(True, "cpu", tmp_path / "file" / "bench.json", TINY)
    with pytest.raises(UserError, match="is a folder"):
        bench(True, "cpu", tmp_path, TINY)
