"""How pictures are looked at before any run; imports nothing, so that help comes at once."""

from dataclasses import dataclass
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Look:
    """How a folder is looked at before any run."""

    backbone: str = "auto"
    """lite0, FILE.py:factory; auto: the best that is installed (a run has its own)."""
    size: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Side that images are resized to (default: the backbone's; 96 for pictures of up to 40 pixels)."""
    albums: bool = False
    """Subfolders are albums, not classes: nothing is labelled yet."""
