"""What a user did wrong, said in one sentence that ends with what to do; never a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the person at the keyboard can mend; `cli.main` prints it on stderr and exits with 2."""


def quoted(name: str, most: int = 100) -> str:
    """A name in quotes for a sentence: what cannot be printed is written out, and what is endless is cut."""
    text = repr(name)
    return text if len(text) <= most else f"{text[: most - 4]}...{text[0]}"


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the closest known one, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
