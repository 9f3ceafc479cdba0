"""Nearest centroid by cosine on centred unit features.

    c_k = the mean of x_iv over the labelled images i of class k and their views v, as a unit vector
    p(k | x) proportional to exp(cos(x, c_k) / t)

t is the one under which the labels are likeliest when each image is left out of its own centroid; without two images in
any class 0.1.
"""

from dataclasses import dataclass

import numpy as np

from halfseen.probes.probe import softmax
from halfseen.probes.rows import Array, Scale, rows_of

TEMPERATURES = np.geomspace(0.01, 1, 21)
DEFAULT = 0.1


@dataclass(frozen=True)
class Prototype:
    scale: Scale
    centroids: Array  # [k, d] unit vectors of the classes with labels
    known: Array  # [k] their numbers
    classes: int
    temperature: float

    def predict_proba(self, features: Array) -> Array:
        """[n, K] float32"""
        p = np.zeros((len(features), self.classes), np.float32)
        p[:, self.known] = softmax(self.scale(features) @ self.centroids.T / self.temperature)
        return p


def fit(
    labelled: Array, y: Array, pool: Array, *, classes: int | None = None, temperature: float | None = None
) -> Prototype:
    rows = rows_of(labelled, y, pool, classes, "unit")
    known, place, count = np.unique(rows.y, return_inverse=True, return_counts=True)
    x = rows.labelled.mean(1)
    sums = np.zeros((len(known), x.shape[1]), np.float32)
    np.add.at(sums, place, x)
    if temperature is None:
        temperature = likeliest(rows.clean, x, place, sums, count)
    return Prototype(rows.scale, unit(sums), known, rows.classes, float(temperature))


def likeliest(clean: Array, x: Array, place: Array, sums: Array, count: Array) -> float:
    """The temperature under which images that are left out of their centroid have the likeliest labels."""
    some = np.flatnonzero(count[place] > 1)
    if not len(some):
        return DEFAULT
    cosines = clean[some] @ unit(sums).T
    without = unit(sums[place[some]] - x[some])
    n = np.arange(len(some))
    cosines[n, place[some]] = (clean[some] * without).sum(1)
    found = [np.log(np.maximum(softmax(cosines / t)[n, place[some]], 1e-30)).mean() for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmax(found))])


def unit(x: Array) -> Array:
    out: Array = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return out
