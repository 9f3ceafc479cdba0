"""What kind of pictures a folder holds, from the headers of a few of them."""

import statistics
from pathlib import Path

from halfseen.data.folders import scan
from halfseen.data.images import BadImageError, header
from halfseen.errors import UserError

LOOKED_AT = 64


def middle(folder: Path) -> tuple[int, bool] | None:
    """The longer side in the middle case, and whether most are in colour; None: nothing there can be read."""
    try:
        rows, _ = scan(folder)
    except UserError:
        return None  # whoever opens it says what is wrong
    found = []
    for row in rows[:: 1 + len(rows) // LOOKED_AT]:
        try:
            found.append(header(folder / row.path))
        except (BadImageError, OSError):
            continue
    if not found:
        return None
    sides, colours = [max(size) for size, _ in found], [colour for _, colour in found]
    return round(statistics.median(sides)), 2 * sum(colours) > len(colours)
