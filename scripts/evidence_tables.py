"""What scripts/evidence.py reads of kept tables: rows beside the paper's numbers, paired differences, what is missing."""

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halfseen.commands.compare import with_interval
from halfseen.commands.reproduce import planned
from halfseen.grid.queue import Entry, read_queue
from halfseen.grid.where import Where

RESULTS = Path(__file__).parent.parent / "results"
QUEUE = RESULTS / "queue.toml"
Scores = dict[int, float]  # accuracy in % by draw


@dataclass(frozen=True)
class Kept:
    """A table of results/, or an empty one where nothing has been kept."""

    name: str
    rows: tuple[dict[str, Any], ...]
    runs: Mapping[str, Any]  # what made them

    @classmethod
    def read(cls, name: str, results: Path = RESULTS) -> "Kept":
        told = [results / name / file for file in ("results.json", "runs.json")]
        table, runs = (json.loads(path.read_text()) if path.is_file() else {} for path in told)
        return cls(name, tuple(row for row in table.get("rows", ()) if row["accuracies"]), runs)

    def row(self, title: str, labels: int | None) -> dict[str, Any] | None:
        return next((r for r in self.rows if (r["method"], r["labels"]) == (title, labels)), None)

    def scores(self, title: str, labels: int | None) -> Scores:
        row = self.row(title, labels)
        if row is None:
            return {}
        draws = row.get("draws", range(len(row["accuracies"])))
        return {d: 100 * a for d, a in zip(draws, row["accuracies"], strict=True)}

    def versions(self) -> str:
        made = [run["environment"] for run in self.runs.values()]
        if not made:
            return "Versions were not kept of these runs ([results/README.md](../results/README.md))."
        code = dict.fromkeys(f"{e['git'][:7]}" for e in made)
        torch = dict.fromkeys(e["torch"] for e in made)
        return f"torch {', '.join(torch)}, halfseen {made[0]['halfseen']} at {', '.join(code)}, {made[0]['device']}."


def table(kept: Kept, base: str, paper: Mapping[tuple[str, int | None], float]) -> list[str]:
    """Rows of the kept table, over the row `base` on the same draws, beside the paper's numbers."""
    head = "| row | labels | draws | ours | over " + base + " (95%) | paper | ours - paper | steps | minutes |"
    lines = [head, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for row in sorted(kept.rows, key=lambda r: r["labels"] or 10**9):
        title, labels = row["method"], row["labels"]
        scores, theirs = kept.scores(title, labels), paper.get((title, labels))
        lines.append(
            "| "
            + " | ".join(
                [
                    title,
                    "all" if labels is None else f"{labels:,}",
                    spans(scores),
                    centre(scores.values()),
                    "" if title == base else over(scores, kept.scores(base, labels)),
                    "" if theirs is None else f"{theirs:.2f}",
                    "" if theirs is None else f"{mean(scores.values()) - theirs:+.2f}",
                    f"{round(mean(row['steps'])):,}",
                    f"{row['minutes']:.1f}",
                ]
            )
            + " |"
        )
    return [*lines, "", kept.versions()]


def mean(values: Iterable[float]) -> float:
    told = list(values)
    return sum(told) / len(told)


def centre(values: Iterable[float]) -> str:
    """Mean and sample deviation."""
    told = list(values)
    if len(told) < 2:
        return f"{told[0]:.2f}"
    m = mean(told)
    return f"{m:.2f} ± {(sum((v - m) ** 2 for v in told) / (len(told) - 1)) ** 0.5:.2f}"


def paired(ours: Scores, theirs: Scores) -> tuple[float, float | None, float | None] | None:
    both = [ours[d] - theirs[d] for d in sorted(ours) if d in theirs]
    return with_interval(both) if both else None


def over(ours: Scores, theirs: Scores) -> str:
    found = paired(ours, theirs)
    return "" if found is None else interval(found)


def interval(found: tuple[float, float | None, float | None]) -> str:
    middle, low, high = found
    return f"{middle:+.2f}" if low is None or high is None else f"{middle:+.2f} ({low:+.2f} to {high:+.2f})"


def verdict(one: str, other: str, ours: Scores, theirs: Scores) -> str:
    """One sentence: which is the better on the draws that both have, as far as the interval says."""
    found, a, b = paired(ours, theirs), f"*{one}*", f"*{other}*"
    if found is None:
        return f"{a} against {b}: no draw has both yet."
    middle, low, high = found
    if low is None or high is None:
        where = "above" if middle > 0 else "below"
        return f"{a} is {abs(middle):.2f} points {where} {b} on the one draw that both have."
    said = f"{interval(found)} points on {len([d for d in ours if d in theirs])} draws"
    if low > 0 or high < 0:
        return f"{a} is {'above' if low > 0 else 'below'} {b}: {said}."
    return f"{a} and {b} cannot be told apart: {said}."


def above(ours: Scores, theirs: Scores) -> bool:
    """Does the interval say so?"""
    found = paired(ours, theirs)
    return found is not None and found[1] is not None and found[1] > 0


def spans(draws: Iterable[int]) -> str:
    """0, 1, 2, 5 -> 0-2, 5."""
    found: list[list[int]] = []
    for d in sorted(draws):
        if found and d == found[-1][1] + 1:
            found[-1][1] = d
        else:
            found.append([d, d])
    return ", ".join(f"{a}-{b}" if b > a else str(a) for a, b in found)


@dataclass(frozen=True)
class Todo:
    """What of a table of the queue is not kept."""

    runs: int
    left: int
    rows: tuple[str, ...]  # that lack some
    command: str  # that runs all of it


def missing(queue: Path = QUEUE, results: Path = RESULTS) -> dict[str, Todo]:
    """Of the queue's tables, by name."""
    entries = read_queue(queue)
    tables, _ = planned(entries, Path("runs"), None, Where(), "cpu")
    told: dict[str, Todo] = {}
    for name, each in tables.items():
        left = [j for j in each.jobs if not (results / name / f"{j.folder.name}.json").is_file()]
        rows = dict.fromkeys(f"{j.row.title}{f', {j.labels:,} labels' if j.labels else ''}" for j in left)
        whole = [e for e in entries if e.table == name][-1]  # the parts of a table grow
        told[name] = Todo(len(each.jobs), len(left), tuple(rows), command(whole))
    return told


def command(entry: Entry) -> str:
    words = ["halfseen", "reproduce", entry.recipe, "--root", "data", "--out", f"runs/{entry.table}"]
    if entry.share != 1:
        words += ["--share", f"{entry.share:g}"]
    if entry.rows:
        words += ["--rows", *entry.rows]
    if entry.labels:
        words += ["--num-labels", *map(str, entry.labels)]
    if entry.draws:
        words += ["--draws", str(max(entry.draws) + 1)]
    return shlex.join(words)
