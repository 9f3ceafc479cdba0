"""Which rows should the weak views be normalised with? Every mode at equal steps and at equal passes, on tuning draws.

python scripts/weak_pass.py --root data    # results/weak-pass.jsonl; a run that is in it is not made again

FixMatch and DNLL, MNIST with 20 labels and CIFAR-10 with 1,000, label draws 100 to 102, which no table uses. Scored on
1,000 hidden labels of training images; test images are not looked at. A step
of `eval` costs what one of `separate` costs: each is one run for both lengths.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from trials import keep, read

import halfseen

RESULTS = Path("results/weak-pass.jsonl")
MODES = ("separate", "joint", "with_labelled", "eval")
DRAWS = (100, 101, 102)
SGD = ("method.optim.lr=0.1", "method.optim.weight_decay=5e-4", "net.width=16")
METHODS: dict[str, tuple[str, ...]] = {"fixmatch": SGD, "dnll": (*SGD, "method.lambda_u=2")}
SETS: dict[str, dict[str, Any]] = {
    "mnist": {"num_labels": 20, "weak": "affine", "strong": "affine+affine+noise", "passes": 4e5, "batch": 16},
    "cifar10": {"num_labels": 1000, "weak": "fm", "strong": "fm+ra", "passes": 4e5, "batch": 32},
}
COMMON: dict[str, Any] = {
    "net": "small",
    "unlabelled_batch": 64,
    "extra_val_per_class": 100,
    "val": "none",
    "threads": 1,
    "report": False,
    "quiet": True,
}


def run(data: Any, draw: int, **settings: Any) -> dict[str, Any]:
    """What one run came to: its last weights and averages, and how right the weak views' predictions were on the way."""
    settings = {**COMMON, "seed": draw, "split_seed": draw, **settings}
    folder = Path(tempfile.mkdtemp()) / "run"
    try:
        metrics = halfseen.train(data, out=folder, **settings).metrics
        log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    finally:
        shutil.rmtree(folder.parent)
    taught = [row for row in log if "pseudo_accuracy" in row][-10:]

    def mean(name: str) -> float | None:
        known = [row[name] for row in taught if name in row]
        return round(sum(known) / len(known), 4) if known else None

    return {
        "steps": metrics["steps"],
        "passes": metrics["passes"],
        "seconds": metrics["seconds"],
        "val": {name: round(scores["val"]["accuracy"], 4) for name, scores in metrics["last"].items()},
        "pseudo_accuracy": mean("pseudo_accuracy"),
        "labelled_pseudo_accuracy": mean("labelled_pseudo_accuracy"),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--root", type=Path, default=Path("data"))
    root = options.parse_args().root
    done = read(RESULTS)
    for draw in DRAWS:
        for data in SETS:
            for method in METHODS:
                steps = 0
                for mode in MODES:
                    for equal in ("passes", "steps"):
                        if mode in ("separate", "eval") and equal == "steps":
                            continue  # the same run
                        about = {"data": data, "method": method, "weak_pass": mode, "draw": draw, "equal": equal}
                        found = next((row for row in done if about.items() <= row.items()), None)
                        if found is None:
                            length = {"passes": None, "steps": steps} if equal == "steps" else {}
                            keys = (*METHODS[method], f"method.weak_pass={mode}")
                            given = {**SETS[data], **length, "root": root, "method": method, "overrides": keys}
                            found = {**about, **run(data, draw, **given)}
                            keep(RESULTS, done, found)
                        else:
                            print(json.dumps(found), flush=True)
                        steps = steps or found["steps"]


if __name__ == "__main__":
    main()
