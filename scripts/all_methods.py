"""The tables of docs/all-methods.md, from committed runs: `python scripts/all_methods.py`; a test keeps them equal.

It draws results/photographs-ranks.svg too: the rows of RANKED over SETS, a block for each set and draw that has them all.

DRAWN: from scratch, results.json of `halfseen reproduce`. BANK: on frozen features, results/photographs.jsonl, of rows that
ran on DRAWS label draws at least. Ranks are means over the draws, among the rows of that table.
"""

import json
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import below_on_bank
import below_supervised
import crossed_sevens
from pages import filled, gained, start
from photographs_tables import Tables, kept, score
from trials import read

from halfseen.report.comparison import gain, number, std_of
from halfseen.report.ranks import drawing, mean_ranks, sentence

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "all-methods.md"
DRAWN = {"digits-all-40": 40, "mnist-all-100": 100, "mnist-all-20": 20}
BANK = {"cifar10-10k": (2, 4), "cifar100-10k": (2, 4)}
SWEEP = (1, 4, 25)  # labels a class
SETS = ("cifar10-2k", "cifar10-10k", "cifar10-tail", "cifar100-10k", "blood", "letters")
RANKED = (  # rows of methods that every set has; `auto` is one of them each time
    "probe",
    "graph",
    "prototype",
    "supervised",
    "mean_teacher",
    "commatch, aligned",
    "mixmatch, aligned to estimate",
    *(f"{name}{how}" for name in ("fixmatch", "dnll") for how in ("", ", aligned", ", aligned to estimate")),
)
BEST = 8
PICTURE = ROOT / "results" / "photographs-ranks.svg"
DRAWS = 3


def drawn(rows: list[dict[str, Any]]) -> list[str]:
    """Of a table of `compare`, the best first; with the draws where they are not those of the others."""
    rows = sorted((row for row in rows if row["mean"] is not None), key=lambda row: row["rank"] or -100 * row["mean"])
    most = max(len(row["accuracies"]) for row in rows)
    columns = (
        "over supervised (95%)",
        "over FixMatch (95%)",
        "mean rank",
        "minutes",
        "passes a step",
        "bytes an image",
    )
    said = ["| method | mean ± std | " + " | ".join(columns) + " |", "| --- |" + " --- |" * (1 + len(columns))]
    for row in rows:
        draws = len(row["accuracies"])
        cells = [
            row["method"] + (f" ({draws} draw{'s' * (draws > 1)})" if draws < most else ""),
            f"{100 * row['mean']:.2f}{std_of(row)}",
            gain(row["difference"]),
            gain(row.get("over_fixmatch")),
            number(row.get("rank"), ".1f"),
            number(row["minutes"], ".2g"),
            number(row.get("passes_a_step"), ",.0f"),
            number(row.get("bytes_an_image"), ",.0f"),
        ]
        said.append("| " + " | ".join(cells) + " |")
    return said


def over(own: dict[int, float], other: dict[int, float]) -> str:
    """The mean difference on the draws that both have, with its interval; nothing for fewer than two."""
    gains = [own[draw] - other[draw] for draw in sorted(set(own) & set(other))]
    return gained(gains) if len(gains) > 1 else ""


def scores_of(draws: dict[int, dict[str, Any]]) -> dict[int, float]:
    return {draw: score(row) for draw, row in draws.items()}


def bank(table: dict[str, dict[int, dict[str, Any]]]) -> list[str]:
    """Rows of one set, over three others on the draws that both have."""
    table = {name: draws for name, draws in table.items() if len(draws) >= DRAWS}
    scores = {name: scores_of(draws) for name, draws in table.items()}
    common = sorted(set.intersection(*map(set, scores.values())))
    ranked = dict(zip(scores, mean_ranks([[s[d] for s in scores.values()] for d in common]), strict=True))
    others = ("probe", "supervised", "fixmatch, aligned")
    said = [
        "| row | mean ± std | " + " | ".join(f"over {name} (95%)" for name in others) + " | mean rank | seconds |",
        "| --- |" + " --- |" * 6,
    ]
    for name in sorted(scores, key=lambda n: ranked[n]):
        own = scores[name]
        cells = [name, f"{mean(own.values()):.1f} ± {stdev(own.values()):.1f}"]
        cells += ["" if name == other else over(own, scores.get(other, {})) for other in others]
        seconds = median(row["seconds"] for row in table[name].values())
        said.append("| " + " | ".join([*cells, f"{ranked[name]:.1f}", f"{seconds:.0f}"]) + " |")
    return said


Blocks = dict[tuple[str, int], dict[str, float]]


def blocks_of(banks: Tables) -> Blocks:
    """By set and draw: the scores of RANKED, where all of them ran."""
    found: Blocks = {}
    for name in SETS:
        table = banks[(name, 2, 4, 4)]
        for draw in set.intersection(*(set(table[row]) for row in RANKED)):
            found[(name, draw)] = {row: score(table[row][draw]) for row in RANKED}
    return found


def best_of(blocks: Blocks) -> list[str]:
    """The BEST of them by mean rank, the best first."""
    ranked = dict(zip(RANKED, mean_ranks([list(block.values()) for block in blocks.values()]), strict=True))
    return sorted(ranked, key=lambda name: ranked[name])[:BEST]


def over_sets(blocks: Blocks) -> list[str]:
    """The best rows against each other: differences are means over the draws of a set, intervals over the sets."""
    names = best_of(blocks)
    ranked = dict(zip(names, mean_ranks([[block[n] for n in names] for block in blocks.values()]), strict=True))
    over = ("probe", names[0])
    said = [
        "| row | mean rank among these | "
        + " | ".join(f"over {name} (95%, over the sets)" for name in over)
        + " | worst set |",
        "| --- |" + " --- |" * (2 + len(over)),
    ]
    for name in sorted(names, key=lambda n: ranked[n]):
        cells = [name, f"{ranked[name]:.1f}"]
        for other in over:
            cells.append("" if name == other else gained(by_set(blocks, name, other)))
        worst = min(by_set(blocks, name, "probe"))
        said.append(f"| {' | '.join([*cells, f'{worst:+.1f}' if name != 'probe' else ''])} |")
    return said


def by_set(blocks: Blocks, name: str, other: str) -> list[float]:
    return [mean(b[name] - b[other] for (of, _), b in blocks.items() if of == one) for one in SETS]


def picture(blocks: Blocks) -> str:
    names = best_of(blocks)
    scores = [[block[name] for name in names] for block in blocks.values()]
    return drawing(names, scores, f"Mean ranks on a bank of views: {len(blocks)} draws of {len(SETS)} sets")


def in_words(blocks: Blocks) -> list[str]:
    """Friedman and Nemenyi, of all rows and of the best."""
    names = best_of(blocks)
    every = sentence(RANKED, [list(block.values()) for block in blocks.values()])
    best = sentence(names, [[block[name] for name in names] for block in blocks.values()])
    return [f"{every}.", "", f"Of the best {BEST}, chosen as the best by these blocks: {best}."]


def sweep(by_labels: dict[int, dict[str, dict[int, dict[str, Any]]]]) -> list[str]:
    """Rows that ran with every number of labels a class; after the comma the gain over the labels alone."""
    names = [n for n in by_labels[SWEEP[0]] if all(len(by_labels[k].get(n, {})) >= DRAWS for k in SWEEP)]
    said = ["| row | " + " | ".join(f"{k} a class" for k in SWEEP) + " |", "| --- |" + " --- |" * len(SWEEP)]
    ran = {name: [scores_of(by_labels[k][name]) for k in SWEEP] for name in names}
    for name in sorted(names, key=lambda n: -mean(mean(own.values()) for own in ran[n])):
        cells = []
        for own, alone in zip(ran[name], ran["probe"], strict=True):
            cell = f"{mean(own.values()):.1f} ± {stdev(own.values()):.1f}"
            cells.append(cell if name == "probe" else f"{cell}, {over(own, alone)}")
        said.append(f"| {name} | {' | '.join(cells)} |")
    return said


Drawn = dict[str, list[dict[str, Any]]]


def from_scratch() -> Drawn:
    """By the names of DRAWN the rows that have run."""
    found = {}
    for name, labels in DRAWN.items():
        file = ROOT / "results" / name.rpartition("-")[0] / "results.json"
        rows = json.loads(file.read_text())["rows"] if file.is_file() else []
        found[name] = [row for row in rows if row["labels"] == labels and row["mean"] is not None]
    return {name: rows for name, rows in found.items() if rows}


def of_method(name: str, scratch: Drawn, banks: Tables) -> list[str]:
    """Its rows of the tables above, for its own page."""
    said = ["| where | labels | draws | accuracy | over supervised (95%) |", "| --- | --- | --- | --- | --- |"]
    for of, rows in scratch.items():
        for row in (row for row in rows if row["method"] == name):
            cells = [of.rpartition("-")[0], row["labels"], len(row["accuracies"])]
            cells += [f"{100 * row['mean']:.2f}{std_of(row)}", gain(row["difference"])]
            said.append(f"| {' | '.join(map(str, cells))} |")
    for on, views in BANK.items():
        table = banks[(on, *views, 4)]
        for title in (name, f"{name}, net mlp", f"{name}, aligned", f"{name}, aligned to estimate"):
            own = table.get(title, {})
            if len(own) >= DRAWS:
                values = scores_of(own)
                where = f"{on}, frozen features{title.removeprefix(name)}"
                cells = [
                    where,
                    "4 a class",
                    str(len(own)),
                    f"{mean(values.values()):.1f} ± {stdev(values.values()):.1f}",
                ]
                said.append(f"| {' | '.join([*cells, over(values, scores_of(table['supervised']))])} |")
    return said


def regions() -> dict[str, list[str]]:
    """By name what stands between its marks; nothing for what has not run."""
    found = {name: drawn(rows) for name, rows in from_scratch().items()}
    found["below-supervised"] = below_supervised.table(read(below_supervised.RESULTS))
    found["crossed-sevens"] = crossed_sevens.table(read(crossed_sevens.RESULTS))
    found["below-on-bank"] = below_on_bank.table(read(below_on_bank.RESULTS))
    banks = kept()
    for name, views in BANK.items():
        found[name] = bank(banks[(name, *views, 4)])
    by_labels = {k: banks.get(("cifar10-10k", 2, 4, k), {}) for k in SWEEP}
    if all(by_labels.values()):
        found["sweep"] = sweep(by_labels)
    blocks = blocks_of(banks)
    return {**found, "over-sets": over_sets(blocks), "ranks-over-sets": in_words(blocks)}


def page() -> str:
    """What docs/all-methods.md should hold."""
    return filled(PAGE.read_text(), {start("all_methods.py", name): lines for name, lines in regions().items()})


def pages_of_methods() -> dict[Path, str]:
    """What the pages of methods should hold that have a mark for it."""
    mark = start("all_methods.py", "measured")
    scratch, banks = from_scratch(), kept()
    pages = {file: file.read_text() for file in sorted((ROOT / "docs" / "methods").glob("*.md"))}
    return {
        file: filled(text, {mark: of_method(file.stem, scratch, banks)}) for file, text in pages.items() if mark in text
    }


if __name__ == "__main__":
    PAGE.write_text(page())
    for file, text in pages_of_methods().items():
        file.write_text(text)
    PICTURE.write_text(picture(blocks_of(kept())))
