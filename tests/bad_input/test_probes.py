"""Features and labels that no probe can be fitted to."""

from typing import Any

import numpy as np
import pytest

from halfseen.errors import UserError
from halfseen.probes import PROBES

X, Y, POOL = np.ones((4, 2, 3), np.float32), np.array([0, 1, 0, 1]), np.ones((9, 3), np.float32)


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((X[..., :2], Y, POOL), r"labelled features \[4, 2, 2\] and the pool \[9, 3\] do not fit"),
        ((X[:, 0, 0], Y, POOL), r"labelled features \[4\] and the pool"),
        ((X, Y[:3], POOL), r"there are 4 labelled rows and labels \[3\]: give one label for each row"),
        ((X, Y * 0, POOL), "labelled rows of at least two classes"),
        ((X, Y - 1, POOL), "numbered from 0"),
        ((X * np.nan, Y, POOL), "the labelled features hold numbers that are not finite"),
        ((X, Y, POOL * np.inf), "the features of the pool hold numbers that are not finite"),
    ],
)
def test_what_does_not_fit(name: str, given: tuple[Any, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        PROBES[name].fit(*given)
