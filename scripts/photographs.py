"""What a frozen backbone and a bank of views are worth with 4 labels a class: `python scripts/photographs.py SET`.

SETS: cifar10-2k, cifar10-10k, cifar10-50k, cifar100-10k, cifar10-tail, blood, letters; at 96 pixels, or cifar10-2k@224.
Every row on label draws 0 to 4 (--draws 0 5), results/photographs.jsonl; what is in it is not made again. --tune: draws 100
to 102 with the settings of TUNE, scored by the hidden labels of the pool, results/photographs-tuning.jsonl; test images are
looked at in the first case only.

--rows all: every method that has no such row yet, as it is and, where it has a teacher, with targets aligned to uniform.
NAME, aligned to estimate: to what the labels show. --labels N: so many a class. --out: another file.
"""

import argparse
import json
import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

import halfseen
from halfseen import methods
from halfseen.backbones import load_backbone
from halfseen.data import ImageSet, open_data
from halfseen.data.bank import Bank, banked
from halfseen.data.store import Views
from halfseen.probes import PROBES
from halfseen.run.labels import draw_split
from halfseen.settings import Settings

RESULTS, TUNING = Path("results/photographs.jsonl"), Path("results/photographs-tuning.jsonl")
TESTED = 2000
LABELS = 4  # a class, where a row does not say how many
ALONE = ("method.align=false",)
ALIGN = ("method.align=true", "method.align_to=uniform")
ESTIMATE = ("method.align=true", "method.align_to=estimate")
STEPS = 1500
SIDE = 96
SCRATCH = "supervised, from scratch"  # on pictures of 32 pixels with the network that a user gets without a backbone
ROWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "supervised": ("supervised", ()),
    "fixmatch": ("fixmatch", ALONE),
    "fixmatch, aligned": ("fixmatch", ALIGN),
    "dnll": ("dnll", ALONE),
    "dnll, aligned": ("dnll", ALIGN),
    "mean_teacher": ("mean_teacher", ALONE),
    "commatch, aligned": ("commatch", ALIGN),
    "fixmatch, aligned to estimate": ("fixmatch", ESTIMATE),
    "dnll, aligned to estimate": ("dnll", ESTIMATE),
    "probe": ("probe", ()),
    "graph": ("graph", ()),
    "prototype": ("prototype", ()),
    "auto": ("auto", ()),
    SCRATCH: ("supervised", ()),
}
ALIGNS = {name for name in methods.names() if hasattr(methods.load(name).config(), "align")}
OWN = {name.partition(",")[0] for name in ROWS}
MOVES = {"sntg"}  # features, which a head alone has none of: with a hidden layer
ALL: dict[str, tuple[str, tuple[str, ...]]] = {
    (f"{row}, net mlp" if name in MOVES else row): (name, (*keys, *(["net=mlp"] if name in MOVES else [])))
    for name in methods.names()
    for row, keys in ((name, ALONE), (f"{name}, aligned", ALIGN))
    if name not in OWN or row not in ROWS
    if name in ALIGNS or keys is ALONE
}
ESTIMATED = {  # the others with targets aligned to what the labels show
    f"{name}, aligned to estimate": (name, ESTIMATE)
    for name in sorted(ALIGNS)
    if f"{name}, aligned to estimate" not in ROWS
}
MIXED = {  # MixMatch, aligned to what the labels show, with one of its settings changed
    f"mixmatch; {said or 'as it is'}": ("mixmatch", (*ESTIMATE, *(f"method.{key}" for key in said.split(", ") if key)))
    for said in (
        *("", "lambda_u=1", "lambda_u=3", "lambda_u=30", "alpha=0.3", "alpha=2", "T=0.3", "T=0.8", "K=4", "ramp=0.1"),
        *("optim.lr=0.001", "optim.lr=0.005", "optim.weight_decay=0", "optim.weight_decay=0.1", "optim.schedule=cos"),
    )
}
SKLEARN = ("logistic regression", "logistic regression, all views", "label spreading", "self-training")
OPTIM = ("method.optim.lr=0.03", "method.optim.weight_decay=5e-4")
TUNE: dict[str, tuple[str, tuple[str, ...]]] = {
    f"{name}; lr {lr}, temperature {temperature}, {steps} steps": (
        method,
        (*keys, f"method.optim.lr={lr}", f"net.temperature={temperature}", f"steps={steps}"),
    )
    for name, (method, keys) in ROWS.items()
    if name in ("supervised", "fixmatch, aligned", "dnll, aligned")
    for lr, temperature, steps in (
        *((0.03, 10, 1500), (0.1, 10, 1500), (0.03, 20, 1500), (0.03, 5, 1500)),
        *((0.03, 40, 1500), (0.1, 20, 1500), (0.1, 40, 1500)),
    )
}


def pool(name: str, root: Path, side: int = SIDE) -> ImageSet:
    """The images of a set, some of a large one; the same ones whenever they are asked for. side: of those of a folder."""
    kind, _, size = name.partition("-")
    if kind in ("cifar10", "cifar100"):
        whole = open_data(kind, root=root)
        assert whole.test_x is not None
        assert whole.test_y is not None
        random = np.random.default_rng(0)
        order = random.permutation(len(whole.x))
        if size == "tail":  # a tenth as many of the last class as of the first, 10,000 images in all at most
            y = whole.y.numpy()[order]
            kept = [order[y == k][: round(2000 * 10 ** (-k / 9))] for k in range(10)]
            chosen = np.sort(np.concatenate(kept))
        else:
            chosen = np.sort(order[: 1000 * int(size[:-1])])
        test = np.sort(random.permutation(len(whole.test_x))[:TESTED])
        arrays = {
            "x": whole.x[chosen],
            "y": whole.y[chosen],
            "test_x": whole.test_x[test],
            "test_y": whole.test_y[test],
        }
        return open_data({k: v.permute(0, 2, 3, 1).numpy() if v.ndim == 4 else v.numpy() for k, v in arrays.items()})
    return open_data(root / {"blood": "folders/blood-cells", "letters": "folders/letters"}[kind], size=side)


def at_size(images: ImageSet, side: int = SIDE) -> ImageSet:
    """Enlarged as small pictures are for a backbone, once for all rows."""
    if images.shape[1] == side:
        return images
    arrays = {"x": images.x.permute(0, 2, 3, 1).numpy(), "y": images.y.numpy()}
    if images.test_x is not None and images.test_y is not None:
        arrays |= {"test_x": images.test_x.permute(0, 2, 3, 1).numpy(), "test_y": images.test_y.numpy()}
    return open_data(arrays, size=side, flip=True)


def told_to(method: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Those that the method has: its teacher may have none to align, its optimiser may be another one."""
    if method == "auto" or method in PROBES:
        return ()
    config = methods.load(method).config()
    sgd = getattr(getattr(config, "optim", None), "kind", "") == "sgd"
    return (*(OPTIM if sgd else ()), *(k for k in keys if method in ALIGNS or not k.startswith("method.align")))


def run(
    images: ImageSet,
    draw: int,
    method: str,
    keys: tuple[str, ...],
    views: tuple[int, int],
    labels: int,
    backbone: str = "lite0",
) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp()) / "run"
    own = dict(k.split("=") for k in keys if k.startswith(("steps=", "net=")))
    keys = told_to(method, tuple(k for k in keys if not k.startswith(("steps=", "net="))))
    try:
        found = halfseen.train(
            images,
            out=folder,
            method=method,
            backbone=backbone,
            size=images.shape[1],
            labels_per_class=labels,
            val="none",
            seed=draw,
            split_seed=draw,
            steps=int(own.get("steps", STEPS)),
            net=own.get("net", "auto"),
            batch=32,
            unlabelled_batch=128,
            weak_views=views[0],
            strong_views=views[1],
            overrides=keys,
            threads=1,
            report=False,
            quiet=True,
        ).metrics
    finally:
        shutil.rmtree(folder.parent)
    return {
        "pool": round(found["unlabelled"]["accuracy"], 4),
        "test": {k: round(v["test"]["accuracy"], 4) for k, v in found["last"].items() if "test" in v},
        "seconds": found["seconds"],
    }


def sklearn_row(name: str, images: ImageSet, draw: int, views: tuple[int, int], labels: int) -> dict[str, Any]:
    """The same labels on the same features, centred and of length 1, with scikit-learn's own estimators."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

    began = time.monotonic()
    settings = Settings(labels_per_class=labels, val="none", split_seed=draw)
    split = draw_split(images, methods.load("fixmatch").method, settings)
    made = banked(images, load_backbone("lite0"), Views(*views), progress=False)
    bank = made.bank
    assert isinstance(bank, Bank)

    def unit(h: torch.Tensor) -> Any:
        return torch.nn.functional.normalize(h - made.mean, dim=-1).numpy()

    labelled, pool_x = split.labelled, unit(bank.clean(made.x[:, 0]))
    y = images.y[labelled].numpy()
    model: Any = LogisticRegression(C=10.0, max_iter=2000)
    if name == "logistic regression, all views":
        seen = unit(bank.every_view(labelled))
        model.fit(seen.reshape(-1, seen.shape[-1]), np.repeat(y, seen.shape[1]))
    elif name == "logistic regression":
        model.fit(pool_x[labelled], y)
    else:
        known = np.full(len(pool_x), -1)
        known[labelled] = y
        if name == "label spreading":
            model = LabelSpreading(kernel="knn", n_neighbors=10, alpha=0.9, max_iter=200)
        else:
            model = SelfTrainingClassifier(model, threshold=0.95)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # images that no label reaches
            model.fit(pool_x, known)
    hidden = np.ones(len(pool_x), bool)
    hidden[labelled] = False
    found: dict[str, Any] = {"pool": right(model.predict(pool_x[hidden]), images.y.numpy()[hidden]), "test": {}}
    if made.test_x is not None and images.test_y is not None:
        found["test"] = {"model": right(model.predict(unit(bank.clean(made.test_x[:, 0]))), images.test_y.numpy())}
    return {**found, "seconds": round(time.monotonic() - began, 2)}


def right(said: Any, truth: Any) -> float:
    return round(float((said == truth).mean()), 4)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("set")
    options.add_argument("--root", type=Path, default=Path("data"))
    options.add_argument("--draws", type=int, nargs=2, default=(0, 5))
    options.add_argument("--rows", nargs="*", help="some of them only")
    options.add_argument("--tune", action="store_true")
    options.add_argument("--labels", type=int, default=4, help="a class")
    options.add_argument("--views", type=int, nargs=2, default=(3, 5))
    options.add_argument("--out", type=Path, default=RESULTS)
    told = options.parse_args()
    place, rows = (TUNING, TUNE | MIXED) if told.tune else (told.out, ROWS | ALL | ESTIMATED)
    if told.rows is None:
        told.rows = list(rows) if told.tune else [*SKLEARN, *ROWS]
    elif told.rows == ["all"]:
        told.rows = list(ALL)
    draws = range(100, 103) if told.tune else range(*told.draws)
    name, _, side = told.set.partition("@")
    images = at_size(pool(name, told.root, int(side or SIDE)), int(side or SIDE))
    small = at_size(pool(name, told.root, 32), 32) if SCRATCH in told.rows else None
    done = [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []
    torch.set_num_threads(1)
    for draw in draws:
        for name in told.rows:
            about = {"set": told.set, "views": list(told.views), "row": name, "draw": draw}
            if told.labels != LABELS:
                about["labels"] = told.labels
            if any(about.items() <= row.items() and row.get("labels", LABELS) == told.labels for row in done):
                continue
            views = (int(told.views[0]), int(told.views[1]))
            if name in SKLEARN:
                found = sklearn_row(name, images, draw, views, told.labels)
            elif name == SCRATCH and small is not None:
                found = run(small, draw, *rows[name], views, told.labels, "none")
            else:
                found = run(images, draw, *rows[name], views, told.labels)
            found = {**about, **found}
            if told.tune:
                del found["test"]
            with place.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
