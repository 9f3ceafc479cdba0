"""Several methods on the same labels, with the same budget: one table, with what each gains over the labels alone.

Every run is a process and a run folder of its own, `OUT/<method>-<labels>-<seed>`; a finished one is skipped, a stopped
one goes on. A method may carry settings of its own: "dnll:m=1,epm=false".
"""

import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from halfseen import catalog
from halfseen.checkpoint import write_json
from halfseen.config import below, pairs, with_settings
from halfseen.errors import UserError
from halfseen.progress import clock, stderr
from halfseen.settings import Settings

BASELINE = "supervised"  # the first row, which the others are compared with
WIDTH = 110  # columns of the table where the terminal is narrower: it may scroll, but no figure is cut


@dataclass(frozen=True)
class Job:
    """One run of the table."""

    row: str  # the method as it was asked for, with its settings
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
    """Run what is missing, write OUT/results.json, print the table; the supervised row is always there, and first."""
    if common.minutes is None and common.steps is None and common.epochs is None and common.passes is None:
        raise UserError(
            "say how long every run may take: --passes 1e7 gives all methods the same budget (or --minutes)"
        )
    if seeds < 1 or parallel < 1:
        raise UserError("--seeds and --parallel are at least 1")
    numbers: list[int | None] = list(num_labels) or [None]
    base = next((m for m in methods if m.partition(":")[0] == BASELINE), BASELINE)  # it may carry settings too
    rows = [base, *(m for m in dict.fromkeys(methods) if m != base)]
    jobs = [job(row, n, seed, common, out, parallel) for n in numbers for row in rows for seed in range(seeds)]
    agree(data, jobs, out)
    run_all(data, jobs, parallel)
    results = collect(data, rows, numbers, jobs)
    write_json(out / "results.json", results)
    show(results)
    return results


def job(row: str, labels: int | None, seed: int, common: Settings, out: Path, parallel: int) -> Job:
    name, _, own = row.partition(":")
    shared = pairs(common.overrides)
    chosen = below(shared, "method") | pairs(part for part in own.split(",") if part)
    entry = catalog.load(name)
    with_settings(entry.config(), chosen, name)  # a wrong key shows before anything runs
    overrides = [f"net.{k}={v}" for k, v in below(shared, "net").items()]
    overrides += [f"method.{k}={v}" for k, v in chosen.items()]
    threads = common.threads or max(1, (os.cpu_count() or 1) // parallel)
    settings = dataclasses.replace(
        common, method=name, num_labels=labels, seed=seed, split_seed=seed, overrides=tuple(overrides), threads=threads
    )
    slug = "".join(c if c.isalnum() or c in "._-" else "_" for c in row)
    return Job(row, labels, seed, out / f"{slug}-{labels or 'all'}-{seed}", settings)


def agree(data: str, jobs: Sequence[Job], out: Path) -> None:
    """A second comparison in the same folder must be of the same data with the same settings, or it is no comparison."""
    for j in jobs:
        if not (j.folder / "config.json").is_file():
            continue
        config = json.loads((j.folder / "config.json").read_text())
        began = Settings.from_json(config["settings"])
        differ = [
            f.name
            for f in dataclasses.fields(Settings)
            if getattr(began, f.name) != getattr(j.settings, f.name)
            and f.name not in ("threads", "quiet", "report", "root")
        ]
        if differ or config["data"] != data:
            what = (
                f"--{differ[0].replace('_', '-')} {getattr(began, differ[0])}"
                if differ
                else f"the data {config['data']}"
            )
            raise UserError(f"{j.folder} was run with {what}; choose another --out for other settings")


def run_all(data: str, jobs: Sequence[Job], parallel: int) -> None:
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
                running.append((j, start(data, j), time.monotonic()))
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


def start(data: str, j: Job) -> subprocess.Popen[bytes]:
    """`halfseen train` of the job in a new process; what it says goes to a log beside its folder."""
    j.folder.parent.mkdir(parents=True, exist_ok=True)
    order = json.dumps({"data": data, "settings": j.settings.as_json(), "out": str(j.folder)})
    with open(j.folder.parent / f"{j.folder.name}.log", "ab") as log:
        return subprocess.Popen([sys.executable, "-m", "halfseen.compare", order], stdout=log, stderr=log)


def child(order: str) -> None:
    """One run, in its own process; a folder without a checkpoint was stopped too early to go on, so it begins again."""
    import shutil

    from halfseen.experiment import run

    told = json.loads(order)
    out = Path(told["out"])
    resume = (out / "checkpoints" / "last.pt").is_file()
    if out.exists() and not resume:
        shutil.rmtree(out)
    run(told["data"], Settings.from_json(told["settings"]), out, resume)


def collect(data: str, rows: Sequence[str], numbers: Sequence[int | None], jobs: Sequence[Job]) -> dict[str, Any]:
    """Mean, deviation, and the paired difference to the supervised row at the same labels and seed."""
    table = []
    note = ""
    for labels in numbers:
        found: dict[str, list[dict[str, Any]]] = {
            row: [
                json.loads((j.folder / "metrics.json").read_text()) for j in jobs if (j.row, j.labels) == (row, labels)
            ]
            for row in rows
        }
        base = [accuracy(m) for m in found[rows[0]]]
        for row in rows:
            scores = [accuracy(m) for m in found[row]]
            differences = [a - b for a, b in zip(scores, base, strict=True)]
            mean, low, high = with_interval(differences)
            note = note or found[row][0]["note"]
            table.append(
                {
                    "method": row,
                    "labels": labels,
                    "accuracies": scores,
                    "mean": sum(scores) / len(scores),
                    "std": deviation(scores),
                    "difference": None if row == rows[0] else {"mean": mean, "low": low, "high": high},
                    "minutes": sum(m["seconds"] for m in found[row]) / len(scores) / 60,
                    "passes": sum(m["passes"] for m in found[row]) / len(scores),
                    "steps": [m["steps"] for m in found[row]],
                }
            )
    return {"data": data, "rows": table, "note": note}


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


def show(results: dict[str, Any]) -> None:
    table = Table(title=f"{results['data']}: test accuracy", title_justify="left")
    for column in ("labels", "method", "mean ± std", "over supervised (95%)", "minutes", "passes"):
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
        table.add_row(*cells, f"{row['minutes']:.1f}", f"{row['passes']:.3g}")
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table)
    if results["note"]:
        console.print(results["note"])


if __name__ == "__main__":
    from halfseen.cli import guarded

    guarded(lambda: child(sys.argv[1]))
