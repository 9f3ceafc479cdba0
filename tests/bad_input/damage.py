"""Damage by chance: what disks and networks do to files, and what a reader may make of it."""

import resource
import sys
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from halfseen.errors import UserError

MANY = settings(
    max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FEW = settings(MANY, max_examples=30)
ROOM = 300 << 20  # bytes that a reader may take at most for the small files here


@st.composite
def harms(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """What happens to files: bytes that flip, an end that is missing, pieces that are doubled, moved or zeroed."""
    kind = draw(st.sampled_from(["flip", "cut", "double", "splice", "zero", "digit"]))
    places = draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=3, max_size=3))
    flips = draw(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=6))
    length = draw(st.integers(1, 64))

    def harm(raw: bytes) -> bytes:
        one, two, three = (int(p * len(raw)) for p in places)
        damaged = bytearray(raw)
        if kind == "flip":
            for place, bits in flips:
                damaged[int(place * len(raw))] ^= bits
        elif kind == "cut":
            del damaged[one:]
        elif kind == "double":
            damaged[one:one] = damaged[two : two + 4 * length]
        elif kind == "splice":
            damaged[one : one + length] = damaged[three : three + length]
        elif kind == "zero":
            damaged[one : one + length] = bytes(min(length, len(raw) - one))
        else:  # a number that grows, as only text formats show it
            digits = [i for i, byte in enumerate(raw) if 48 <= byte < 58] or [0]
            at = digits[int(places[0] * len(digits))]
            damaged[at : at + 1] = b"9" * (length % 9 + 1)
        return bytes(damaged)

    return harm


def survives(read: Callable[[], Any], *answers: type[Exception]) -> Any:
    """What a reader gives, or None when it says in words why not; anything else that it raises fails the test."""
    try:
        return read()
    except (UserError, *answers) as error:
        words = str(error)
    assert words.strip()
    return None


def peak() -> int:
    """The most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
