"""Tables that can be made again: which rows, on which draws of the labels, with which settings; one file per table or paper.

A recipe is data: `halfseen reproduce` runs it as `halfseen compare` would. A file of tables holds RECIPES, by name.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from halfseen.settings import Settings

BASELINE = "supervised"  # the first row, which the others are compared with


@dataclass(frozen=True)
class Row:
    """A row of the table: a method, perhaps with settings of its own, on the label draws 0 to seeds - 1."""

    method: str  # "dnll" or "dnll:m=1,epm=false"
    seeds: int = 3
    name: str = ""  # in the table and of the folders; empty: the method as it is written
    changes: Mapping[str, Any] = field(default_factory=dict)  # of Settings; its overrides are added to the others'
    data: str = ""  # other data than the table's, such as the target itself in domain adaptation
    labels: tuple[int, ...] = ()  # only with so many labels; empty: with all of the table's
    paper: Mapping[int, float] = field(default_factory=dict)  # accuracy in % that its paper reports, by labels

    @property
    def title(self) -> str:
        return self.name or self.method

    def has(self, labels: int | None) -> bool:
        """Is there such a row with so many labels?"""
        return not self.labels or labels in self.labels

    @property
    def is_baseline(self) -> bool:
        return self.method.partition(":")[0] == BASELINE and not self.data


@dataclass(frozen=True)
class Recipe:
    about: str  # one line: what it shows, on what, how long
    data: str
    rows: tuple[Row, ...]
    common: Settings  # of all rows, the length of training among them
    labels: tuple[int | None, ...] = (None,)


def recipes() -> dict[str, Recipe]:
    found: dict[str, Recipe] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        found |= getattr(importlib.import_module(f"halfseen.recipes.{module}"), "RECIPES", {})
    return found
