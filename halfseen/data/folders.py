"""A folder of pictures: class subfolders or labels.csv, with or without train, val and test parts."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from halfseen.data.cache import decode_folder
from halfseen.data.images import EXTENSIONS
from halfseen.data.sets import ImageSet, check_set, measure, natural
from halfseen.data.tables import of_no_class, read_labels
from halfseen.errors import UserError

PART_NAMES = {  # reserved: a folder of such a name directly below the root is a part, never a class
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
UNLABELLED = ("unlabelled", "unlabeled")
TABLE = "labels.csv"


@dataclass(frozen=True)
class Row:
    part: str  # train, val or test
    path: str  # below the root, with /
    label: str  # "" = unlabelled


def open_folder(
    root: Path,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    flip: bool | None = None,
    cache_dir: Path | None = None,
    on_bad_image: Literal["skip", "stop"] = "skip",
    workers: int | None = None,
    progress: bool = True,
    pool: bool = False,
    albums: bool = False,
) -> ImageSet:
    """pool: of pictures that are to be labelled, so that classes may be missing and pictures may lie in no class folder.

    albums: with it, subfolders are no classes, unless there is a labels.csv.
    """
    rows, left_out = scan(root, pool, albums)
    named = {row.label for row in rows if (row.part == "train" or pool) and row.label}
    classes = tuple(sorted(named, key=natural))
    if not pool:
        _check_labels(rows, classes, root)
    untestable = [row for row in rows if row.part != "train" and not row.label]
    left_out += [(row.path, f"in the {row.part} part without a label") for row in untestable]
    order = {"train": 0, "val": 1, "test": 2}
    rows = sorted((r for r in rows if r.part == "train" or r.label), key=lambda r: (order[r.part], natural(r.path)))

    decoded = decode_folder(
        root,
        [row.path for row in rows],
        size=size,
        channels=channels,
        cache_dir=cache_dir,
        on_bad_image=on_bad_image,
        workers=workers,
        progress=progress,
    )
    kept = [rows[i] for i in decoded.kept]
    number = {name: k for k, name in enumerate(classes)} | {"": -1}
    x, y, paths = {}, {}, {}
    sums: list[tuple[str, str]] = []
    for part in order:
        places = [i for i, row in enumerate(kept) if row.part == part]  # contiguous: rows are sorted by part
        if places or part == "train":
            first = places[0] if places else 0
            x[part] = decoded.x[first : first + len(places)]
            y[part] = torch.tensor([number[kept[i].label] for i in places], dtype=torch.int64)
            # all pixels were summed when they were decoded: a set larger than memory is not read again for its fingerprint
            field = "x" if part == "train" else f"{part}_x"
            sums.append((field, f"{decoded.sha256}[{first}:{first + len(places)}]"))
            paths[part] = tuple(kept[i].path for i in places)
    if not pool:
        _check_survivors(y["train"], classes, root)
    mean, std = measure(x["train"])
    found = ImageSet(
        name=root.resolve().name,
        classes=classes,
        x=x["train"],
        y=y["train"],
        given=y["train"] >= 0,
        mean=mean,
        std=std,
        flip=x["train"].shape[1] == 3 if flip is None else flip,
        test_x=x.get("test"),
        test_y=y.get("test"),
        val_x=x.get("val"),
        val_y=y.get("val"),
        paths=paths["train"],
        test_paths=paths.get("test"),
        val_paths=paths.get("val"),
        sums=tuple(sums),
        skipped=tuple(sorted(left_out + list(decoded.bad))),
        odd=decoded.odd,
    )
    return found if pool else check_set(found)


def scan(root: Path, pool: bool = False, albums: bool = False) -> tuple[list[Row], list[tuple[str, str]]]:
    """The images of all parts with their labels, and the files that are none, with the reason."""
    if not root.exists():
        raise UserError(f"There is no folder {root}: check the path.")
    if os.path.isfile(root / TABLE):
        rows, others = _table_rows(root, root, None, pool)
        if not pool:
            rows, others = _with_own_parts(root, rows, others)
    elif pool and albums:
        others = []
        rows = [Row(_part_of(path), path, "") for path in images_in(root, root, others)]
    else:
        rows, others = [], []
        parts = {name: PART_NAMES[name.casefold()] for name in _subfolders(root) if name.casefold() in PART_NAMES}
        if "train" in parts.values():
            aside = [n for n in _subfolders(root) if n not in parts and n.casefold() not in UNLABELLED]
            if aside:
                raise UserError(
                    f"{root} holds {aside[0]!r} beside train: move the classes into train, or rename train."
                )
            for name in _subfolders(root):
                if name.casefold() in UNLABELLED:
                    rows += [Row("train", path, "") for path in images_in(root, root / name, others)]
        else:
            found, strange = _class_rows(root, root, "train", skip=tuple(parts), pool=pool)
            rows, others = rows + found, others + strange
        for name, part in parts.items():
            found, strange = _part_rows(root, name, part, pool)
            rows, others = rows + found, others + strange
    if not any(row.part == "train" for row in rows):
        raise UserError(
            f"{root} holds no training images (looked for {', '.join(sorted(EXTENSIONS))}): check the path."
        )
    return rows, others


def _part_rows(root: Path, name: str, part: str, pool: bool) -> tuple[list[Row], list[tuple[str, str]]]:
    if os.path.isfile(root / name / TABLE):
        return _table_rows(root, root / name, part, pool)
    return _class_rows(root, root / name, part, pool=pool)


def _with_own_parts(
    root: Path, rows: list[Row], others: list[tuple[str, str]]
) -> tuple[list[Row], list[tuple[str, str]]]:
    """A val or test folder that the table beside it says nothing of is read as one: by its classes, or its own table."""
    named = {row.part for row in rows if row.label}
    for name in _subfolders(root):
        part = PART_NAMES.get(name.casefold(), "train")
        if part == "train" or part in named:
            continue
        if _subfolders(root / name) or os.path.isfile(root / name / TABLE):
            found, strange = _part_rows(root, name, part, pool=False)
            rows = [row for row in rows if not row.path.startswith(f"{name}/")] + found
            others = [other for other in others if not other[0].startswith(f"{name}/")] + strange
    return rows, others


def _table_rows(
    root: Path, folder: Path, part: str | None, pool: bool = False
) -> tuple[list[Row], list[tuple[str, str]]]:
    """Every image below the folder, labelled by its table; without a part, a path's first folder may name one.

    What somebody has looked at and found of no class is no part of it, but of a pool that is to be labelled.
    """
    others: list[tuple[str, str]] = []
    labels = read_labels(folder / TABLE)
    prefix = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    by_path = {prefix + path: label for path, label in labels.items()}
    paths = dict.fromkeys([*by_path, *images_in(root, folder, others, but=TABLE)])
    strange = set() if pool else {prefix + path for path in of_no_class(folder / TABLE)}
    others += [(path, f"of no class, says {TABLE}") for path in paths if path in strange]
    rows = [Row(part or _part_of(path), path, by_path.get(path, "")) for path in paths if path not in strange]
    return rows, others


def _part_of(path: str) -> str:
    """By the first folder of its path."""
    return PART_NAMES.get(path.split("/")[0].casefold(), "train") if "/" in path else "train"


def _class_rows(
    root: Path, folder: Path, part: str, skip: tuple[str, ...] = (), pool: bool = False
) -> tuple[list[Row], list[tuple[str, str]]]:
    """Images by class: each subfolder is a class, with everything below it; `unlabelled` is none."""
    others: list[tuple[str, str]] = []
    rows: list[Row] = []
    loose = sorted(e.name for e in _entries(folder) if not _is_dir(e) and Path(e.name).suffix.lower() in EXTENSIONS)
    if pool:
        below = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
        rows += [Row(part, below + name, "") for name in loose]
    elif loose:
        raise UserError(
            f"{folder} holds {len(loose)} images outside any class folder, such as {loose[0]}: put each into "
            f"the folder of its class or into unlabelled, or write {TABLE} with the columns path,label, as `halfseen label` "
            "does."
        )
    for name in _subfolders(folder):
        if name in skip:
            continue
        label = "" if name.casefold() in UNLABELLED else name
        paths = images_in(root, folder / name, others)
        if not paths and label:
            raise UserError(f"The class folder {folder / name} holds no images: add some, or remove it.")
        rows += [Row(part, path, label) for path in paths]
    return rows, others


def images_in(root: Path, folder: Path, others: list[tuple[str, str]], but: str = "") -> list[str]:
    """Paths below the root of all images in the folder and below it; what else lies there is added to `others`."""
    found: list[str] = []
    seen: set[str] = set()

    def walk(below: str) -> None:  # strings, because paths as objects would be half the time of a second start
        place = root / below
        real = os.path.realpath(place)
        if real in seen:  # a link that leads back up
            return
        seen.add(real)
        for entry in _entries(place):
            path = f"{below}/{entry.name}" if below else entry.name
            if _is_dir(entry):
                walk(path)
            elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
                found.append(path)
            elif entry.name != but:
                others.append((path, "no image by its name"))

    walk("" if folder == root else folder.relative_to(root).as_posix())
    return found


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What the folder holds, without hidden files and those that archives of Macs bring along."""
    try:
        with os.scandir(folder) as entries:
            kept = [e for e in entries if not e.name.startswith(".") and e.name not in ("__MACOSX", "Thumbs.db")]
            return sorted(kept, key=lambda e: e.name)
    except OSError as error:
        raise UserError(f"The folder {folder} could not be read ({error.strerror}): check its permissions.") from error


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder that may not be searched: said when it is read
        return False


def _subfolders(folder: Path) -> list[str]:
    return sorted((e.name for e in _entries(folder) if _is_dir(e)), key=natural)


def _check_labels(rows: list[Row], classes: tuple[str, ...], root: Path) -> None:
    for row in rows:
        if row.part != "train" and row.label and row.label not in classes:
            raise UserError(
                f"{row.path} in the {row.part} part is of class {row.label!r}, which no training image is: the classes "
                f"are {', '.join(classes[:20])}."
            )
    if len(classes) == 1 and not (root / TABLE).is_file():
        inner = root / classes[0]
        if inner.is_dir() and (len(_subfolders(inner)) > 1 or (inner / TABLE).is_file()):
            raise UserError(f"{root} has only the class {classes[0]!r}, which holds folders: did you mean {inner}?")


def _check_survivors(y: Tensor, classes: tuple[str, ...], root: Path) -> None:
    for k, count in enumerate(torch.bincount(y[y >= 0], minlength=len(classes)).tolist()):
        if not count:
            raise UserError(f"Every labelled image of class {classes[k]!r} in {root} is bad: replace them.")
