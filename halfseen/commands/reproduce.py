"""`halfseen reproduce`: a recipe, run as `halfseen compare` would; or a queue of parts of recipes, in order of value."""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halfseen import methods
from halfseen.commands.compare import LOCAL, Job, agree, collect, fill_table, jobs_of
from halfseen.data.published import PUBLISHED
from halfseen.errors import UserError, nearest
from halfseen.grid.estimate import duration, estimate
from halfseen.grid.keep import keep_run, kept_metrics, known_runs
from halfseen.grid.loop import complain
from halfseen.grid.queue import LENGTHS, Entry, read_queue
from halfseen.grid.where import Where
from halfseen.grid.work import Work
from halfseen.machine.files import write_json
from halfseen.machine.progress import stderr
from halfseen.method import Plan
from halfseen.recipes import Recipe, Row, recipes
from halfseen.recipes.quoted import TABLES
from halfseen.report.comparison import print_table
from halfseen.settings import Settings


def reproduce(
    name: str,
    out: Path,
    *,
    root: Path | None = None,
    rows: Sequence[str] = (),
    labels: Sequence[int] = (),
    draws: int | None = None,
    share: float = 1.0,
    where: Where = LOCAL,
    device: str = "auto",
) -> dict[str, Any]:
    """Run the recipe, or some of its rows, numbers of labels and first draws, or all of it `share` times as long."""
    recipe = need_recipe(name, rows, labels)
    if draws is not None and draws < 1:
        raise UserError(f"--draws {draws} leaves nothing to run; give 1 or more, or leave it out for all draws")
    if share <= 0:
        raise UserError(f"--share {share:g} must be more than 0; 1 is the recipe's own length, 0.01 a hundredth of it")
    chosen = [
        dataclasses.replace(row, changes=shorter(row.changes, share), seeds=min(row.seeds, draws or row.seeds))
        for row in recipe.rows
    ]
    chosen = [row for row in chosen if not rows or row.title in rows]
    settings = common_of(recipe, share, root, device)
    note = recipe.about if share == 1 else f"{recipe.about}; {share:g} times the recipe's length"
    said = in_steps(recipe.data, chosen, list(labels) or recipe.labels, settings)
    if said:
        stderr().print(said, markup=False)
        note += f"; {said}"
    wanted, quoted = list(labels) or recipe.labels, TABLES.get(name, ())
    return fill_table(recipe.data, chosen, wanted, settings, out, where, note, quoted)


def need_recipe(name: str, rows: Sequence[str], labels: Sequence[int]) -> Recipe:
    """The recipe, if it has these rows and numbers of labels."""
    known = recipes()
    if name not in known:
        raise UserError(f"there is no recipe {name!r}; {nearest(name, known)}")
    recipe = known[name]
    titles = [row.title for row in recipe.rows]
    for title in rows:
        if title not in titles:
            raise UserError(f"{name} has no row {title!r}; its rows are: {', '.join(titles)}")
    for n in labels:
        if n not in recipe.labels:
            raise UserError(
                f"{name} has no row of {n} labels; it has {', '.join(str(k or 'all') for k in recipe.labels)}"
            )
    return recipe


def common_of(recipe: Recipe, share: float, root: Path | None, device: str) -> Settings:
    lengths = {key: getattr(recipe.common, key) for key in LENGTHS}
    return dataclasses.replace(recipe.common, root=root, device=device, report=False, **shorter(lengths, share))


# ---- a queue -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Queued:
    """A table that parts of the queue fill: its runs, in the order of the parts; `rest` is what else its recipe has."""

    name: str
    recipe: Recipe
    note: str
    jobs: list[Job]
    rest: dict[Path, Job]

    def so_far(self, metrics: Mapping[Work, dict[str, Any]]) -> dict[str, Any]:
        """The table with all that is kept of it: another queue may have run other rows of it, with the same settings."""
        kept = [j for j in self.rest.values() if j.work in metrics]
        return collect(self.recipe.data, [*self.jobs, *kept], self.note, metrics.get)


def run_queue(
    queue: Path, out: Path, keep: Path, *, root: Path | None, where: Where, device: str, only_estimate: bool = False
) -> None:
    """Run what is missing of the queue, in its order; every finished run is kept at once, with its table so far."""
    tables, order = planned(read_queue(queue), out, root, where, device)
    where.fetch([j.work for j in order], out)
    agree(order)
    say = stderr().print
    metrics: dict[Work, dict[str, Any]] = {}
    for table in tables.values():
        known = known_runs(keep / table.name)
        for j in table.jobs:
            found = j.work.metrics() or kept_metrics(j.work, keep / table.name, known)
            if found is not None:
                metrics[j.work] = found
        for j in table.rest.values():
            if (found := kept_metrics(j.work, keep / table.name, known)) is not None:
                metrics[j.work] = found
    left = estimate([j.work for j in order], metrics, out / "costs.json", lambda text: say(text, markup=False))
    for text in forecast(tables, left, where):
        say(text, markup=False)
    if only_estimate:
        return
    home = {j.work: table for table in tables.values() for j in table.jobs}

    def kept(work: Work) -> None:
        table = home[work]
        keep_run(work.folder, keep / table.name)
        metrics[work] = work.metrics() or {}
        write_json(keep / table.name / "results.json", table.so_far(metrics))

    for work in [w for w in metrics if w in home]:  # of a command that was killed between a run and its copy
        if work.finished and work.folder.name not in known_runs(keep / home[work].name):
            kept(work)
    failed = where.run([j.work for j in order if j.work not in metrics], out, kept)
    for table in tables.values():
        print_table(table.so_far(metrics))
    complain(failed, len(order))


def planned(
    entries: Sequence[Entry], out: Path, root: Path | None, where: Where, device: str
) -> tuple[dict[str, Queued], list[Job]]:
    """The tables by name, and all runs in order; a run that two parts name is one, and parts of a table must agree."""
    tables: dict[str, Queued] = {}
    order: dict[Path, Job] = {}
    rows: dict[tuple[str, int | None, str], Settings] = {}
    for one in entries:
        recipe = need_recipe(one.recipe, one.rows, one.labels)
        table = tables.setdefault(one.table, Queued(one.table, recipe, note_of(recipe, one), [], {}))
        for row in recipe.rows:
            whole = dataclasses.replace(one, rows=(row.title,), labels=(), draws=())
            with suppress(UserError):  # a row that does not take these settings, so that none with them was kept
                for j in jobs_of_entry(whole, recipe, out / one.table, root, where, device):
                    table.rest.setdefault(j.folder, j)
        for j in jobs_of_entry(one, recipe, out / one.table, root, where, device):
            same = dataclasses.replace(j.settings, seed=0, split_seed=0)
            if table.recipe is not recipe or rows.setdefault((one.table, j.labels, j.row.title), same) != same:
                raise UserError(
                    f"two parts of the queue put {j.row.title!r} into {one.table} with other settings; "
                    'name another folder in one of them, as in into = "longer"'
                )
            if j.folder not in order:
                order[j.folder] = j
                table.jobs.append(j)
    for table in tables.values():
        for j in table.jobs:
            table.rest.pop(j.folder, None)
    return tables, list(order.values())


def note_of(recipe: Recipe, one: Entry) -> str:
    told = [f"{one.share:g} times the recipe's length"] * (one.share != 1)
    told += [f"{k}={v}" for k, v in one.settings.items()] + list(one.overrides)
    return "; ".join([recipe.about, *told])


def jobs_of_entry(one: Entry, recipe: Recipe, out: Path, root: Path | None, where: Where, device: str) -> list[Job]:
    """What it says is said over the recipe's common settings and over its rows' own."""
    common = common_of(recipe, one.share, root, device)
    anew: dict[str, Any] = dict(one.settings)
    if any(key in LENGTHS for key in one.settings):
        anew = {**dict.fromkeys(LENGTHS), **anew}
    rows = []
    for row in recipe.rows:
        if one.rows and row.title not in one.rows:
            continue
        changes = shorter(row.changes, one.share) | anew
        changes["overrides"] = (*row.changes.get("overrides", ()), *one.overrides)
        name, _, own = row.method.partition(":")
        more = [text.removeprefix("method.") for text in one.overrides if text.startswith("method.")]
        method = ":".join(part for part in (name, ",".join([own] * bool(own) + more)) if part)
        rows.append(dataclasses.replace(row, method=method, name=row.title, changes=changes))
    return jobs_of(recipe.data, rows, one.labels or recipe.labels, common, out, where, one.draws)


def forecast(tables: Mapping[str, Queued], left: Mapping[Work, float | None], where: Where) -> list[str]:
    """What is left to do, table by table."""
    lines = []
    for table in tables.values():
        todo = [left[j.work] for j in table.jobs if j.work in left]
        known = [seconds for seconds in todo if seconds is not None]
        text = f"{table.name}: {len(table.jobs)} runs, {len(todo)} to do"
        lines.append(text + (f", about {duration(sum(known))} of runs" if known else ""))
    seconds = sum(s for s in left.values() if s is not None)
    return [*lines, f"in all about {duration(seconds / where.parallel)}, {where.parallel} at a time"]


# ---- lengths -----------------------------------------------------------------------------------------------------------


def in_steps(data: str, rows: Sequence[Row], labels: Sequence[int | None], common: Settings) -> str:
    """How many steps each row takes, where a length is in epochs: they are of another length for each method."""
    own = {row.title: dataclasses.replace(common, **row.changes) for row in rows}
    if data not in PUBLISHED or all(settings.epochs is None for settings in own.values()):
        return ""
    found = []
    for row in rows:
        steps = [steps_of(data, row.method.partition(":")[0], own[row.title], n) for n in labels]
        least, most = min(steps), max(steps)  # fewer where more of the images are labelled
        found.append(f"{row.title} {least:,}" + (f" to {most:,}" if most > least else ""))
    return f"steps a run: {', '.join(found)}"


def steps_of(data: str, method: str, settings: Settings, labels: int | None) -> int:
    """Of a run on a published set whose labelled images are all in it, without opening it."""
    if settings.epochs is None:
        return settings.steps or 0
    kind, known = methods.load(method).method, PUBLISHED[data]
    left = known.counts[0] - settings.extra_val_per_class * len(known.classes)
    seen = left if labels is None else labels
    unseen = left if kind.labelled_in_unlabelled else left - seen
    batch = (settings.batch or kind.batch[0], settings.unlabelled_batch or kind.batch[1])
    return max(1, round(settings.epochs * Plan(1, seen, unseen, batch).epoch_steps(kind.epoch)))


def shorter(values: Mapping[str, Any], share: float) -> dict[str, Any]:
    """The same values, lengths of training times the share."""
    if share == 1:
        return dict(values)
    scaled = {k: v * share for k, v in values.items() if k in LENGTHS and v is not None}
    return {**values, **scaled} | ({"steps": max(1, round(scaled["steps"]))} if "steps" in scaled else {})
