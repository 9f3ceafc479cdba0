"""A queue of parts of recipes, in order of value: what its file may say, read and checked before anything runs.

    [[run]]                        # TOML; a .json file holds the same as {"run": [{...}, ...]}
    recipe = "mnist-small"         # a name of `halfseen list`
    rows = ["DNLL", "FixMatch"]    # by their names in the table; default: all
    labels = [20]                  # default: all that the recipe has
    draws = 5                      # the first five draws, or a list: [0, 3]; default: each row's own
    share = 10                     # times the recipe's length, or a length of its own: passes = 1.6e7
    set = ["net.width=32"]         # settings of the network and of the methods, over the recipe's
    test_curve = true              # any other option of `halfseen train`, with _ for -
    into = "mnist-long"            # folder of its runs and its results; default: the recipe's name, and the share

Several parts may go into one table (draw 0 of every row first, then the rest), if their settings agree.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from halfseen.errors import UserError, nearest
from halfseen.overrides import check
from halfseen.settings import Settings

LENGTHS = ("epochs", "passes", "steps", "minutes")
CHOSEN = ("method", "num_labels", "labels_per_class", "seed", "split_seed", "overrides", "root", "device", "quiet")
OPTIONS = {n: k for n, k in get_type_hints(Settings).items() if n not in CHOSEN}
LISTS = {"rows": str, "labels": int, "set": str}


@dataclass(frozen=True)
class Entry:
    """A part of a recipe to run."""

    recipe: str
    rows: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    draws: tuple[int, ...] = ()
    share: float = 1.0
    into: str = ""
    overrides: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> str:
        longer = f"-x{self.share:g}" if self.share != 1 else ""
        return self.into or self.recipe.replace("/", "-") + longer


def read_queue(path: Path) -> list[Entry]:
    try:
        text = path.read_text()
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as e:
        raise UserError(f"the queue {path} cannot be read ({e.strerror}); name a .toml or .json file") from e
    except ValueError as e:  # of both readers, and of bytes that are no text
        raise UserError(f"the queue {path} cannot be read: {e}; see halfseen reproduce --help for its format") from e
    runs = found.get("run") if isinstance(found, dict) else None
    if not isinstance(runs, list) or not runs or not all(isinstance(run, dict) for run in runs):
        raise UserError(
            f"the queue {path} holds no runs; each begins with a line [[run]], see halfseen reproduce --help"
        )
    if len(found) > 1:
        raise UserError(
            f"the queue {path} holds {sorted(set(found) - {'run'})[0]!r} outside a [[run]]; put it into one"
        )
    return [entry(run, f"run {i} of {path}") for i, run in enumerate(runs, 1)]


def entry(told: Mapping[str, Any], where: str) -> Entry:
    """One [[run]], or a sentence about what is wrong with it."""
    known = ("recipe", *LISTS, "draws", "share", "into", *OPTIONS)
    for key in told:
        if key not in known:
            raise UserError(f"{where} has no setting {key!r}; {nearest(key, known)}")
    for key in ("recipe", "into"):
        check(told.get(key, ""), str, f"{key} of {where}")
    if not told.get("recipe"):
        raise UserError(f'{where} names no recipe; give it one, as in recipe = "mnist-small"')
    if Path(told.get("into", "")).name != told.get("into", ""):
        raise UserError(f"into of {where} is the name of a folder, without a path; the folder it lies in is --out")
    lists = {key: tuple_of(told.get(key, []), kind, f"{key} of {where}") for key, kind in LISTS.items()}
    draws = told.get("draws", ())
    if isinstance(draws, int) and not isinstance(draws, bool):
        draws = list(range(draws))
    if "draws" in told and not (isinstance(draws, list) and draws and all(is_draw(d) for d in draws)):
        raise UserError(f"draws of {where} is a number of draws or a list of them, from 0 on")
    share = told.get("share", 1.0)
    check(share, float, f"share of {where}")
    lengths = [key for key in (*LENGTHS, "share") if key in told]
    if len(lengths) > 1:
        raise UserError(f"{where} says by {lengths[0]} and by {lengths[1]} how long to train; give one of them")
    if share <= 0:
        raise UserError(f"share of {where} must be more than 0; 1 is the recipe's own length")
    settings = {key: value for key, value in told.items() if key in OPTIONS}
    for key, value in settings.items():
        check(value, OPTIONS[key], f"{key} of {where}")
    Settings(**settings)  # what the command line refuses is refused here
    return Entry(
        told["recipe"],
        lists["rows"],
        lists["labels"],
        tuple(draws),
        float(share),
        told.get("into", ""),
        lists["set"],
        settings,
    )


def is_draw(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def tuple_of(value: Any, kind: type, name: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise UserError(f"{name} is a list, as in [{'20, 100' if kind is int else repr('...')}], not {value!r}")
    for each in value:
        check(each, kind, f"a part of {name}")
    return tuple(value)
