"""Several methods on the same labels, with the same budget: one table, with what each gains over the labels alone.

Every run is a process and a run folder of its own, `OUT/<method>-<labels>-<seed>`; a finished one is skipped, a stopped
one goes on. A method may carry settings of its own: "dnll:m=1,epm=false", "r2d2:shares=[0.3,0.3,0.3,0.1]".
"""

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from halfseen import methods
from halfseen.errors import UserError
from halfseen.machine.files import write_json
from halfseen.machine.progress import clock, stderr
from halfseen.overrides import below, pairs, with_settings
from halfseen.recipes import BASELINE, Row
from halfseen.recipes.quoted import Quoted
from halfseen.settings import MAY_CHANGE, Settings

OUTER_COMMA = re.compile(r",(?![^(\[]*[)\]])")  # a list in brackets is one value: shares=[0.3,0.7]
WIDTH = 110  # columns of the table where the terminal is narrower: it may scroll, but no figure is cut


@dataclass(frozen=True)
class Job:
    """One run of the table."""

    data: str
    row: Row
    labels: int | None  # None: all that the data give
    seed: int
    folder: Path
    settings: Settings

    @property
    def finished(self) -> bool:
        return (self.folder / "metrics.json").is_file()


def compare(
    data: str,
    methods: Sequence[str],
    num_labels: Sequence[int],
    seeds: int,
    common: Settings,
    out: Path,
    parallel: int = 1,
) -> dict[str, Any]:
    """`fill_table` for these methods and the supervised row, which is always there, and first."""
    if common.minutes is None and common.steps is None and common.epochs is None and common.passes is None:
        raise UserError(
            "say how long every run may take: --passes 1e7 gives all methods the same budget (or --minutes)"
        )
    base = next((m for m in methods if m.partition(":")[0] == BASELINE), BASELINE)  # it may carry settings too
    rows = [Row(m, seeds) for m in dict.fromkeys((base, *methods))]
    return fill_table(data, rows, list(num_labels) or [None], common, out, parallel)


def fill_table(
    data: str,
    rows: Sequence[Row],
    labels: Sequence[int | None],
    common: Settings,
    out: Path,
    parallel: int = 1,
    note: str = "",
    quoted: Sequence[Quoted] = (),
) -> dict[str, Any]:
    """Run what is missing, write OUT/results.json, print the table, and below it what only papers have."""
    if parallel < 1 or any(row.seeds < 1 for row in rows):
        raise UserError("--seeds and --parallel are at least 1")
    most = max(row.seeds for row in rows)
    jobs = [
        job(data, row, n, seed, common, out, parallel)
        for n in labels
        for seed in range(most)  # draw by draw, so that an early stop leaves whole pairs
        for row in rows
        if seed < row.seeds
    ]
    agree(jobs)
    run_all(jobs, parallel)
    results = collect(data, rows, labels, jobs, note) | from_papers(quoted, labels)
    write_json(out / "results.json", results)
    print_table(results)
    return results


def job(data: str, row: Row, labels: int | None, seed: int, common: Settings, out: Path, parallel: int) -> Job:
    name, _, own = row.method.partition(":")
    shared = pairs((*common.overrides, *row.changes.get("overrides", ())))
    chosen = below(shared, "method") | pairs(part for part in OUTER_COMMA.split(own) if part)
    entry = methods.load(name)
    with_settings(entry.config(), chosen, name)  # a wrong key shows before anything runs
    overrides = [f"net.{k}={v}" for k, v in below(shared, "net").items()]
    overrides += [f"method.{k}={v}" for k, v in chosen.items()]
    threads = common.threads or max(1, (os.cpu_count() or 1) // parallel)
    told = {"num_labels": labels, "seed": seed, "split_seed": seed, **row.changes, "method": name, "threads": threads}
    settings = dataclasses.replace(common, **(told | {"overrides": tuple(overrides)}))
    slug = "".join(c if c.isalnum() or c in "._-" else "_" for c in row.title)
    return Job(row.data or data, row, labels, seed, out / f"{slug}-{labels or 'all'}-{seed}", settings)


def agree(jobs: Sequence[Job]) -> None:
    """A second comparison in the same folder must be of the same data with the same settings, or it is no comparison."""
    for j in jobs:
        if not (j.folder / "config.json").is_file():
            continue
        config = json.loads((j.folder / "config.json").read_text())
        began = Settings.from_json(config["settings"])
        differ = [
            f.name
            for f in dataclasses.fields(Settings)
            if getattr(began, f.name) != getattr(j.settings, f.name) and f.name not in MAY_CHANGE
        ]
        if differ or config["data"] != j.data:
            what = (
                f"--{differ[0].replace('_', '-')} {getattr(began, differ[0])}"
                if differ
                else f"the data {config['data']}"
            )
            raise UserError(f"{j.folder} was run with {what}; choose another --out for other settings")


def run_all(jobs: Sequence[Job], parallel: int) -> None:
    """The unfinished runs, `parallel` at a time, each in a process that a signal lets save itself."""
    console, began = stderr(), time.monotonic()
    waiting = [j for j in jobs if not j.finished]
    console.print(f"{len(jobs)} runs, {len(jobs) - len(waiting)} of them finished already", markup=False)
    running: list[tuple[Job, subprocess.Popen[bytes], float]] = []
    done = 0
    total = len(waiting)
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                j = waiting.pop(0)
                running.append((j, start(j), time.monotonic()))
            time.sleep(0.2)
            for one in [r for r in running if r[1].poll() is not None]:
                running.remove(one)
                j, process, since = one
                if process.returncode or not j.finished:
                    last = (j.folder.parent / f"{j.folder.name}.log").read_text().strip().splitlines()[-1:]
                    raise UserError(
                        f"the run {j.folder} failed: {' '.join(last)}; the others are kept, run the same again"
                    )
                done += 1
                head = json.loads((j.folder / "metrics.json").read_text())["headline"]
                left = (time.monotonic() - began) / done * (total - done)
                score = f"{head['test']['accuracy']:.2%}" if "test" in head else "no test images"
                spent = clock(time.monotonic() - since)
                console.print(f"{j.folder.name}: {score} in {spent}; {done}/{total}, {clock(left)} left", markup=False)
    finally:
        for _, process, _ in running:
            process.terminate()
        for _, process, _ in running:
            process.wait()


def start(j: Job) -> subprocess.Popen[bytes]:
    """`halfseen train` of the job in a new process; what it says goes to a log beside its folder."""
    j.folder.parent.mkdir(parents=True, exist_ok=True)
    order = json.dumps({"data": j.data, "settings": j.settings.as_json(), "out": str(j.folder)})
    with open(j.folder.parent / f"{j.folder.name}.log", "ab") as log:
        return subprocess.Popen([sys.executable, "-m", "halfseen.commands.compare", order], stdout=log, stderr=log)


def child(order: str) -> None:
    """One run, in its own process; a folder without a checkpoint was stopped too early to go on, so it begins again."""
    import shutil

    from halfseen.commands.train import run

    told = json.loads(order)
    out = Path(told["out"])
    resume = (out / "checkpoints" / "last.pt").is_file()
    if out.exists() and not resume:
        shutil.rmtree(out)
    run(told["data"], Settings.from_json(told["settings"]), out, resume)


def collect(
    data: str, rows: Sequence[Row], labels: Sequence[int | None], jobs: Sequence[Job], note: str = ""
) -> dict[str, Any]:
    """Mean, deviation, and the paired difference to the baseline on the draws of the labels that both have."""
    table = []
    notes = [note] if note else []
    base = next((row for row in rows if row.is_baseline), None)
    for n in labels:
        found: dict[str, list[dict[str, Any]]] = {
            row.title: [
                json.loads((j.folder / "metrics.json").read_text()) for j in jobs if (j.row, j.labels) == (row, n)
            ]
            for row in rows
        }
        for row in rows:
            runs = found[row.title]
            scores = [accuracy(m) for m in runs]
            if runs[0]["note"] and runs[0]["note"] not in notes:
                notes.append(runs[0]["note"])
            difference = None
            if base is not None and row is not base:
                pairs_of = zip(scores, (accuracy(m) for m in found[base.title]), strict=False)  # the draws of both
                difference = dict(
                    zip(("mean", "low", "high"), with_interval([a - b for a, b in pairs_of]), strict=True)
                )
            table.append(
                {
                    "method": row.title,
                    "settings": row.method,
                    "labels": n,
                    "accuracies": scores,
                    "mean": sum(scores) / len(scores),
                    "std": deviation(scores),
                    "difference": difference,
                    "paper": row.paper.get(n or 0),
                    "minutes": sum(m["seconds"] for m in runs) / len(scores) / 60,
                    "passes": sum(m["passes"] for m in runs) / len(scores),
                    "steps": [m["steps"] for m in runs],
                }
            )
    return {"data": data, "rows": table, "note": "; ".join(notes)}


def from_papers(quoted: Sequence[Quoted], labels: Sequence[int | None]) -> dict[str, Any]:
    """Published accuracies (%) with these numbers of labels, if there are any."""
    found = [
        {"method": q.name, "labels": n, "paper": q.accuracy[n], "std": q.std.get(n), "source": q.source}
        for n in labels
        for q in quoted
        if n is not None and n in q.accuracy
    ]
    return {"quoted": found} if found else {}


def accuracy(m: dict[str, Any]) -> float:
    part = m["headline"].get("test")
    if part is None:
        raise UserError("the data have no test images, so there is nothing to compare methods by; add a test/ part")
    return float(part["accuracy"])


def deviation(values: Sequence[float]) -> float | None:
    """The sample's standard deviation; None for one value."""
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))


def with_interval(differences: Sequence[float]) -> tuple[float, float | None, float | None]:
    """The mean of paired differences and its 95% interval by Student's t."""
    from scipy.stats import t

    mean, s = sum(differences) / len(differences), deviation(differences)
    if s is None:
        return mean, None, None
    half = float(t.ppf(0.975, len(differences) - 1)) * s / math.sqrt(len(differences))
    return mean, mean - half, mean + half


def print_table(results: dict[str, Any]) -> None:
    table = Table(title=f"{results['data']}: test accuracy", title_justify="left")
    quoted = results.get("quoted", [])
    published = bool(quoted) or any(row["paper"] is not None for row in results["rows"])
    columns = ["labels", "method", "mean ± std", "over supervised (95%)", "minutes", "passes"]
    for column in columns + ["paper"] * published:
        if column == "method":  # the only one that may take several lines
            table.add_column(column, overflow="fold")
        else:
            table.add_column(column, justify="right", no_wrap=True)
    for row in results["rows"]:
        std = "" if row["std"] is None else f" ± {100 * row['std']:.2f}"
        gain = row["difference"]
        over = "" if gain is None else f"{100 * gain['mean']:+.2f}"
        if gain is not None and gain["low"] is not None:
            over += f" ({100 * gain['low']:+.2f} to {100 * gain['high']:+.2f})"
        cells = [str(row["labels"] or "all"), row["method"], f"{100 * row['mean']:.2f}{std}", over]
        cells += [f"{row['minutes']:.1f}", f"{row['passes']:.3g}"]
        if published:
            cells.append("" if row["paper"] is None else f"{row['paper']:.2f}")
        table.add_row(*cells)
    for row in quoted:
        std = "" if row["std"] is None else f" ± {row['std']:.2f}"
        table.add_row(
            str(row["labels"]), row["method"], "", "", "", "", f"{row['paper']:.2f}{std}", style="bright_black"
        )
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table)
    for source in dict.fromkeys(row["source"] for row in quoted):
        console.print(f"in grey: {source}", style="bright_black", markup=False)
    if results["note"]:
        console.print(results["note"])


if __name__ == "__main__":
    from halfseen.errors import guarded

    guarded(lambda: child(sys.argv[1]))
