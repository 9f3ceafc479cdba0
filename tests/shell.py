"""What tests of the command line share: a place of their own, and how a command ended."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working folder and a cache of its own; the number of threads is put back."""
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HALFSEEN_CACHE", str(tmp_path / "cache"))
    yield
    torch.set_num_threads(threads)


class Ended:
    """How a command ended, in this process."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
