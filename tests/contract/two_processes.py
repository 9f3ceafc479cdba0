"""One of two gloo processes under torchrun: every method on its share of the batch, and what it became."""

import sys
from pathlib import Path
from typing import Any

import torch

from halfseen.machine import distributed
from tests.contract.cases import PICTURES, slug
from tests.contract.drift import drifted
from tests.contract.first_steps import DTYPES, first_steps, problems
from tests.toy import make_trainer


def score_of(scores: dict[str, Any]) -> torch.Tensor:
    return torch.tensor([part["test"]["nll"] for part in scores["predictors"].values()])


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    distributed.start(torch.device("cpu"))
    rank, world = distributed.rank(), distributed.world()
    assert world == 2
    for name in sys.argv[2:]:
        for problem, given in problems(name).items():
            for dtype in DTYPES:
                found = first_steps(name, given, dtype, rank, world)
                torch.save(found, folder / f"{slug(name)}-{problem}-{dtype}-{rank}.pt")
        torch.save(drifted(name, rank=rank, world=world), folder / f"{slug(name)}-drift-{rank}.pt")
    if "fixmatch" in sys.argv[2:]:
        trainer = make_trainer("fixmatch", **PICTURES, rank=rank, world=world)
        trainer.run()
        trainer.judge.watches = ["test"]
        scores = trainer.judge.during(trainer.method)  # statistics measured by both at once
        torch.save({**trainer.method.state_dict(), "scored": score_of(scores)}, folder / f"pictures-{rank}.pt")
    distributed.wait()  # who leaves first would take the other's connection with it
    distributed.leave()


if __name__ == "__main__":
    main()
