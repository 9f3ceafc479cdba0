"""Several methods on the same labels, with the same budget: one table, with what each gains over the labels alone.

Every run is a process and a run folder of its own, `OUT/<method>-<labels>-<seed>`; a finished one is skipped, a stopped
one goes on. A method may carry settings of its own: "dnll:m=1,epm=false", "r2d2:shares=[0.3,0.3,0.3,0.1]".
"""

import dataclasses
import json
import math
import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from halfseen import methods
from halfseen.commands.train import run
from halfseen.errors import UserError
from halfseen.grid.child import alone, follow_parent
from halfseen.grid.loop import complain
from halfseen.grid.node import need_same_code
from halfseen.grid.where import Where
from halfseen.grid.work import Work
from halfseen.machine.files import write_json
from halfseen.machine.progress import Meter, stderr
from halfseen.overrides import below, pairs, with_settings
from halfseen.probes import PROBES
from halfseen.recipes import BASELINE, Row
from halfseen.recipes.quoted import Quoted
from halfseen.report.comparison import print_table
from halfseen.report.ranks import mean_ranks
from halfseen.run.start import settled
from halfseen.run.trial import those_that_run
from halfseen.settings import AUTO, MAY_CHANGE, Settings

OUTER_COMMA = re.compile(r",(?![^(\[]*[)\]])")  # a list in brackets is one value: shares=[0.3,0.7]
LOCAL = Where()
ALL = "all"  # every method that runs on the data
REFERENCE = "fixmatch"  # the other row that all are compared with, where it is one


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
    def work(self) -> Work:
        order = {"data": self.data, "settings": self.settings.as_json(), "out": str(self.folder)}
        return Work(self.folder, order, self.row.title, self.settings.num_labels, self.seed)


def compare(
    data: str,
    methods: Sequence[str],
    num_labels: Sequence[int],
    seeds: int,
    common: Settings,
    out: Path,
    where: Where = LOCAL,
) -> dict[str, Any]:
    """`fill_table` for these methods and the supervised row, which is always there, and first."""
    if common.minutes is None and common.steps is None and common.epochs is None and common.passes is None:
        raise UserError(
            "say how long every run may take: --passes 1e7 gives all methods the same budget (or --minutes)"
        )
    left_out: dict[str, str] = {}
    if ALL in methods:
        methods, left_out = with_all(data, methods, common)
    base = next((m for m in methods if m.partition(":")[0] == BASELINE), BASELINE)  # it may carry settings too
    rows = [Row(m, seeds) for m in dict.fromkeys((base, *methods))]
    return fill_table(data, rows, list(num_labels) or [None], common, out, where, left_out=left_out)


def with_all(data: str, told: Sequence[str], common: Settings) -> tuple[list[str], dict[str, str]]:
    """What is told by name, then every other method that runs on the data; and why the rest does not."""
    named = [m for m in told if m != ALL]
    others = [n for n in methods.names() if n not in {m.partition(":")[0] for m in named}]
    with Meter("looking which methods run here", len(others), common.quiet, "methods") as meter:
        found, why = those_that_run(data, others, common, lambda name: meter.advance(1))
    for name, sentence in why.items():
        stderr().print(f"without {name}: {sentence}", markup=False)
    return named + found, why


def fill_table(
    data: str,
    rows: Sequence[Row],
    labels: Sequence[int | None],
    common: Settings,
    out: Path,
    where: Where = LOCAL,
    note: str = "",
    quoted: Sequence[Quoted] = (),
    left_out: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Run what is missing, write OUT/results.json, print the table; what failed is named after it."""
    if any(row.seeds < 1 for row in rows):
        raise UserError("--seeds is at least 1")
    jobs = jobs_of(data, rows, labels, common, out, where)
    works = [j.work for j in jobs]
    where.fetch(works, out)
    agree(jobs)
    failed = where.run(works, out)
    results = (
        collect(data, jobs, note) | from_papers(quoted, labels) | ({"left_out": dict(left_out)} if left_out else {})
    )
    write_json(out / "results.json", results)
    print_table(results)
    complain(failed, len(works))
    return results


def jobs_of(
    data: str,
    rows: Sequence[Row],
    labels: Sequence[int | None],
    common: Settings,
    out: Path,
    where: Where,
    draws: Sequence[int] | None = None,
) -> list[Job]:
    """The runs of a table, draw by draw, so that an early stop leaves whole pairs. draws: others than the rows' own."""
    cores = where.cores
    return [
        job(data, row, n, seed, dataclasses.replace(common, threads=common.threads or cores), out, 1)
        for n in labels
        for seed in draws or range(max(row.seeds for row in rows))
        for row in rows
        if row.has(n) and (draws or seed < row.seeds)
    ]


def job(data: str, row: Row, labels: int | None, seed: int, common: Settings, out: Path, parallel: int) -> Job:
    name, _, own = row.method.partition(":")
    shared = pairs((*common.overrides, *row.changes.get("overrides", ())))
    chosen = below(shared, "method") | pairs(part for part in OUTER_COMMA.split(own) if part)
    probe = PROBES.get(name)
    if name != AUTO:
        with_settings((probe or methods.load(name)).config(), chosen, name)  # a wrong key shows before anything runs
    overrides = [f"net.{k}={v}" for k, v in below(shared, "net").items() if probe is None]
    overrides += [f"method.{k}={v}" for k, v in chosen.items()]
    threads = common.threads or max(1, (os.cpu_count() or 1) // parallel)
    told = {"num_labels": labels, "seed": seed, "split_seed": seed, **row.changes, "method": name, "threads": threads}
    settings = dataclasses.replace(common, **(told | {"overrides": tuple(overrides)}))
    settings, _ = settled(row.data or data, settings)  # as the run will write it down
    slug = "".join(c if c.isalnum() or c in "._-" else "_" for c in row.title)
    return Job(row.data or data, row, labels, seed, out / f"{slug}-{labels or 'all'}-{seed}", settings)


def agree(jobs: Sequence[Job]) -> None:
    """A second comparison in the same folder must be of the same data with the same settings, or it is no comparison."""
    for j in jobs:
        if not (j.folder / "config.json").is_file():
            continue
        config = json.loads((j.folder / "config.json").read_text())
        began = Settings.from_json((config.get("choice") or {}).get("asked") or config["settings"])
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


def child(order: str) -> None:
    """One run, in its own process; a folder without a checkpoint was stopped too early to go on, so it begins again."""
    told = json.loads(order)
    out = Path(told["out"])
    if "code" in told:
        need_same_code(told["code"], f"the node {socket.gethostname()}")
    follow_parent()
    with alone(out):
        resume = (out / "metrics.json").is_file() or (out / "checkpoints" / "last.pt").is_file()
        if out.exists() and not resume:
            shutil.rmtree(out)
        run(told["data"], Settings.from_json(told["settings"]), out, resume)
        if "mirror" in told:
            from halfseen.grid.mirror import Mirror

            url, name = told["mirror"]
            Mirror(url).upload(out, name)


def collect(
    data: str, jobs: Sequence[Job], note: str = "", metrics: Callable[[Work], dict[str, Any] | None] = Work.metrics
) -> dict[str, Any]:
    """Mean, deviation, rank, and the paired differences to the baseline and to FixMatch on the draws of the labels that both
    have finished; what a step costs in network passes, and what is remembered of an image."""
    table = []
    notes = [note] if note else []
    found: dict[tuple[int | None, str], list[Job]] = {}
    for j in jobs:
        found.setdefault((j.labels, j.row.title), []).append(j)
    base = next((j.row.title for j in jobs if j.row.is_baseline), None)
    reference = next(
        (j.row.title for j in jobs if j.row.method.partition(":")[0] == REFERENCE and not j.row.data), None
    )
    rows = {j.row.title: j.row for j in jobs}
    for n in dict.fromkeys(j.labels for j in jobs):
        told = {t: {j.seed: m for j in found[n, t] if (m := metrics(j.work))} for t in rows if (n, t) in found}
        scores_of = {title: {draw: accuracy(m) for draw, m in runs.items()} for title, runs in told.items()}
        ranked = ranks_of(scores_of)
        for title, runs in told.items():
            notes += [m["note"] for m in runs.values() if m["note"] and m["note"] not in notes][:1]
            scores = scores_of[title]
            table.append(
                {
                    "method": title,
                    "settings": rows[title].method,
                    "labels": n,
                    "draws": list(scores),
                    "missing": [j.seed for j in found[n, title] if j.seed not in scores],
                    "accuracies": list(scores.values()),
                    "mean": mean_of(list(scores.values())),
                    "std": deviation(list(scores.values())),
                    "difference": None if title == base else paired(scores, scores_of.get(base or "", {})),
                    "over_fixmatch": None if title == reference else paired(scores, scores_of.get(reference or "", {})),
                    "rank": ranked.get(title),
                    "paper": rows[title].paper.get(n or 0),
                    "minutes": mean_of([m["seconds"] / 60 for m in runs.values()]),
                    "passes": mean_of([m["passes"] for m in runs.values()]),
                    "steps": [m["steps"] for m in runs.values()],
                    "passes_a_step": mean_of([m["passes"] / m["steps"] for m in runs.values() if m["steps"]]),
                    "bytes_an_image": mean_of([m["bytes_an_image"] for m in runs.values() if "bytes_an_image" in m]),
                }
            )
    return {"data": data, "rows": table, "note": "; ".join(notes)}


def paired(scores: Mapping[int, float], against: Mapping[int, float]) -> dict[str, float | None] | None:
    """The mean difference on the draws that both have, with its interval."""
    both = [scores[draw] - against[draw] for draw in scores if draw in against]
    return dict(zip(("mean", "low", "high"), with_interval(both), strict=True)) if both else None


def ranks_of(scores: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """Mean ranks of the rows that finished something, over the draws that all of these have; of one row none."""
    done = {title: of for title, of in scores.items() if of}
    draws = set.intersection(*map(set, done.values())) if len(done) > 1 else set()
    if not draws:
        return {}
    return dict(zip(done, mean_ranks([[of[draw] for of in done.values()] for draw in sorted(draws)]), strict=True))


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


def mean_of(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def deviation(values: Sequence[float]) -> float | None:
    """The sample's standard deviation; None for one value and for none."""
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


if __name__ == "__main__":
    from halfseen.errors import guarded

    guarded(lambda: child(sys.argv[1]))
