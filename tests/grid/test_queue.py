"""A queue of parts of recipes: read, estimated, run in order, kept, and gone on with."""

import json
from pathlib import Path

import pytest

import halfseen.commands.reproduce as home
from halfseen.cli import main
from halfseen.commands.compare import LOCAL
from halfseen.commands.reproduce import planned
from halfseen.errors import UserError
from halfseen.grid.keep import known_runs
from halfseen.grid.queue import read_queue
from halfseen.recipes import Recipe, Row
from halfseen.settings import Settings

TOY = Recipe(
    "Blobs, for tests",
    "blobs",
    (Row("supervised", 1), Row("fixmatch:tau=0.5", 1, "FixMatch", changes={"steps": 30})),
    Settings(val="none", steps=20, batch=8, unlabelled_batch=16, threads=1),
    (8, 12),
)
QUEUE = """
[[run]]
recipe = "toy"
rows = ["FixMatch"]
labels = [8]
draws = [3]
share = 0.5
set = ["net.width=32", "method.tau=0.6"]
into = "short"

[[run]]
recipe = "toy"
labels = [12]
steps = 4
"""


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(home, "recipes", lambda: {"toy": TOY})
    (tmp_path / "queue.toml").write_text(QUEUE)
    return tmp_path


def run(place: Path, *more: str) -> None:
    words = ["--queue", str(place / "queue.toml"), "--out", str(place / "runs"), "--keep", str(place / "results")]
    main(["reproduce", *words, *more])


def jobs(path: Path) -> list[tuple[str, Settings]]:
    found = planned(read_queue(path), Path("runs"), None, LOCAL, "cpu")[1]
    return [(str(j.folder), j.settings) for j in found]


def test_what_an_entry_says_is_said_over_the_recipe(toy: Path) -> None:
    (first, one), (second, two), (third, three) = jobs(toy / "queue.toml")
    assert (first, second, third) == ("runs/short/FixMatch-8-3", "runs/toy/supervised-12-0", "runs/toy/FixMatch-12-0")
    assert (one.steps, one.seed, one.split_seed) == (15, 3, 3)  # half of the row's own 30
    assert set(one.overrides) == {"net.width=32", "method.tau=0.6"}
    assert (two.steps, three.steps) == (4, 4)  # a length of its own holds for every row
    assert three.overrides == ("method.tau=0.5",)


def test_it_runs_in_order_and_keeps_as_it_goes(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(toy, "--estimate")
    said = capsys.readouterr().err
    assert "short: 1 runs, 1 to do, about 1 min of runs" in said
    assert not (toy / "results").exists()
    assert len(json.loads((toy / "runs" / "costs.json").read_text())) == 3

    run(toy)
    said = capsys.readouterr().err
    places = [said.index(f"{name}-{n}: ") for name, n in (("FixMatch", "8-3"), ("supervised", "12-0"))]
    assert places == sorted(places)
    assert "3/3" in said
    table = json.loads((toy / "results" / "toy" / "results.json").read_text())
    assert [(r["method"], r["draws"], r["missing"]) for r in table["rows"]] == [
        ("supervised", [0], []),
        ("FixMatch", [0], []),
    ]
    assert table["note"] == "Blobs, for tests; steps=4"
    whole = json.loads((toy / "runs" / "short" / "FixMatch-8-3" / "metrics.json").read_text())
    assert json.loads((toy / "results" / "short" / "FixMatch-8-3.json").read_text()) == whole
    made = json.loads((toy / "results" / "short" / "runs.json").read_text())["FixMatch-8-3"]
    assert made["environment"]["torch"]

    # kept is finished, even where the runs' folders are gone, and by a version that had fewer settings; other settings
    # are another run
    (toy / "runs").rename(toy / "gone")
    told = json.loads((toy / "results" / "short" / "runs.json").read_text())
    del told["FixMatch-8-3"]["settings"]["tune"]
    (toy / "results" / "short" / "runs.json").write_text(json.dumps(told))
    run(toy)
    assert "short: 1 runs, 0 to do" in capsys.readouterr().err
    assert not list((toy / "runs").glob("*/*/metrics.json"))
    (toy / "queue.toml").write_text('[[run]]\nrecipe = "toy"\nrows = ["supervised"]\nlabels = [8]\nsteps = 4\n')
    run(toy)  # another queue, which adds a row to a table that has others of these settings
    table = json.loads((toy / "results" / "toy" / "results.json").read_text())
    rows = [("supervised", 8), ("supervised", 12), ("FixMatch", 12)]
    assert [(r["method"], r["labels"]) for r in table["rows"]] == rows
    (toy / "queue.toml").write_text('[[run]]\nrecipe = "toy"\nrows = ["supervised"]\nlabels = [8]\nsteps = 5\n')
    (toy / "runs").rename(toy / "gone too")
    run(toy)  # of other settings: the kept rows are of no such table
    table = json.loads((toy / "results" / "toy" / "results.json").read_text())
    assert [(r["method"], r["labels"]) for r in table["rows"]] == rows[:1]
    (toy / "queue.toml").write_text(QUEUE.replace("tau=0.6", "tau=0.7"))
    run(toy, "--estimate")
    assert "short: 1 runs, 1 to do" in capsys.readouterr().err


def test_a_failed_run_ends_no_other_and_is_named(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = (toy / "queue.toml").read_text().replace('into = "short"', 'into = "short"\nbatch = 7\nnum = 1')
    (toy / "queue.toml").write_text(queue.replace("num = 1", 'weak = "nosuch"'))
    with pytest.raises(SystemExit) as end:
        run(toy, "--retries", "1")
    assert end.value.code == 2
    said = capsys.readouterr()
    assert "FixMatch-8-3 cannot be measured" in said.err
    assert "FixMatch-8-3: failed, is tried again: " in said.err
    last = said.err.strip().splitlines()[-1]
    assert last.startswith("halfseen: 1 of 3 runs failed")
    assert "nosuch" in last
    assert "none finished" in said.out
    assert (toy / "results" / "toy" / "supervised-12-0.json").is_file()
    assert not known_runs(toy / "results" / "short")


def test_two_parts_of_one_table_must_agree(toy: Path) -> None:
    part = '[[run]]\nrecipe = "toy"\nlabels = [8]\ninto = "t"\n'
    (toy / "queue.toml").write_text(f"{part}draws = 1\n{part}draws = 3\n")
    assert [Path(folder).name for folder, _ in jobs(toy / "queue.toml")] == [
        f"{row}-8-{draw}" for draw in range(3) for row in ("supervised", "FixMatch")
    ]
    (toy / "queue.toml").write_text(f"{part}draws = [0]\n{part}draws = [1]\nshare = 2\n")
    with pytest.raises(UserError, match="'supervised' into t with other settings"):
        jobs(toy / "queue.toml")


def test_json_says_the_same(toy: Path) -> None:
    import tomllib

    (toy / "queue.json").write_text(json.dumps(tomllib.loads(QUEUE)))
    assert read_queue(toy / "queue.json") == read_queue(toy / "queue.toml")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no runs"),
        ("[[run]\n", "cannot be read: "),
        ("nice = 1\n[[run]]\nrecipe = 'toy'", "holds 'nice' outside a"),
        ("[[run]]\nrows = ['DNLL']", "names no recipe"),
        ("[[run]]\nrecipe = 'toi'", "did you mean 'toy'"),
        ("[[run]]\nrecipe = 'toy'\nrow = ['DNLL']", "did you mean 'rows'"),
        ("[[run]]\nrecipe = 'toy'\nrows = 'DNLL'", "is a list"),
        ("[[run]]\nrecipe = 'toy'\nrows = ['DNLL']", "its rows are: supervised, FixMatch"),
        ("[[run]]\nrecipe = 'toy'\nlabels = [9]", "it has 8, 12"),
        ("[[run]]\nrecipe = 'toy'\ndraws = 0", "a number of draws or a list"),
        ("[[run]]\nrecipe = 'toy'\ndraws = [-1]", "a number of draws or a list"),
        ("[[run]]\nrecipe = 'toy'\nshare = 0", "must be more than 0"),
        ("[[run]]\nrecipe = 'toy'\nshare = 2\nsteps = 4", "give one of them"),
        ("[[run]]\nrecipe = 'toy'\npasses = 'many'", "passes of run 1 of "),
        ("[[run]]\nrecipe = 'toy'\nbatch = 0", "must be more than 0"),
        ("[[run]]\nrecipe = 'toy'\nset = ['method.tao=1']", "has no setting 'tao'"),
        ("[[run]]\nrecipe = 'toy'\ninto = '../x'", "name of a folder"),
        ("[[run]]\nrecipe = 'toy'\nseed = 3", "has no setting 'seed'"),
    ],
)
def test_a_wrong_queue_is_one_sentence(text: str, sentence: str, toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (toy / "queue.toml").write_text(text)
    with pytest.raises(SystemExit) as end:
        run(toy)
    assert end.value.code == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said
    assert "\n" not in said
    assert not (toy / "runs").exists()


def test_a_queue_and_a_recipe_are_one_too_many(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, sentence in ((["toy"], "not both"), (["--rows", "FixMatch"], "stand in the file")):
        with pytest.raises(SystemExit):
            run(toy, *more)
        assert sentence in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["reproduce", "--queue", str(toy / "none.toml"), "--out", str(toy / "runs")])
    assert "none.toml cannot be read (No such file" in capsys.readouterr().err
