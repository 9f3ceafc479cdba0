"""The table of a comparison in the terminal: what each method reaches, gains, and costs."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH = 150  # columns where the terminal is narrower: it may scroll, but no figure is cut


def print_table(results: Mapping[str, Any]) -> None:
    """Of what `collect` found; columns that no row has anything for are left out."""
    rows, quoted = results["rows"], results.get("quoted", [])
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "labels": lambda row: str(row["labels"] or "all"),
        "method": lambda row: row["method"],
        "mean ± std": lambda row: "none finished" if row["mean"] is None else f"{100 * row['mean']:.2f}{std_of(row)}",
        "over supervised (95%)": lambda row: gain(row["difference"]),
        "over fixmatch (95%)": lambda row: gain(row.get("over_fixmatch")),
        "rank": lambda row: number(row.get("rank"), ".1f"),
        "minutes": lambda row: number(row["minutes"], ".1f"),
        "passes": lambda row: number(row["passes"], ".3g"),
        "a step": lambda row: number(row.get("passes_a_step"), ",.0f"),
        "bytes/image": lambda row: number(row.get("bytes_an_image"), ",.0f"),
        "paper": lambda row: number(row["paper"], ".2f"),
        "missing draws": lambda row: " ".join(map(str, row["missing"])),
    }
    always = ("labels", "method", "mean ± std", "over supervised (95%)", "minutes", "passes")
    shown = [c for c, cell in columns.items() if c in always or any(map(cell, rows)) or (c == "paper" and quoted)]
    table = Table(title=f"{results['data']}: test accuracy", title_justify="left")
    for column in shown:
        if column == "method":  # the only one that may take several lines
            table.add_column(column, overflow="fold", min_width=20)
        else:
            table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(columns[column](row) for column in shown))
    for row in quoted:
        std = "" if row["std"] is None else f" ± {row['std']:.2f}"
        cells = {"labels": str(row["labels"]), "method": row["method"], "paper": f"{row['paper']:.2f}{std}"}
        table.add_row(*(cells.get(column, "") for column in shown), style="bright_black")
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table)
    for source in dict.fromkeys(row["source"] for row in quoted):
        console.print(f"in grey: {source}", style="bright_black", markup=False)
    for name, why in results.get("left_out", {}).items():
        console.print(f"without {name}: {why}", markup=False)
    if results["note"]:
        console.print(results["note"])


def std_of(row: Mapping[str, Any]) -> str:
    return "" if row["std"] is None else f" ± {100 * row['std']:.2f}"


def gain(found: Mapping[str, float | None] | None) -> str:
    """A mean of paired differences, in points, with its interval where there is one."""
    if found is None or found["mean"] is None:
        return ""
    mean, low, high = (None if v is None else 100 * v for v in (found["mean"], found["low"], found["high"]))
    return f"{mean:+.2f}" + ("" if low is None or high is None else f" ({low:+.2f} to {high:+.2f})")


def number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
