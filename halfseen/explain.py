"""What `halfseen list` and `halfseen explain METHOD` print: read from the methods' own files, so that it cannot be stale."""

import ast
import dataclasses
import inspect
import io
import textwrap
import tokenize
import typing
from dataclasses import dataclass
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from halfseen import catalog
from halfseen.augment.policies import IMAGE_POLICIES, VECTOR_POLICIES
from halfseen.build import Facts, build
from halfseen.data import NAMES
from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.method import Epoch
from halfseen.nets import NETS, make_net
from halfseen.recipes import recipes

WIDE = 1000  # columns of an output that is no terminal: nothing is wrapped or cut there
LINE = 118  # characters of a line of settings

VIEWS = {
    "none": "the image itself",
    "te": "shift by up to 2 pixels; mirror",
    "tx2": "shift by up to 2 pixels to the left or right, not up or down; never mirrored",
    "ds": "shift by up to 4 pixels; mirror",
    "fm": "random crop with 4 reflected pixels around; mirror",
    "affine": "turn, zoom, shear and move in one resampling; mirror",
    "noise": "Gaussian noise on what the network sees, sd 0.15",
    "jitter": "brightness, contrast, saturation, hue",
    "cutout16": "one grey hole of 16 pixels",
    "ra": "RandAugment: 2 of 14 operations, then cutout",
    "ra-torchssl": "RandAugment as TorchSSL has it: 3 operations, a cutout of random size",
    "cta": "CTAugment: operations whose strength follows the network",
    "vector": "for feature vectors: noise, and features swapped with another row's",
}


# ---- halfseen list -------------------------------------------------------------------------------------------------------


def list_all() -> None:
    """Methods with their first line, networks with their size, views, recipes, named data sets."""
    blocks = {
        "Methods (--method; or your own file.py)": [(n, summary_of(n)) for n in catalog.names()],
        "Networks (--net; parameters for 10 classes of 3x32x32 images; or your own file.py:factory)": [
            (n, size_of(n)) for n in NETS
        ],
        "Views (--weak, --strong; joined by +, as in affine+cutout16)": [(n, VIEWS[n]) for n in view_names()],
        "Recipes (halfseen reproduce)": [(n, recipe.about) for n, recipe in recipes().items()],
    }
    for title, rows in blocks.items():
        print(f"{title}\n")
        width = max(len(name) for name, _ in rows)
        for name, text in rows:
            print(f"  {name:{width}}  {text}".rstrip())
        print()
    print("Data sets by name (some need their files under --root)\n")
    print(f"  {' '.join(NAMES)}")


def view_names() -> list[str]:
    return list(dict.fromkeys([*IMAGE_POLICIES, *VECTOR_POLICIES]))


def summary_of(name: str) -> str:
    """The first line of a method's docstring."""
    return catalog.load(name).summary


def size_of(name: str) -> str:
    """The number of parameters of a network, which takes no memory to find out; vectors of 32 numbers if it must."""
    for shape, what in (((3, 32, 32), ""), ((1, 28, 28), " (1x28x28)"), ((32,), " (vectors of 32)")):
        try:
            with torch.device("meta"):
                net = make_net(name, classes=10, shape=shape)
        except UserError:  # the network is for data of another kind
            continue
        return f"{sum(p.numel() for p in net.parameters()):,}{what}"
    return ""


# ---- halfseen explain ----------------------------------------------------------------------------------------------------


def explain(method: str) -> None:
    """Equations, settings, defaults of a run, departures: one screen."""
    entry = catalog.load(method)
    doc, _, departures = entry.doc.partition("\nDepartures:")
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDE)
    title, _, rest = doc.partition("\n")
    console.print(title or f"{entry.name} has no docstring", style="bold", markup=False)
    if rest.strip():
        console.print(rest.rstrip(), markup=False)
    console.print()
    own, nested = keys_of(entry.config, "method")
    if own:
        console.print(settings_table(own))
    for line in packed(nested):
        console.print(line, markup=False)
    for name, text in defaults_of(entry):
        console.print(f"{name:10} {text}", markup=False)
    if departures:
        console.print(f"\nDepartures:{departures.rstrip()}", markup=False)


def settings_table(keys: list["Key"]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in ("--set", "type", "default", ""):
        table.add_column(column, overflow="fold")
    for key in keys:
        table.add_row(*(cell.replace("[", "\\[") for cell in (key.name, key.kind, key.default, key.reason)))
    return table


@dataclass(frozen=True)
class Key:
    """One setting, as `--set` takes it."""

    name: str
    kind: str
    default: str
    reason: str


def keys_of(config: type[Any], prefix: str) -> tuple[list[Key], list[Key]]:
    """The settings of a dataclass, and those of the dataclasses within it (their default values, not their classes')."""
    return _keys(config(), prefix)


def _keys(config: Any, prefix: str) -> tuple[list[Key], list[Key]]:
    notes = notes_of(type(config))
    hints = typing.get_type_hints(type(config))
    own: list[Key] = []
    nested: list[Key] = []
    for f in dataclasses.fields(config):
        name, value = f"{prefix}.{f.name}", getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            inner, deeper = _keys(value, name)
            nested += inner + deeper
            if notes.get(f.name):
                own.append(Key(f"{name}.*", type(value).__name__, "below", notes[f.name]))
        else:
            own.append(Key(name, kind_of(hints[f.name]), text_of(value), notes.get(f.name, "")))
    return own, nested


def kind_of(hint: Any) -> str:
    """A type as a person writes it: the choices of a Literal, no module names."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " | ".join(map(str, args))
    if origin is tuple:
        return ", ".join("..." if a is Ellipsis else kind_of(a) for a in args)
    if args:  # a union
        return " | ".join(kind_of(a) for a in args)
    return "none" if hint is type(None) else getattr(hint, "__name__", str(hint))


def text_of(value: Any) -> str:
    """A value as `--set` reads it back."""
    if isinstance(value, tuple):
        return ",".join(map(text_of, value))
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def notes_of(config: type[Any]) -> dict[str, str]:
    """The reason after `#` of each field of a dataclass and of those it inherits from; else the comment above it."""
    notes: dict[str, str] = {}
    for owner in reversed(config.__mro__[:-1]):
        try:
            source = textwrap.dedent(inspect.getsource(owner))
        except (OSError, TypeError):  # made at run time: there is no text
            continue
        comments = {}
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                alone = not token.line[: token.start[1]].strip()
                comments[token.start[0]] = (token.string.lstrip("# "), alone)
        tree = ast.parse(source).body[0]
        assert isinstance(tree, ast.ClassDef)
        for node in tree.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                notes[node.target.id] = _beside(comments, node.lineno, node.end_lineno or node.lineno)
    return notes


def _beside(comments: dict[int, tuple[str, bool]], first: int, last: int) -> str:
    trailing = [comments[n][0] for n in range(first, last + 1) if n in comments]
    if trailing:
        return " ".join(trailing)
    above: list[str] = []
    while comments.get(first - 1, ("", False))[1]:
        first -= 1
        above.insert(0, comments[first][0])
    return " ".join(above)


def packed(keys: list[Key]) -> list[str]:
    """Settings of the optimisers, KEY=VALUE, as many to a line as fit: each can be pasted after --set."""
    lines = [""] if keys else []
    for key in keys:
        text = f"{key.name}={key.default}"
        if len(lines[-1]) > 1 and len(lines[-1]) + len(text) + 2 > LINE:
            lines.append("")
        lines[-1] += ("  " if lines[-1] else "") + text
    return [*lines, ""] if keys else lines


def defaults_of(entry: catalog.Entry) -> list[tuple[str, str]]:
    """What a run of the method does unless it is told otherwise."""
    method = entry.method
    weak, strong = method.views
    among = ", the labelled ones among them" if method.labelled_in_unlabelled else ""
    rows = [
        ("views", f"weak {weak}, strong {strong} (--weak, --strong)"),
        ("batch", f"{method.batch[0]} labelled, {method.batch[1]} unlabelled{among} (--batch, --unlabelled-batch)"),
        ("epoch", epoch_text(method.epoch)),
    ]
    if names := predictors_of(entry):
        first = " (the headline is the best on validation images, or the first without any)" if len(names) > 1 else ""
        rows.append(("evaluated", ", ".join(names) + first))
    return rows


def epoch_text(epoch: Epoch) -> str:
    if isinstance(epoch, int):
        return f"{epoch} steps"
    return {
        "unlabeled_pass": "once through the unlabelled images",
        "labeled_pass": "once through the labelled images",
        "mixed_pass": "once through all images",
        "selected_pass": "once through the labelled and the selected images",
    }[epoch]


def predictors_of(entry: catalog.Entry) -> list[str]:
    """The names of what is evaluated: those of a small instance, on two classes of small grey images."""
    cpu = torch.device("cpu")
    facts = Facts(("a", "b"), (1, 16, 16), (0.5,), (0.5,), flip=False, samples=4, labelled=2, unlabelled=2)
    try:
        method = build(
            entry,
            entry.config(),
            facts,
            net="small",
            net_options={},
            policies=("none", "none"),
            device=cpu,
            draws=Draws.seeded(0, cpu),
        )
    except UserError:  # it wants another network, or more classes
        return []
    return list(method.predictors())
