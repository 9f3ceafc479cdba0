"""`halfseen theory NAME`: a paper's theorems as a table of numbers, and as a page with their plot."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from halfseen.errors import UserError, nearest
from halfseen.machine.progress import stderr

WIDTH = 130


def theory(name: str, out: Path) -> Path:
    """Print the table and write the page; an existing page of the same name is not replaced."""
    if name not in PAGES:
        raise UserError(f"there is no theory of {name!r}; {nearest(name, PAGES)}")
    page = out / f"theory-{name}.html"
    if page.exists():
        raise UserError(f"{page} exists already; choose another --out, or take it away")
    out.mkdir(parents=True, exist_ok=True)
    made = PAGES[name](page)
    Console().print(f"The plot: {made}", markup=False)
    return made


def dnll(page: Path) -> Path:
    from halfseen.theory import dnll as numbers

    with stderr().status("drawing negatives"):
        rows = numbers.table()
        plot = numbers.plot(page)
    print_table("DNLL, Theorems 3.1 (error) and 3.2 (collision): formula, exact, simulated", rows)
    say = (
        "The paper's collision probability takes both sets from the K-2 classes that neither network predicts; each one"
    )
    Console().print(
        f"{say} leaves out its own class only. The column exact is right, and the simulation agrees with it."
    )
    return plot


def r2d2(page: Path) -> Path:
    from halfseen.theory import r2d2 as numbers

    with stderr().status("converging small networks"):
        rows = numbers.table()
        plot = numbers.plot(page)
    print_table("R2-D2, Theorems 1 and 2 on networks trained to their optimum", rows)
    return plot


def ccn(page: Path) -> Path:
    from halfseen.theory import spirals

    run = page.with_suffix("")
    with stderr().status("training CCN on two spirals, about two minutes"):
        frames = spirals.film(run)
    table = Table(title="CCN on two spirals: test accuracy", title_justify="left")
    for column in ("epoch", *frames[0].accuracy):
        table.add_column(column, justify="right")
    for frame in frames:
        table.add_row(str(frame.epoch), *(f"{a:.2%}" for a in frame.accuracy.values()))
    Console().print(table)
    return run / "regions.html"


def print_table(title: str, rows: Sequence[Any]) -> None:
    """A dataclass a row."""
    table = Table(title=title, title_justify="left")
    names = [f.name for f in dataclasses.fields(rows[0])]
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(number(getattr(row, name)) for name in names))
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table)


def number(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    return str(value)


PAGES: dict[str, Callable[[Path], Path]] = {"dnll": dnll, "r2d2": r2d2, "ccn": ccn}
