"""Where the runs of a table run: what the command line says of it, and the executor that it means."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfseen.errors import UserError

if TYPE_CHECKING:
    from halfseen.grid.loop import Executor


@dataclass(frozen=True)
class Where:
    parallel: int = 1
    """Runs at a time on this machine; each gets its share of the cores."""
    retries: int = 2
    """Times that a failed run is tried again; it goes on from its last checkpoint."""

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise UserError(f"--retries {self.retries} cannot be; 0 is the least: a failed run is not tried again")

    @property
    def cores(self) -> int:
        """CPU threads of a run that does not say how many it wants."""
        return max(1, (os.cpu_count() or 1) // self.parallel)

    def executor(self) -> "Executor":
        """Each engine is imported where it is asked for."""
        from halfseen.grid.local import Local

        return Local(self.parallel)
