"""Copy what a comparison found into results/: its table, and the metrics of each of its runs.

    python scripts/keep_results.py runs/mnist-small results/mnist-small

A run's other files (weights, log, probabilities) stay where they are. With --curves the test accuracy at every
evaluation is kept too, as CURVES.json and a picture, CURVES.svg, where the runs had --test-curve.
"""

import argparse
import html
import json
import shutil
from pathlib import Path

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56606a", "#b8860b")  # told apart by the colour-blind too


def keep(runs: Path, place: Path, curves: bool) -> None:
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(runs / "results.json", place / "results.json")
    found = {}
    for metrics in sorted(runs.glob("*/metrics.json")):
        run = metrics.parent
        shutil.copy(metrics, place / f"{run.name}.json")
        rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        found[run.name] = [
            {"step": row["step"]} | {name: parts["test"]["accuracy"] for name, parts in row["predictors"].items()}
            for row in rows
            if any("test" in parts for parts in row.get("predictors", {}).values())
        ]
    if curves:
        (place / "CURVES.json").write_text(json.dumps(found, indent=1) + "\n")
        (place / "CURVES.svg").write_text(picture({name: rows for name, rows in found.items() if rows}))
    print(f"{len(found)} runs kept in {place}")


def picture(found: dict[str, list[dict[str, float]]]) -> str:
    """Test accuracy (of the first predictor) over the steps: a line for each run."""
    last = max(row["step"] for rows in found.values() for row in rows)
    drawn = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 360" font-family="sans-serif" font-size="12">']
    drawn.append('<rect width="640" height="360" fill="white"/>')
    for tenth in range(0, 11, 2):
        y = 320 - 30 * tenth
        drawn.append(
            f'<path d="M50 {y}H450" stroke="#ddd"/><text x="44" y="{y + 4}" text-anchor="end">{10 * tenth}%</text>'
        )
    drawn.append(f'<text x="50" y="340">step 0</text><text x="450" y="340" text-anchor="end">{last:g}</text>')
    for i, (name, rows) in enumerate(found.items()):
        places = [(50 + 400 * row["step"] / last, 320 - 300 * list(row.values())[1]) for row in rows]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        colour = COLOURS[i % len(COLOURS)]
        label = html.escape(name.removesuffix("-all-0").replace("_", " "))
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn.append(f'<text x="460" y="{40 + 20 * i}" fill="{colour}">{label}</text>')
    return "\n".join([*drawn, "</svg>"]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("place", type=Path)
    parser.add_argument("--curves", action="store_true")
    told = parser.parse_args()
    keep(told.runs, told.place, told.curves)
