"""The table of docs/which-method.md, from committed runs: `python scripts/which_method.py`; a test keeps them equal.

CASES: what a user has, what to type, and the measured row that speaks for it. Gains are over the labels alone (logistic
regression on the same features; from scratch, the same network on the labels), on the same draws, with the 95% interval of a
paired t test.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from pages import filled, gained, start
from photographs_tables import Tables, kept, score

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "which-method.md"


@dataclass(frozen=True)
class Case:
    have: str
    take: str
    on: str  # a set of photographs.jsonl, or a folder of results/
    row: str
    views: tuple[int, int] = (2, 4)
    labels: int = 4  # a class on a bank, in all elsewhere


EVEN = "--set method.align_to=uniform"

CASES = (
    Case("colour photographs, some hundreds of a class", "nothing: `--method auto`", "cifar10-10k", "auto"),
    Case("the same, one label a class", "nothing", "cifar10-10k", "auto", labels=1),
    Case("the same, 25 labels a class", "nothing", "cifar10-10k", "auto", labels=25),
    Case("the same at 224 pixels, a pool of 2,000", "nothing", "cifar10-2k@224", "auto"),
    Case(
        "the same, and as many pictures of every class (you know it)",
        f"`--method fixmatch {EVEN}`",
        "cifar10-10k",
        "fixmatch, aligned",
    ),
    Case("photographs, some classes with a tenth of the pictures of others", "nothing", "cifar10-tail", "auto"),
    Case("photographs of a hundred classes", "nothing", "cifar100-10k", "auto"),
    Case("a handful of pictures a class in the pool, colour", "nothing", "blood", "auto"),
    Case(
        "grey or small pictures unlike photographs, seconds",
        "`--backbone lite0`, which is not the default here",
        "letters",
        "auto",
    ),
    Case("the same, some minutes", "nothing, and not a backbone", "letters", "supervised, from scratch"),
    Case("digits, from scratch, 2 labels a class", "`--method fixmatch`", "mnist-small", "FixMatch", labels=20),
    Case("the same", "`--method freematch`", "mnist-all", "freematch", labels=20),
    Case("the same", f"`--method dnll --set method.align=true {EVEN}`", "mnist-small", "DNLL, aligned", labels=20),
    Case("the same", "`--method commatch`", "mnist-small", "ComMatch", labels=20),
    Case("the same, 10 labels a class", "`--method fixmatch`", "mnist-small", "FixMatch", labels=100),
    Case("the same", "`--method ccn`", "mnist-small", "CCN", labels=100),
    Case("the same, 100 labels a class", "`--method r2d2`", "mnist-small", "R2-D2", labels=1000),
    Case("8x8 pixels, 4 labels a class, seconds", "`--method freematch`", "digits-all", "freematch", labels=40),
    Case("the same", "`--method fixmatch`", "digits-all", "fixmatch", labels=40),
)


def measured(case: Case, banks: Tables) -> list[str]:
    """Accuracy, gain with its interval, draws, and the time of a run."""
    if (case.on, *case.views, case.labels) in banks:
        table = banks[(case.on, *case.views, case.labels)]
        own, base = ({d: score(row) for d, row in table[name].items()} for name in (case.row, "probe"))
        gains = [own[d] - base[d] for d in sorted(set(own) & set(base))]
        took = f"{median(row['seconds'] for row in table[case.row].values()):.0f} s"
        return cells(case.on, list(own.values()), gains, took)
    rows = json.loads((ROOT / "results" / case.on / "results.json").read_text())["rows"]
    row, alone = (
        next(r for r in rows if (r["method"], r["labels"]) == (name, case.labels)) for name in (case.row, "supervised")
    )
    pairs = zip(row["accuracies"], alone["accuracies"], strict=False)  # both from draw 0 on
    minutes = row["minutes"]
    took = f"{minutes:.1f} min" if minutes >= 1 else f"{60 * minutes:.0f} s"
    return cells(case.on, [100 * a for a in row["accuracies"]], [100 * (a - b) for a, b in pairs], took)


def cells(on: str, own: list[float], gains: list[float], took: str) -> list[str]:
    return [on, f"{mean(own):.1f}", gained(gains), str(len(gains)), took]


def table() -> list[str]:
    banks = kept()
    said = [
        "| what you have | take | measured on | accuracy | over the labels alone (95%) | draws | a run |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    return said + [f"| {' | '.join([case.have, case.take, *measured(case, banks)])} |" for case in CASES]


def page() -> str:
    """What docs/which-method.md should hold."""
    return filled(PAGE.read_text(), {start("which_method.py"): table()})


if __name__ == "__main__":
    PAGE.write_text(page())
