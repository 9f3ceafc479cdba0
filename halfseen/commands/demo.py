"""The demonstration: 20 labelled digits among 4,000, three ways to use them, one table and one page.

How method and settings were found: `python scripts/demo_settings.py`, by the accuracy on the training set's unlabelled
images, whose labels are known here and hidden from the methods, on label draws from 100 on, which the demonstration does
not use. Neither they nor LabelSpreading's were chosen on test images. Alignment to a uniform prior is what keeps a class
from being lost to its look-alike on bad draws; the digits are as many of each class.
"""

import json
import shlex
import time
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from halfseen.commands.train import run
from halfseen.data import ImageSet, Split, open_data
from halfseen.errors import Stopped, UserError
from halfseen.machine.files import write_json
from halfseen.report.page import write_page
from halfseen.report.tables import Comparison, Contender, interval, percent
from halfseen.run.folder import Folder
from halfseen.run.session import Result
from halfseen.settings import Settings
from halfseen.training import metrics

DATA = "mnist-5k"
LABELS = 20
BEST = "fixmatch"  # the best on tuning draws


@dataclass(frozen=True)
class Lesson:
    """What is run, besides the seed."""

    best: Settings
    supervised: Settings
    neighbours: int = 10  # of LabelSpreading's graph
    alpha: float = 0.99  # how much of a label LabelSpreading takes from the neighbours


def lesson(best_steps: int = 5263, supervised_steps: int = 1000) -> Lesson:
    """The demonstration's (1.6 million network passes), or a shorter one for tests.

    Both networks have the same size and views of labelled images. The strong view has no hole in it: without its upper half
    a 5 is a 3, and the method then teaches itself that it is one.
    """
    common: dict[str, Any] = {"num_labels": LABELS, "net": "small", "weak": "affine", "report": False}
    common["threads"] = 1  # so small a network gains little from a second core, and loses much when that one is busy
    adam = ("method.optim.kind=adam", "method.optim.lr=0.002", "method.optim.weight_decay=0")
    sgd = (
        "method.optim.kind=sgd",
        "method.optim.schedule=cos",
        "method.optim.lr=0.1",
        "method.optim.weight_decay=5e-4",
    )
    align = ("method.align=true", "method.align_to=uniform")
    alone = Settings(
        method="supervised", steps=supervised_steps, batch=LABELS, overrides=("net.width=16", *adam), **common
    )
    best = Settings(
        method=BEST,
        steps=best_steps,
        strong="affine+affine+noise",
        batch=16,
        unlabelled_batch=64,
        val="none",
        overrides=("net.width=16", *sgd, *align),
        **common,
    )
    return Lesson(best, alone)


def demo(out: Path, seed: int, chosen: Lesson | None = None) -> Path:
    """Run what has not been run yet of the demonstration in `out`, show its table, and name its page."""
    plan = chosen or lesson()
    begin(out, seed, plan)
    go_on = command(out, seed)
    page, results = out / "report.html", out / "results.json"
    try:
        if not (results.is_file() and page.is_file()):
            train_all(out, seed, plan, go_on)
    except Stopped:
        raise  # it has been said how to go on
    except KeyboardInterrupt:
        print(f"Stopped. Go on with: {go_on}", flush=True)
        raise
    print_table([Contender(**row) for row in Folder(out).read("results.json")])
    print(f"The page that shows why to believe it: {page}")
    return page


def begin(out: Path, seed: int, plan: Lesson) -> None:
    """Make the folder, or see that it is this demonstration's."""
    mark = out / "demo.json"
    asked = json.loads(json.dumps({"seed": seed, "recipe": asdict(plan)}))  # as it will be read again
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not mark.is_file())):
        raise UserError(f"{out} exists and is not the folder of a demo; choose another --out")
    if not mark.is_file():
        Folder.create(out)
        write_json(mark, asked)
        return
    held = Folder(out).read("demo.json")
    if held["seed"] != seed:
        raise UserError(f"{out} holds the demo with --seed {held['seed']}; give that, or choose another --out")
    if held != asked:
        raise UserError(f"{out} holds a demo with other settings, of another version; choose another --out")


def command(out: Path, seed: int) -> str:
    """What continues it."""
    words = ["halfseen", "demo", *([] if out == Path("demo") else ["--out", str(out)])]
    return shlex.join([*words, *(["--seed", str(seed)] if seed else [])])


def train_all(out: Path, seed: int, plan: Lesson, go_on: str) -> None:
    """Train what is not trained yet, and write the page and then the results: with them the demo is finished."""
    images = open_data(DATA, progress=False)
    supervised = train(out / "supervised", plan.supervised, seed, go_on)
    split = Split.from_json(Folder(supervised.folder).read("split.json"))
    spread = label_spreading(images, split, plan)
    best = train(out / plan.best.method, plan.best, seed, go_on)
    n, rest = len(split.labelled), len(images.x) - len(split.labelled)
    contenders = (
        of_run(supervised, f"the network on the {n} labels alone"),
        spread,
        of_run(best, f"the network on the {n} labels and the {rest:,} other images", headline=True),
    )
    scored = 0 if images.test_x is None else len(images.test_x)
    note = (
        f"All have the same {n} labels and are scored on the same {scored:,} test images. The settings of "
        f"{plan.best.method} and LabelSpreading were chosen by hidden labels of training images, never on test images. "
        "The intervals do not cover the luck of the draw: other labels (--seed 1, --seed 2) can do far better or worse."
    )
    comparison = Comparison(f"{len(contenders)} ways to use {n} labels", contenders, note)
    write_page(out / "report.html", Folder(best.folder), images, comparison)
    write_json(out / "results.json", [asdict(c) for c in contenders])


def train(folder: Path, settings: Settings, seed: int, go_on: str) -> Result:
    """The run in this folder: begun, continued or, if it is finished, read again."""
    resume = (folder / "config.json").is_file()
    return run(DATA, replace(settings, seed=seed, split_seed=seed), folder, resume, go_on)


def of_run(result: Result, what: str, headline: bool = False) -> Contender:
    m = result.metrics
    scores = m["headline"]["test"]
    low, high = scores["interval"]
    return Contender(m["method"], what, scores["accuracy"], (low, high), m["seconds"] / 60, headline)


def label_spreading(images: ImageSet, split: Split, plan: Lesson) -> Contender:
    """scikit-learn's LabelSpreading on pixels, with the same labels."""
    from sklearn.semi_supervised import LabelSpreading

    if images.test_x is None or images.test_y is None:
        raise UserError(f"{images.name} has no test images; the demo needs them")
    print("LabelSpreading on the pixels ...", flush=True)
    began = time.monotonic()
    x, test_x = (pixels.flatten(1).numpy() / 255 for pixels in (images.x, images.test_x))
    y = torch.full_like(images.y, -1)
    y[split.labelled] = images.y[split.labelled]
    model = LabelSpreading(kernel="knn", n_neighbors=plan.neighbours, alpha=plan.alpha, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # images that no label reaches are divided by 0 and get the first class
        said = torch.from_numpy(model.fit(x, y.numpy()).predict(test_x))
    right = said == images.test_y
    what = f"scikit-learn, on pixels: {plan.neighbours} neighbours, alpha {plan.alpha:g}"
    accuracy, pair = float(right.double().mean()), metrics.exact_interval(int(right.sum()), len(right))
    return Contender("LabelSpreading", what, accuracy, pair, (time.monotonic() - began) / 60)


def print_table(contenders: list[Contender]) -> None:
    table = Table(title=f"{LABELS} labelled digits among 4,000; accuracy on 1,000 test images", title_justify="left")
    table.add_column("method")
    table.add_column("what it is")
    for column in ("accuracy", "95% interval", "minutes"):
        table.add_column(column, justify="right", no_wrap=True)
    for c in contenders:
        style = "bold" if c.headline else ""
        table.add_row(c.name, c.what, percent(c.accuracy), interval(c.interval), f"{c.minutes:.1f}", style=style)
    Console().print(table)
