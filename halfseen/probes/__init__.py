"""What needs no training loop: a classifier from frozen features, fitted in seconds. `PROBES` holds them by name.

    fit(labelled [L, d] or [L, V, d], y [L], pool [N, d]) -> predict_proba(features [n, d]) [n, K]

Numpy arrays; of the views of a labelled image the first is the clean one. y is 0..K-1; `classes` says K where a class may
have no label. The pool is every image, with the labelled ones or without.
"""

from collections.abc import Callable
from typing import Protocol

from halfseen.probes import graph, probe, prototype
from halfseen.probes.rows import Array


class Fitted(Protocol):
    def predict_proba(self, features: Array) -> Array: ...


PROBES: dict[str, Callable[..., Fitted]] = {"probe": probe.fit, "graph": graph.fit, "prototype": prototype.fit}
