"""Ranks of methods over several tables, with Nemenyi's critical difference: `python scripts/critical_difference.py FILES`.

FILES are results.json of `halfseen compare` or `reproduce`. A block is one draw of the labels of one table (--by draw), or
a table with its mean over the draws (--by table): draws of one set are no independent sets, so the first speaks of these
sets alone. Only methods that every table has are ranked; --best K keeps the K best of them.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from halfseen.errors import UserError
from halfseen.report.ranks import drawing, mean_ranks, sentence


def blocks_of(tables: Sequence[dict[str, Any]], by: str) -> dict[str, list[float]]:
    """By method its score in every block that all of these methods have."""
    scores: dict[tuple[int, int | None, int], dict[str, float]] = {}
    for t, table in enumerate(tables):
        for row in table["rows"]:
            if by == "table" and row["mean"] is not None:
                scores.setdefault((t, row["labels"], 0), {})[row["method"]] = row["mean"]
            draws = row.get("draws", range(len(row["accuracies"])))  # tables of earlier versions do not say
            for draw, accuracy in zip(draws, row["accuracies"], strict=True):
                if by == "draw":
                    scores.setdefault((t, row["labels"], draw), {})[row["method"]] = accuracy
    everywhere = [
        {row["method"] for row in table["rows"] if row["labels"] == labels and row["accuracies"]}
        for table in tables
        for labels in {row["labels"] for row in table["rows"]}
    ]
    names = [row["method"] for row in tables[0]["rows"]]
    common = [name for name in dict.fromkeys(names) if all(name in of for of in everywhere)]
    whole = [block for block in scores.values() if all(name in block for name in common)]
    if len(common) < 2 or len(whole) < 2:
        raise UserError(
            f"{len(common)} methods in {len(whole)} blocks are nothing to rank: give tables that share two methods and have "
            "two draws at least"
        )
    return {name: [block[name] for block in whole] for name in common}


def best_of(scores: dict[str, list[float]], count: int) -> dict[str, list[float]]:
    R = mean_ranks(list(zip(*scores.values(), strict=True)))
    order = sorted(range(len(R)), key=lambda j: R[j])[:count]
    return {name: values for j, (name, values) in enumerate(scores.items()) if j in order}


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("files", nargs="+", type=Path)
    options.add_argument("--by", choices=("draw", "table"), default="draw")
    options.add_argument("--best", type=int, default=None, metavar="K")
    options.add_argument("--out", type=Path, default=Path("critical-difference.svg"))
    told = options.parse_args()
    tables = [json.loads(file.read_text()) for file in told.files]
    scores = blocks_of(tables, told.by)
    every, blocks = list(scores), list(zip(*scores.values(), strict=True))
    print(sentence(every, blocks))
    if told.best is not None:
        scores = best_of(scores, told.best)
        blocks = list(zip(*scores.values(), strict=True))
        print(sentence(list(scores), blocks) + f", chosen as the best of {len(every)} by these blocks themselves")
    about = f"Mean ranks on {', '.join(dict.fromkeys(t['data'] for t in tables))}, {len(blocks)} {told.by}s"
    told.out.write_text(drawing(list(scores), blocks, about))
    print(told.out)


if __name__ == "__main__":
    from halfseen.errors import guarded

    guarded(main)
