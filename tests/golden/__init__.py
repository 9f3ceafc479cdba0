"""Golden traces: the losses of every method's first 20 steps on two toy problems, one JSON file a method.

`python -m tests.golden` makes them again; CONTRIBUTING says when that is allowed.
"""

import json
from pathlib import Path
from typing import Any

from halfseen import methods
from halfseen.training.trainer import Pace
from tests.contract.cases import PICTURES, SPECIAL, case
from tests.toy import make_trainer

HERE = Path(__file__).parent
STEPS = 20


def problems(name: str) -> dict[str, dict[str, Any]]:
    """Vectors through an mlp, and pictures through convolutions, batch norm and random views."""
    special = SPECIAL.get(name, {})
    pictures = {
        **PICTURES,
        "net_options": {**PICTURES["net_options"], **special.get("net_options", {})},
        "settings": special.get("settings", {}),
    }
    return {"blobs": case(name), "digits": pictures}


def trace(name: str) -> dict[str, list[dict[str, float]]]:
    """The logged numbers of each step; a name that a step does not have is missing there."""
    found = {}
    for problem, given in problems(name).items():
        trainer = make_trainer(name, **{**given, "steps": STEPS, "pace": Pace(1, 10**9, 1e9)})
        trainer.run()
        rows = trainer.watcher.log
        found[problem] = [{k: v for k, v in row.items() if isinstance(v, float)} for row in rows]
    return found


def main() -> None:
    for name in methods.names():
        (HERE / f"{name}.json").write_text(json.dumps(trace(name), indent=0) + "\n")
        print(name)
