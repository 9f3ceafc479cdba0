"""The tables of docs/all-methods.md, from committed runs: `python scripts/all_methods.py`; a test keeps them equal.

DRAWN: from scratch, results.json of `halfseen reproduce`. BANK: on frozen features, results/photographs.jsonl, of rows that
ran on DRAWS label draws at least. Ranks are means over the draws, among the rows of that table.
"""

import json
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from photographs_tables import score, tables

from halfseen.commands.compare import with_interval
from halfseen.report.comparison import gain, number, std_of
from halfseen.report.ranks import mean_ranks

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "all-methods.md"
DRAWN = {"digits-all-40": 40, "mnist-all-100": 100, "mnist-all-20": 20}
BANK = {"cifar10-10k": (2, 4), "cifar100-10k": (2, 4)}
SWEEP = (1, 4, 25)  # labels a class
DRAWS = 3


def start(region: str) -> str:
    return f"<!-- {region}: made by scripts/all_methods.py -->"


END = "<!-- until here -->"


def drawn(rows: list[dict[str, Any]]) -> list[str]:
    """Of a table of `compare`, the best first; with the draws where they are not those of the others."""
    rows = sorted((row for row in rows if row["mean"] is not None), key=lambda row: row["rank"] or -100 * row["mean"])
    most = max(len(row["accuracies"]) for row in rows)
    columns = (
        "over supervised (95%)",
        "over FixMatch (95%)",
        "mean rank",
        "minutes",
        "passes a step",
        "bytes an image",
    )
    said = ["| method | mean ± std | " + " | ".join(columns) + " |", "| --- |" + " --- |" * (1 + len(columns))]
    for row in rows:
        draws = len(row["accuracies"])
        cells = [
            row["method"] + (f" ({draws} draw{'s' * (draws > 1)})" if draws < most else ""),
            f"{100 * row['mean']:.2f}{std_of(row)}",
            gain(row["difference"]),
            gain(row.get("over_fixmatch")),
            number(row.get("rank"), ".1f"),
            number(row["minutes"], ".2g"),
            number(row.get("passes_a_step"), ",.0f"),
            number(row.get("bytes_an_image"), ",.0f"),
        ]
        said.append("| " + " | ".join(cells) + " |")
    return said


def bank(table: dict[str, dict[int, dict[str, Any]]]) -> list[str]:
    """Rows of one set, over three others on the draws that both have."""
    table = {name: draws for name, draws in table.items() if len(draws) >= DRAWS}
    scores = {name: {d: score(row) for d, row in draws.items()} for name, draws in table.items()}
    common = sorted(set.intersection(*map(set, scores.values())))
    ranked = dict(zip(scores, mean_ranks([[s[d] for s in scores.values()] for d in common]), strict=True))
    over = ("probe", "supervised", "fixmatch, aligned")
    said = [
        "| row | mean ± std | " + " | ".join(f"over {name} (95%)" for name in over) + " | mean rank | seconds |",
        "| --- |" + " --- |" * 6,
    ]
    for name in sorted(scores, key=lambda n: ranked[n]):
        own = list(scores[name].values())
        cells = [name, f"{mean(own):.1f} ± {stdev(own):.1f}"]
        for other in over:
            gains = [scores[name][d] - scores[other][d] for d in sorted(set(scores[name]) & set(scores.get(other, {})))]
            if name == other or len(gains) < 2:
                cells.append("")
            else:
                middle, low, high = with_interval(gains)
                cells.append(f"{middle:+.1f} ({low:+.1f} to {high:+.1f})")
        seconds = median(row["seconds"] for row in table[name].values())
        said.append("| " + " | ".join([*cells, f"{ranked[name]:.1f}", f"{seconds:.0f}"]) + " |")
    return said


def sweep(by_labels: dict[int, dict[str, dict[int, dict[str, Any]]]]) -> list[str]:
    """Rows that ran with every number of labels a class."""
    names = [n for n in by_labels[SWEEP[0]] if all(len(by_labels[k].get(n, {})) >= DRAWS for k in SWEEP)]
    said = ["| row | " + " | ".join(f"{k} a class" for k in SWEEP) + " |", "| --- |" + " --- |" * len(SWEEP)]
    values = {n: [[score(row) for row in by_labels[k][n].values()] for k in SWEEP] for n in names}
    for name in sorted(names, key=lambda n: -mean(map(mean, values[n]))):
        said.append(f"| {name} | " + " | ".join(f"{mean(v):.1f} ± {stdev(v):.1f}" for v in values[name]) + " |")
    return said


def regions() -> dict[str, list[str]]:
    """By name what stands between its marks; nothing for what has not run."""
    found: dict[str, list[str]] = {}
    for name, labels in DRAWN.items():
        file = ROOT / "results" / name.rpartition("-")[0] / "results.json"
        rows = (
            [row for row in json.loads(file.read_text())["rows"] if row["labels"] == labels] if file.is_file() else []
        )
        if any(row["mean"] is not None for row in rows):
            found[name] = drawn(rows)
    rows = (ROOT / "results" / "photographs.jsonl").read_text().splitlines()
    banks = tables([json.loads(row) for row in rows])
    for name, views in BANK.items():
        found[name] = bank(banks[(name, *views, 4)])
    by_labels = {k: banks.get(("cifar10-10k", 2, 4, k), {}) for k in SWEEP}
    if all(by_labels.values()):
        found["sweep"] = sweep(by_labels)
    return found


def page() -> str:
    """What docs/all-methods.md should hold."""
    text = PAGE.read_text()
    for region, lines in regions().items():
        before, mark, rest = text.partition(start(region))
        if not mark:
            raise SystemExit(f"{PAGE.name} has no line {start(region)}: put it where the table belongs")
        text = before + "\n".join([mark, *lines, END]) + rest.partition(END)[2]
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
