"""Names typed by mistake: of methods, nets, settings, views, options and sets."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_input.given import QUICK, npz


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--method", "fixmach"], "there is no method 'fixmach'; did you mean 'fixmatch'?"),
        (["--method", "gone.py"], "there is no file gone.py"),
        (["--method", "broken.py"], "broken.py cannot be imported: SyntaxError"),
        (["--method", "binary.py"], "binary.py cannot be imported"),
        (["--net", "smal"], "there is no net 'smal': did you mean 'small'?"),
        (["--method", "fixmatch", "--set", "method.tua=1"], "method has no setting 'tua'; did you mean 'tau'?"),
        (["--set", "net.dropuot=1"], "net 'small' has no option 'dropuot': did you mean 'dropout'?"),
        (["--method", "fixmatch", "--set", "method.tau=nine"], "method.tau is a number, not 'nine'"),
        (["--weak", "fmm"], "did you mean 'fm'?"),
        (["--strong", "raa"], "did you mean 'ra'?"),
        (["--seeed", "1"], "train does not know '--seeed'; did you mean --seed?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_unknown_names(args: list[str], said: str, wrong: Callable[..., str]) -> None:
    Path("broken.py").write_text("def")
    Path("binary.py").write_bytes(b"\xff\x00\xfe")
    assert said in wrong("train", npz(), *QUICK, "--steps", "1", *args)


def test_an_unknown_data_set(wrong: Callable[..., str]) -> None:
    assert "did you mean 'cifar10'?" in wrong("train", "cifar-10")
