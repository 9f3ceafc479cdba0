"""What needs no training loop: a classifier from frozen features, fitted in seconds. `PROBES` holds them by name.

    fit(labelled [L, d] or [L, V, d], y [L], pool [N, d], cfg, classes) -> predict_proba(features [n, d]) [n, K]
    head(cfg, fitted.tensors())                                         -> the same as a network on features

Numpy arrays; of the views of a labelled image the first is the clean one. y is 0..K-1; `classes` says K where a class may
have no label. The pool is every image, with the labelled ones or without. Each file has a Config, as a method has.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from halfseen.probes import graph, probe, prototype
from halfseen.probes.rows import Array


class Fitted(Protocol):
    def predict_proba(self, features: Array) -> Array: ...
    def tensors(self) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Kind:
    """A probe's file."""

    fit: Callable[..., Fitted]
    config: type[Any]
    head: Callable[[Any, Mapping[str, Tensor]], nn.Module]
    source: Path
    doc: str

    @property
    def summary(self) -> str:
        return self.doc.partition("\n")[0]


PROBES: dict[str, Kind] = {
    file.__name__.rpartition(".")[2]: Kind(
        file.fit, file.Config, file.head, Path(str(file.__file__)), str(file.__doc__)
    )
    for file in (probe, graph, prototype)
}
