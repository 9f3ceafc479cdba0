"""The bench's rows of what a user waits for: each runs what it names, and is a number with its target beside it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from halfseen.bench import bank, peak
from halfseen.bench.costs import ended, first_step, loading, memory, write_pictures
from halfseen.bench.rows import Row
from halfseen.bench.show import figure, wanted
from halfseen.commands.bench import bench
from halfseen.data import open_data
from halfseen.errors import UserError

SAID: list[str] = []


def test_decoding_is_measured_against_pillow_on_the_same_files() -> None:
    rows = {row.name: row for row in loading(12, 1, SAID.append)}
    assert set(rows) == {
        "loading/photographs",
        "loading/thumbnails",
        "second start/photographs",
        "second start/thumbnails",
    }
    for name, row in rows.items():
        assert row.value > 0
        assert row.met is None  # twelve files are not the ten thousand that the target is for
        seconds = row.seconds
        if name.startswith("loading"):
            assert row.value == pytest.approx(seconds["pillow"][0] / seconds["halfseen"][0])
            assert wanted(row) == "≥ 0.90x at full size"
        else:
            assert row.value == min(seconds["halfseen"])
            assert figure(row).endswith(" s")
            assert wanted(row) == "≤ 1 s at full size"


def test_the_pictures_are_a_folder_that_can_be_opened(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    write_pictures(folder, 30, 16)
    data = open_data(folder, cache_dir=tmp_path / "cache", progress=False)
    assert data.shape == (3, 16, 16)
    assert (len(data.x), int(data.given.sum())) == (30, 20)


def test_memory_is_the_slope_between_two_trainings() -> None:
    slope, constant = memory((200, 400), SAID.append)
    (few,), (many,) = slope.seconds.values()
    assert slope.value == pytest.approx((many - few) * 2**20 / (200 * 3072))
    assert constant.value == pytest.approx(few - slope.value * 200 * 3072 / 2**20)
    assert few > 50  # MiB: torch alone
    assert slope.met is None


LARGE = """
import sys
from pathlib import Path
import numpy as np
from halfseen.bench.costs import peak_of_training
from halfseen.bench.peak import own_peak
held = np.ones(2**30, dtype=np.uint8)  # 1 GiB, touched
x = Path(sys.argv[1], "x.npy")
np.save(x, np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), dtype=np.uint8))
print(peak_of_training(x, Path(sys.argv[1], "run")), own_peak(), len(held))
"""


def test_a_run_is_measured_without_the_program_that_started_it(tmp_path: Path) -> None:
    """By `ru_maxrss` the run would show the gibibyte that its parent holds."""
    said = subprocess.run([sys.executable, "-c", LARGE, str(tmp_path)], capture_output=True, check=True, text=True)
    run, parent, held = map(int, said.stdout.split())
    assert parent > held
    assert 50 * 2**20 < run < held


def test_without_proc_the_peak_is_what_the_system_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peak, "STATUS", tmp_path / "status")
    assert 10 * 2**20 < peak.own_peak() < 2**44
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t    2180 kB\n")
    assert peak.own_peak() == 2180 * 1024


def test_a_first_step_is_waited_for_and_its_run_ended() -> None:
    assert first_step() > 0.5

    with ended([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        pass
    assert process.poll() is not None


@pytest.mark.skipif(not bank.there(), reason="the weights of lite0 are not installed (the extra lite0)")
def test_a_bank_is_measured_against_the_forwards_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank, "STEPS", 3)
    row = bank.making(32, 4, 1, False, SAID.append)
    (made,), (bare,) = row.seconds["bank"], row.seconds["forward"]
    assert row.value == pytest.approx(bare / made)
    assert wanted(row) == "≥ 0.90x at full size"
    again, trained, memory = bank.using(80, False, SAID.append)
    assert again.value == min(again.seconds["halfseen"])
    assert trained.value > 0
    assert memory.value > 50  # MiB: torch alone
    assert (wanted(again), wanted(trained)) == ("≤ 1 s at full size", "≤ 20 s at full size")


def test_a_bank_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank, "there", lambda: True)
    monkeypatch.setattr(bank, "making", lambda side, *_: Row(f"bank/{side}", 0.9, "x", "made"))
    monkeypatch.setattr(bank, "using", lambda n, *_: [Row("bank/training", 5.0, "s", f"on {n}")])
    found = bench(False, "cpu", tmp_path / "bank.json", only="bank")
    assert [row["name"] for row in found["rows"]] == ["bank/96", "bank/224", "bank/training"]
    assert json.loads((tmp_path / "bank.json").read_text())["rows"] == found["rows"]
    with pytest.raises(UserError, match="are two things to measure"):
        bench(False, "cpu", None, methods=("dnll", "fixmatch"), only="bank")
    monkeypatch.setattr(bank, "there", lambda: False)
    with pytest.raises(UserError, match="measures a bank of lite0 on a CPU"):
        bench(False, "cpu", None, only="bank")
