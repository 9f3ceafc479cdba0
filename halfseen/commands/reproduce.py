"""`halfseen reproduce`: a recipe, run as `halfseen compare` would."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from halfseen.commands.compare import fill_table
from halfseen.errors import UserError, nearest
from halfseen.recipes import recipes

LENGTHS = ("epochs", "passes", "steps")


def reproduce(
    name: str,
    out: Path,
    *,
    root: Path | None = None,
    rows: Sequence[str] = (),
    labels: Sequence[int] = (),
    draws: int | None = None,
    share: float = 1.0,
    parallel: int = 1,
    device: str = "auto",
) -> dict[str, Any]:
    """Run the recipe, or some of its rows, numbers of labels and first draws, or all of it `share` times as long."""
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
    if draws is not None and draws < 1:
        raise UserError(f"--draws {draws} leaves nothing to run; give 1 or more, or leave it out for all draws")
    if share <= 0:
        raise UserError(f"--share {share:g} must be more than 0; 1 is the recipe's own length, 0.01 a hundredth of it")
    chosen = [
        dataclasses.replace(row, changes=shorter(row.changes, share), seeds=min(row.seeds, draws or row.seeds))
        for row in recipe.rows
    ]
    chosen = [row for row in chosen if not rows or row.title in rows]
    lengths = {key: getattr(recipe.common, key) for key in LENGTHS}
    settings = dataclasses.replace(recipe.common, root=root, device=device, report=False, **shorter(lengths, share))
    note = recipe.about if share == 1 else f"{recipe.about}; {share:g} times the recipe's length"
    return fill_table(recipe.data, chosen, list(labels) or recipe.labels, settings, out, parallel, note)


def shorter(values: Mapping[str, Any], share: float) -> dict[str, Any]:
    """The same values, lengths of training times the share."""
    if share == 1:
        return dict(values)
    scaled = {k: v * share for k, v in values.items() if k in LENGTHS and v is not None}
    return {**values, **scaled} | ({"steps": max(1, round(scaled["steps"]))} if "steps" in scaled else {})
