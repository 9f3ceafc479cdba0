"""What is installed and at hand, said and as JSON."""

import importlib.metadata
import json
from pathlib import Path

import pytest
import torch

from halfseen.cli import main
from halfseen.commands import doctor as home


def test_versions_extras_and_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "a").write_bytes(b"x" * 3 * 2**20)
    monkeypatch.setenv("HALFSEEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    main(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["versions"]["torch"] == torch.__version__
    assert told["folders"]["cache"].startswith(f"{tmp_path}/cache: 3 MiB in 1 files, ")
    assert told["folders"]["runs"].endswith("runs (not there yet)")
    assert "onnx" in told["extras"]
    assert "dev" not in told["extras"]
    main(["doctor"])
    said = capsys.readouterr().out
    assert f"\n  torch        {torch.__version__}\n" in said
    assert "\nextras\n" in said


def test_what_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package == "ray":
            raise importlib.metadata.PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert (
        home.standing("fleet", ["ray", "submitit"])
        == "no ray: pip install 'halfseen[fleet]'; it is for Ray, Slurm and S3"
    )
    assert home.standing("hub", ["datasets"]) == "datasets 1.0"
    wanted = ["numpy>=1.26", 'ray>=2.40; extra == "fleet"', "torch>=2.6"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    assert list(home.extras()) == ["fleet"]


@pytest.mark.parametrize(
    ("n", "said"), [(0, "0 bytes"), (1536, "2 KiB"), (5 * 2**20, "5 MiB"), (3 * 2**40, "3,072.0 GiB")]
)
def test_sizes(n: int, said: str) -> None:
    assert home.size(n) == said
