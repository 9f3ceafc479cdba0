"""Every end that is no fault of the code: one sentence that says what to do, and an exit code; never a traceback."""

import difflib
import io
import os
import sys
from collections.abc import Callable, Iterable


class UserError(Exception):
    """A mistake that the person at the keyboard can mend; `guarded` prints it on stderr and exits with 2."""


def quoted(name: str, most: int = 100) -> str:
    """A name in quotes for a sentence: what cannot be printed is written out, and what is endless is cut."""
    text = repr(name)
    return text if len(text) <= most else f"{text[: most - 4]}...{text[0]}"


def meant(name: str, known: Iterable[str], alike: float = 0.5) -> str | None:
    """The known name that is closest, capitals or not; None where none is alike."""
    names = {one.casefold(): one for one in sorted(known)}
    close = difflib.get_close_matches(name.casefold(), names, n=1, cutoff=alike)
    return names[close[0]] if close else None


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the closest known one, or all of them."""
    names = sorted(known)
    close = meant(name, names)
    return f"did you mean {close!r}?" if close is not None else f"known: {', '.join(names)}"


class Stopped(KeyboardInterrupt):
    """Training was asked to stop (a signal) and has saved its state; `except Exception` around a run does not hide it."""

    def __init__(self, signum: int, step: int, steps: int) -> None:
        super().__init__(f"stopped at step {step} of {steps}")
        self.signum, self.step, self.steps = signum, step, steps


class NotFiniteError(Exception):
    """A loss became infinite or not a number."""


def guarded(work: Callable[[], None]) -> None:
    """Do the work; whatever ends it that is no fault of the code becomes a line and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file name that the terminal cannot show must not end the command
            stream.reconfigure(errors="backslashreplace")
    try:
        work()
        sys.stdout.flush()
    except UserError as e:
        fail(str(e))
    except KeyboardInterrupt as e:
        code = known_end(e)  # the trainer has said already that it stopped, and how to go on
        if code is None:
            print("\nhalfseen: stopped", file=sys.stderr)
        raise SystemExit(code or 130) from None
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to write goes nowhere
        raise SystemExit(0) from None
    except OSError as e:  # of a path that someone gave; the others are ours
        if e.filename is None:
            raise
        fail(f"{quoted(str(e.filename))}: {e.strerror}; check the path and its permissions")
    except Exception as e:
        code = known_end(e)
        if code is None:
            raise
        raise SystemExit(code) from None


def fail(sentence: str, code: int = 2) -> None:
    print("halfseen: " + " ".join(sentence.split()), file=sys.stderr)
    raise SystemExit(code)


def known_end(e: BaseException) -> int | None:
    """The exit code of an end that training itself announces; None for anything else."""
    if isinstance(e, Stopped):
        return 128 + e.signum
    if isinstance(e, NotFiniteError):
        fail(str(e), 1)
    return None
