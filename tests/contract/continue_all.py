"""A new process that goes on with every method's checkpoint to the end, and saves again."""

import sys
from pathlib import Path

from halfseen.training import checkpoint
from tests.contract.cases import case, slug, source
from tests.toy import make_trainer


def main() -> None:
    folder = Path(sys.argv[1])
    for name in sys.argv[2:]:
        trainer = make_trainer(source(name), **case(name), folder=folder / slug(name))
        trainer.load(checkpoint.load(folder / slug(name) / "checkpoints" / "last.pt"))
        assert 0 < trainer.total < trainer.total_steps, "nothing is left to continue"
        trainer.run()
        trainer.save("last", 0.0)
