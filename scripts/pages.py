"""What stands between the marks of a page of docs/, which a script makes and a test keeps equal to the committed rows."""

from collections.abc import Mapping, Sequence

from halfseen.commands.compare import with_interval

END = "<!-- until here -->"


def start(script: str, region: str = "") -> str:
    """The mark above what `script` makes; a page with several such regions has a name for each."""
    return f"<!-- {region}: made by scripts/{script} -->" if region else f"<!-- made by scripts/{script} -->"


def filled(page: str, regions: Mapping[str, Sequence[str]]) -> str:
    """The page with each mark's lines between it and END."""
    for mark, lines in regions.items():
        before, found, rest = page.partition(mark)
        if not found:
            raise SystemExit(f"the page has no line {mark}: put it, and {END} below it, where the table belongs")
        page = before + "\n".join([mark, *lines, END]) + rest.partition(END)[2]
    return page


def gained(points: list[float]) -> str:
    """The mean of paired differences with its 95% interval."""
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*with_interval(points))
