"""The program of a decoding process: reads jobs as JSON lines, decodes files, writes the pixels into one file.

A program of its own, which imports nothing but Pillow and numpy: it starts in a fifth of a second, works where forking
a process that runs torch would hang, needs no `if __name__ == "__main__"` in the user's script, and when a damaged file
crashes a decoder, only this process dies.
"""

import importlib.util
import json
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypedDict

if TYPE_CHECKING:
    from halfseen.data import images
else:  # by its path: `import halfseen` would load torch
    spec = importlib.util.spec_from_file_location("images", Path(__file__).with_name("images.py"))
    images = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(images)


class Job(TypedDict):
    first: int  # row of the first picture
    paths: list[str]
    size: tuple[int, int]
    channels: int


class Report(TypedDict):
    bad: list[tuple[int, str]]  # (position among the paths, reason)
    colour: bool  # did a grey job meet a colour picture?
    looks: list[tuple[int, images.Look]]  # (position among the paths, size and kind)
    failed: str  # why the pixels could not be written; empty when they could


def work(job: Job, out: BinaryIO) -> Report:
    """Decode the pictures of one job into rows first, first + 1, ... of `out`; a bad one leaves zeros."""
    (height, width), channels = job["size"], job["channels"]
    row_bytes = height * width * channels
    report: Report = {"bad": [], "colour": False, "looks": [], "failed": ""}
    rows = []
    for position, path in enumerate(job["paths"]):
        try:
            array, colour, look = images.decode_noting(Path(path), (height, width), channels)
            report["colour"] |= colour
            report["looks"].append((position, look))
            rows.append(array.transpose(2, 0, 1).tobytes())
        except images.BadImageError as error:
            report["bad"].append((position, str(error)))
            rows.append(bytes(row_bytes))
    try:
        out.seek(job["first"] * row_bytes)
        out.write(b"".join(rows))
        out.flush()
    except OSError as error:
        report["failed"] = os.strerror(error.errno) if error.errno else str(error)
    return report


def main() -> None:
    warnings.simplefilter("ignore")  # Pillow's, about odd files: what matters is in the report
    with open(sys.argv[1], "r+b") as out:
        for line in sys.stdin:
            print(json.dumps(work(json.loads(line), out)), flush=True)


if __name__ == "__main__":
    main()
