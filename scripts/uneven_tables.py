"""The tables of docs/photographs.md that are made of results/tails, wrong-labels, strangers and journey.jsonl.

By `python scripts/uneven_tables.py`: means over the draws, in percent; in brackets the points over the same method with the
same tail as it is, or with a clean pool, with the 95% interval of a paired t test.
"""

import json
from pathlib import Path
from statistics import mean, median
from typing import Any

from pages import filled, gained, start

RESULTS = Path(__file__).parent.parent / "results"
PAGE = RESULTS.parent / "docs" / "photographs.md"
SAID = {"none": "as it is", "balanced": "balanced"}
Row = dict[str, Any]


def read(name: str) -> list[Row]:
    return [json.loads(line) for line in (RESULTS / name).read_text().splitlines()]


def tails(rows: list[Row]) -> list[str]:
    said = [
        "| tail | method | class weight | tau | draws | accuracy | over as it is (95%) | worst recall "
        "| pool: accuracy | pool: balanced |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    found: dict[tuple[int, str], dict[tuple[str, float], dict[int, Row]]] = {}
    for row in rows:
        table = found.setdefault((row["tail"], row["row"]), {})
        table.setdefault((row["weight"], row["tau"]), {})[row["draw"]] = row
    for (tail, method), table in sorted(found.items(), key=lambda item: item[0][0]):
        base = table[("none", 0.0)]
        for (weight, tau), draws in table.items():
            cells = [f"1:{tail}", method, SAID[weight], f"{tau:g}", str(len(draws))]
            cells.append(percent(r["test"]["accuracy"] for r in draws.values()))
            gains = [100 * (draws[d]["test"]["accuracy"] - base[d]["test"]["accuracy"]) for d in draws]
            cells.append("" if draws is base else gained(gains))
            cells.append(percent(r["test"]["worst"] for r in draws.values()))
            cells += [percent(r["pool"][key] for r in draws.values()) for key in ("accuracy", "balanced")]
            said.append(f"| {' | '.join(cells)} |")
    return said


def wrong_labels(rows: list[Row]) -> list[str]:
    said = [
        "| | labels | of them wrong | wrong of the first 10 | of the first as many as are wrong | suspected "
        "| wrong of these | found among these |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, labels, planted in dict.fromkeys((r["set"], r["labels"], r["planted"]) for r in rows):
        draws = [r for r in rows if (r["set"], r["labels"]) == (name, labels)]
        cells = [name, str(labels), str(planted), *(percent(r[key] for r in draws) for key in ("first10", "top"))]
        cells += [f"{mean(r['suspected'] for r in draws):.0f}"]
        cells += [percent(r[key] for r in draws) for key in ("precision", "recall")]
        said.append(f"| {' | '.join(cells)} |")
    return said


def strangers(rows: list[Row]) -> list[str]:
    """How well strangers are told, by pair."""
    said = [
        "| half of the pool | AUROC: distance | energy of fixmatch | 1 - max p of fixmatch | of the probe "
        "| belong and refused | strangers refused |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for pair in dict.fromkeys(r["pair"] for r in rows):
        by = {name: [r for r in rows if (r["pair"], r["row"], r["pool"]) == (pair, name, "mixed")] for name in SCORED}
        shown = (("probe", "distance"), ("fixmatch", "energy"), ("fixmatch", "max p"), ("probe", "max p"))
        cells = [pair, *(score(by[name], kind) for name, kind in shown)]
        cells += [percent(r[key] for r in by["probe"]) for key in ("lost", "refused")]
        said.append(f"| {' | '.join(cells)} |")
    return said


SCORED = ("probe", "fixmatch")
DIRTY = ("mixed", "left out", "left out, 0.3")


def score(draws: list[Row], kind: str) -> str:
    return f"{mean(r['auroc'][kind] for r in draws):.3f}"


def cost_of_strangers(rows: list[Row]) -> list[str]:
    """What strangers in the pool do to the classes that are known, by pair and method."""
    said = [
        "| half of the pool | method | draws | clean pool | with the strangers (95%) | with --leave-out 0.05 (95%) "
        "| with 0.3 (95%) | learned from: of both, with 0.05, 0.3 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for pair, method in dict.fromkeys((r["pair"], r["row"]) for r in rows):
        by = {
            pool: {r["draw"]: r for r in rows if (r["pair"], r["row"], r["pool"]) == (pair, method, pool)}
            for pool in ("clean", *DIRTY)
        }
        cells = [pair, method, str(len(by["clean"])), percent(r["accuracy"] for r in by["clean"].values())]
        for pool in DIRTY:
            if not by[pool]:
                cells.append("")
                continue
            gains = [100 * (row["accuracy"] - by["clean"][d]["accuracy"]) for d, row in by[pool].items()]
            shown = percent(r["accuracy"] for r in by[pool].values())
            cells.append(f"{shown}: {gained(gains)}")
        kept = [f"{mean(r['learned_from'] for r in by[pool].values()):,.0f}" for pool in DIRTY if by[pool]]
        said.append(f"| {' | '.join([*cells, ', '.join(kept)])} |")
    return said


def journey(rows: list[Row]) -> list[str]:
    """From no label to a model, round by round: seconds of each step, and accuracy beside as many random labels."""
    steps = ("suggest", "label_start", "label_answers", "train", "predict")
    said = [
        "| labels | seeds | those that are suggested | as many at random | "
        + " | ".join(SECONDS[s] for s in steps)
        + " |",
        "| --- |" + " --- |" * (3 + len(steps)),
    ]
    for labels in dict.fromkeys(r["labels"] for r in rows):
        of = {how: [r for r in rows if (r["labels"], r["how"]) == (labels, how)] for how in ("suggested", "random")}
        cells = [str(labels), str(len(of["suggested"]))]
        for how in of:
            each = [f"{100 * r['accuracy']:.1f}" for r in sorted(of[how], key=lambda r: int(r["seed"]))]
            cells.append(f"{percent(r['accuracy'] for r in of[how])} ({', '.join(each)})")
        cells += [f"{median(r[step] for r in of['suggested']):.0f}" for step in steps]
        said.append(f"| {' | '.join(cells)} |")
    return said


SECONDS = {
    "suggest": "suggest, s",
    "label_start": "until the page is there, s",
    "label_answers": "answers of a machine, s",
    "train": "train, s",
    "predict": "predict 2,000, s",
}


def percent(shares: Any) -> str:
    return f"{100 * mean(shares):.1f}"


def page() -> str:
    """What docs/photographs.md should hold."""
    regions = {
        "tails": tails(read("tails.jsonl")),
        "wrong labels": wrong_labels(read("wrong-labels.jsonl")),
        "journey": journey(read("journey.jsonl")),
        "strangers": strangers(read("strangers.jsonl")),
        "cost of strangers": cost_of_strangers(read("strangers.jsonl")),
    }
    return filled(PAGE.read_text(), {start("uneven_tables.py", name): lines for name, lines in regions.items()})


if __name__ == "__main__":
    PAGE.write_text(page())
