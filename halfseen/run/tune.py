"""Fine-tuning as two runs: the head on a bank, in OUT-head, and from where that came to all on pixels, in OUT.

The second is the same method with each of its networks on a copy of the backbone (model/tuned.py): its heads, averages
and memories go on as they were left, or as they were when the held-out images liked them best.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from torch import Tensor

from halfseen.data import Split
from halfseen.errors import UserError
from halfseen.model.facts import Facts
from halfseen.model.model import read_facts
from halfseen.run.beginning import began_with
from halfseen.run.folder import Folder
from halfseen.settings import MAY_CHANGE, Settings
from halfseen.training import checkpoint

SUFFIX = "-head"


@dataclass(frozen=True)
class Start:
    """What a method came to on a bank."""

    facts: Facts  # of the features
    state: Mapping[str, Tensor]
    split: Split  # which images it has seen, and how


def head_folder(out: Path) -> Path:
    return out.with_name(out.name + SUFFIX)


def head_settings(s: Settings) -> Settings:
    """Of the run on the bank: as long, and in such batches, as is usual there."""
    lengths = {"steps": None, "epochs": None, "passes": None, "minutes": None}
    return replace(s, tune="head", batch=None, unlabelled_batch=None, **lengths)  # type: ignore[arg-type]  # all optional


def need_same_head(folder: Path, asked: Settings) -> None:
    """A head that is there already must be the one that was asked for."""
    _, began = began_with(Folder.open(folder))
    for f in fields(Settings):
        then, now = getattr(began, f.name), getattr(asked, f.name)
        if then != now and f.name not in MAY_CHANGE:
            flag = f.name.replace("_", "-")
            raise UserError(
                f"the head in {folder} was trained with --{flag} {then}, and now it is {now}: choose another --out, or "
                "remove that folder"
            )


def start_of(folder: Path) -> Start:
    """Of a finished run on a bank."""
    if not (folder / "metrics.json").is_file():
        raise UserError(
            f"{folder} has not finished, and fine-tuning starts from the head in it: run the first command again"
        )
    place = folder / "checkpoints"
    file = next(f for f in (place / "best.pt", place / "last.pt") if f.is_file() or f.name == "last.pt")
    about = Folder(folder / "model").read("model.json")
    try:
        split = Split.from_json(Folder(folder).read("split.json"))
        return Start(read_facts(about["head_facts"]), checkpoint.load(file)["method"], split)
    except (KeyError, TypeError, ValueError) as e:
        raise UserError(f"the head in {folder} is damaged ({e}): remove the folder, and it is trained again") from e
