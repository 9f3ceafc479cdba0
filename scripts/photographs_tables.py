"""Tables of results/photographs.jsonl: all of it in results/photographs.md, and the rows of SHORT in docs/photographs.md.

By `python scripts/photographs_tables.py`: over the probe on the same draws, with the 95% interval of a paired t test; the
worst draw; the median of the seconds.
"""

import json
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from pages import filled, gained, start

RESULTS = Path(__file__).parent.parent / "results" / "photographs.jsonl"
PAGE = RESULTS.parent.parent / "docs" / "photographs.md"
BASE = "probe"
SHORT = (
    "probe",
    "auto",
    "graph",
    "mixmatch, aligned to estimate",
    "fixmatch, aligned to estimate",
    "fixmatch, aligned",
    "dnll, aligned to estimate",
    "dnll, aligned",
    "commatch, aligned",
    "supervised, from scratch",
)
Tables = dict[tuple[str, int, int, int], dict[str, dict[int, dict[str, Any]]]]


def tables(rows: list[dict[str, Any]]) -> Tables:
    """By set, weak views, strong views and labels a class: the rows by name and draw."""
    found: Tables = {}
    for row in rows:
        table = found.setdefault((row["set"], *row["views"], row.get("labels", 4)), {})
        table.setdefault(row["row"], {})[row["draw"]] = row
    return found


def kept() -> Tables:
    """Of the rows that are committed."""
    return tables([json.loads(row) for row in RESULTS.read_text().splitlines()])


def score(row: dict[str, Any]) -> float:
    """In percent: of the test images, of the first network that a run names; of the pool where there are none."""
    return 100 * float(next(iter(row["test"].values()), row["pool"]))


def lines(table: dict[str, dict[int, dict[str, Any]]]) -> list[str]:
    base = {draw: score(row) for draw, row in table.get(BASE, {}).items()}
    said = ["| | draws | accuracy | over the probe (95%) | worst | seconds |", "| --- | --- | --- | --- | --- | --- |"]
    for name, draws in sorted(table.items(), key=lambda item: -mean(map(score, item[1].values()))):
        values = [score(row) for row in draws.values()]
        gains = [score(row) - base[draw] for draw, row in draws.items() if draw in base]
        spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
        over = worst = ""
        if name != BASE and len(gains) > 1:
            over, worst = gained(gains), f"{min(gains):+.1f}"
        seconds = median(row["seconds"] for row in draws.values())
        said.append(f"| {name} | {len(draws)} | {mean(values):.1f}{spread} | {over} | {worst} | {seconds:.0f} |")
    return said


def short(found: Tables) -> list[str]:
    """Sets by rows, with 4 labels a class and the default number of views, where that was run."""
    said = ["| | " + " | ".join(SHORT) + " |", "| --- |" + " --- |" * len(SHORT)]
    for (name, weak, strong, labels), table in found.items():
        base = {draw: score(row) for draw, row in table.get(BASE, {}).items()}
        if labels != 4 or not base:
            continue
        cells = [name if (weak, strong) == (2, 4) else f"{name}, {weak} + {strong} views"]
        for row in SHORT:
            draws = table.get(row, {})
            both = sorted(set(base) & set(draws))
            cell = f"{mean(score(draws[d]) for d in both):.1f}" if both else ""
            if both and row != BASE:
                cell += f" ({mean(score(draws[d]) - base[d] for d in both):+.1f})"
            cells.append(cell)
        said.append("| " + " | ".join(cells) + " |")
    return said


def pages() -> dict[Path, str]:
    """What each file should hold."""
    found = kept()
    whole = ["# Every row of photographs.jsonl", "", *(__doc__ or "").strip().partition("\n\n")[2].splitlines()]
    for (name, weak, strong, labels), table in found.items():
        whole += ["", f"## {name}: {weak} weak and {strong} strong views, {labels} labels a class", "", *lines(table)]
    return {
        RESULTS.with_suffix(".md"): "\n".join(whole) + "\n",
        PAGE: filled(PAGE.read_text(), {start("photographs_tables.py"): short(found)}),
    }


def main() -> None:
    for file, text in pages().items():
        file.write_text(text)


if __name__ == "__main__":
    main()
