"""A finished run as its page needs it: what the run folder says, and the predictions beside the images they are about."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halfseen.data import ImageSet, Split
from halfseen.run.folder import Folder

Array = NDArray[Any]


@dataclass(frozen=True)
class Predictions:
    """What the headline network says of some images."""

    p: Array  # [n, K] float32
    y: Array  # [n] int64; -1 = nobody knows
    ids: Array  # [n] places in the tensor that holds the images

    @property
    def label(self) -> Array:
        return np.asarray(self.p.argmax(1))

    @property
    def confidence(self) -> Array:
        return np.asarray(self.p.max(1))

    @property
    def known(self) -> Array:
        return np.greater_equal(self.y, 0)

    @property
    def right(self) -> Array:
        """[n] bool; False where nobody knows."""
        found: Array = self.known & (self.label == self.y)
        return found

    def rows(self, keep: Array) -> "Predictions":
        return Predictions(self.p[keep], self.y[keep], self.ids[keep])

    def unsure(self, n: int) -> Array:
        """Rows of the n least confident predictions, the least confident first."""
        return np.argsort(self.confidence, kind="stable")[:n]

    def confident_mistakes(self, n: int) -> Array:
        """Rows of the n most confident predictions that are wrong, the most confident first."""
        wrong = np.flatnonzero(self.known & ~self.right)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")[:n]]


@dataclass(frozen=True)
class Strangeness:
    """How little images without a label are like those that have one."""

    ids: Array  # [n]
    scores: Array  # [n]

    def most(self, n: int) -> Array:
        """Rows of the n strangest, the strangest first."""
        return np.argsort(-self.scores, kind="stable")[:n]


@dataclass(frozen=True)
class Record:
    folder: Folder
    images: ImageSet
    config: dict[str, Any]
    environment: dict[str, Any]
    metrics: dict[str, Any]
    log: list[dict[str, Any]]  # the lines of training steps
    evaluations: list[dict[str, Any]]
    split: Split
    test: Predictions | None
    unlabelled: Predictions | None
    strange: Strangeness | None

    @property
    def classes(self) -> tuple[str, ...]:
        return self.images.classes

    @property
    def headline(self) -> dict[str, Any]:
        found: dict[str, Any] = self.metrics["headline"]
        return found

    @property
    def part(self) -> str | None:
        """The images that the page's scores are about: test if there are any, else validation, else none."""
        return next((p for p in ("test", "val") if p in self.headline), None)

    @property
    def scores(self) -> dict[str, Any] | None:
        """The headline network's scores on those images."""
        return self.headline[self.part] if self.part else None


def read_record(folder: Folder, images: ImageSet) -> Record:
    rows = folder.rows()
    split = Split.from_json(folder.read("split.json"))
    outputs = folder.read_arrays(
        "outputs.npz", f"remove {folder.path / 'metrics.json'} and add --resume to have it made again"
    )
    test: Predictions | None = None
    unlabelled: Predictions | None = None
    if "test" in outputs:
        test = Predictions(outputs["test"], outputs["test_y"], np.arange(len(outputs["test"])))
    if "unlabelled" in outputs:
        ids = outputs["unlabelled_ids"]
        unlabelled = Predictions(outputs["unlabelled"].astype(np.float32), images.y.numpy()[ids], ids)
    return Record(
        folder=folder,
        images=images,
        config=folder.read("config.json"),
        environment=folder.read("environment.json"),
        metrics=folder.read("metrics.json"),
        log=[r for r in rows if r.get("event") != "evaluation"],
        evaluations=[r for r in rows if r.get("event") == "evaluation"],
        split=split,
        test=test,
        unlabelled=unlabelled,
        strange=Strangeness(outputs["strange_ids"], outputs["strange"]) if "strange" in outputs else None,
    )
