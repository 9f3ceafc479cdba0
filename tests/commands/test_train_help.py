"""`train --help` is a screen, --help-all the rest; --config starts from what another run was told."""

import json
import re
from pathlib import Path

import pytest

from halfseen.cli import HELP_TRAIN, Train, main, parse
from halfseen.settings import Settings


def test_help_fits_a_screen_and_all_of_it_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "--help"])
    short = capsys.readouterr().out
    assert short == HELP_TRAIN
    assert len(short.splitlines()) <= 24
    assert max(map(len, short.splitlines())) <= 100
    with pytest.raises(SystemExit) as end:
        main(["train", "--help-all"])
    assert not end.value.code
    whole = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert set(re.findall(r"--[a-z-]+", short)) - {"--help-all"} <= whole


def config(folder: Path, **settings: object) -> Path:
    folder.mkdir()
    told = {"data": "digits", "settings": Settings(**settings).as_json()}  # type: ignore[arg-type]
    (folder / "config.json").write_text(json.dumps(told))
    return folder / "config.json"


def parsed(*words: str) -> Train:
    found = parse("train", list(words))
    assert isinstance(found, Train)
    return found


def test_another_run_is_where_it_starts_from(tmp_path: Path) -> None:
    kept = config(
        tmp_path / "run", method="dnll", overrides=("method.m=3", "net.width=8"), minutes=3.0, num_labels=20, zca=True
    )
    for named in (kept, kept.parent):
        same = parsed("--config", str(named))
        assert same.data == "digits"
        assert same.settings == Settings.from_json(json.loads(kept.read_text())["settings"])
    other = parsed("mnist", "--seed", "4", f"--config={kept}", "--steps", "10", "--labels-per-class", "2", "--no-zca")
    assert (other.data, other.settings.method, other.settings.seed, other.settings.zca) == ("mnist", "dnll", 4, False)
    assert (other.settings.steps, other.settings.minutes) == (10, None)
    assert (other.settings.labels_per_class, other.settings.num_labels) == (2, None)
    more = parsed("--set", "net.width=16", "--config", str(kept))
    assert more.settings.overrides == ("method.m=3", "net.width=8", "net.width=16")  # of two the last counts
    pair = parsed("--config", str(kept), "--source", "usps", "--target", "mnist")
    assert (pair.data, pair.source) == (None, "usps")


def test_the_last_of_two_values_counts(tmp_path: Path) -> None:
    kept = config(
        tmp_path / "run", overrides=("net.width=8",), steps=3, num_labels=20, batch=8, unlabelled_batch=16, val="none"
    )
    out = tmp_path / "out"
    main(
        [
            "train",
            "--config",
            str(kept),
            "--set",
            "net.width=4",
            "--no-report",
            "--quiet",
            "--threads",
            "1",
            "--out",
            str(out),
        ]
    )
    assert json.loads((out / "config.json").read_text())["net_options"] == {"width": 4}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read (No such file or directory); name a run's config.json"),
        ("{", "is no config.json of this version"),
        ('{"data": "digits"}', "is no config.json of this version"),
        ('{"data": "digits", "settings": {"metod": "dnll"}}', "is no config.json of this version"),
        ('{"data": "digits", "settings": {"steps": "many"}}', "is no config.json of this version"),
    ],
)
def test_what_is_no_config(text: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit) as end:
        main(["train", "--config", str(path)])
    assert end.value.code == 2
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    assert line.startswith(f"halfseen: --config {path} ")
    assert said in line
    with pytest.raises(SystemExit):
        main(["train", "digits", "--config"])
    assert "--config wants a value" in capsys.readouterr().err
