"""THE CONTRACT between a method (one file, one paper) and the loop that trains it.

A method owns its networks and its state, turns a Batch into named Losses, and says what is evaluated. It knows nothing
of optimisers' steps, devices, precision, processes, files or logging: `training/trainer.py` does, for every
method alike.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from torch import Tensor, nn

from halfseen.draws import Draws
from halfseen.nets.net import Net
from halfseen.optim import Optim
from halfseen.parts.norms import NormRows
from halfseen.parts.rounds import lengths

View = Callable[[Tensor], Tensor]  # raw images of a batch -> what a network sees


@dataclass(frozen=True)
class Batch:
    """Raw images (or feature vectors) on the device; a method makes its own views of them."""

    x: Tensor  # [B, c, h, w] uint8, labelled
    y: Tensor  # [B]
    u: Tensor  # [U, c, h, w] uint8, unlabelled; their labels are not here, so no method can peek
    x_ids: Tensor  # [B] position of each image in the training set: the index of all per-sample state
    u_ids: Tensor  # [U]


@dataclass(frozen=True)
class Clock:
    """Where training stands, counted within the stage."""

    step: int
    steps: int
    epoch_steps: int  # steps in an epoch

    @property
    def epoch(self) -> int:
        return self.step // self.epoch_steps

    @property
    def epochs(self) -> int:
        return max(1, -(-self.steps // self.epoch_steps))

    @property
    def progress(self) -> float:
        return self.step / max(1, self.steps)

    @property
    def time(self) -> float:
        """Epochs gone, with the fraction."""
        return self.step / self.epoch_steps


@dataclass(frozen=True)
class Unlabelled:
    """What a method did with each unlabelled image of the batch: where methods compose, and what gets scored."""

    logits: Tensor  # [U, K] the trained prediction, with gradient
    target: Tensor  # [U, K] what it was taught, without
    kept: Tensor  # [U] bool; False: the method discards the image
    negatives: Tensor | None = None  # [U, K] bool; classes that it was taught not to be
    view: Tensor | None = None  # [U, ...] what the target was predicted on: who wants another opinion can look too


@dataclass(frozen=True)
class Losses:
    """Named terms, already weighted: their sum is minimised, and every name is logged."""

    terms: dict[str, Tensor]
    stats: dict[str, Tensor] = field(default_factory=dict)
    unlabelled: Unlabelled | None = None
    trains: tuple[str, ...] = ()  # the optimisers that step; empty: all of the stage

    @property
    def total(self) -> Tensor:
        return sum(self.terms.values(), start=next(iter(self.terms.values())).new_zeros(()))


LossFn = Callable[[Batch, Clock], "Losses | Iterator[Losses]"]

# What an epoch is. A number n: n optimiser steps. A batch of a selected_pass holds labelled and selected images
# shuffled together, all as `u` (whoever selects images knows their labels by id), so that processes share them evenly.
Epoch = Literal["unlabeled_pass", "labeled_pass", "mixed_pass", "selected_pass"] | int


class Data(Protocol):
    """The training set as `enter`, `end_epoch` and moments see it; there are no hidden labels in it."""

    labelled: Tensor  # ids
    unlabelled: Tensor  # ids
    y: Tensor  # [N] the labels that may be known, -1 elsewhere

    def sweep(self, ids: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """(ids, raw images) of the whole training set (or of `ids`) once, in order, in batches on the device."""
        ...


@dataclass(frozen=True)
class Moment:
    """What a method does between two steps that are no end of an epoch, with the data at hand and without gradient."""

    due: Callable[[int], bool]  # of the number of steps of the stage that are done
    do: Callable[[Clock, Data], None]


@dataclass(frozen=True)
class Stage:
    """A phase of training, as data."""

    name: str
    loss: LossFn
    steps: int
    optim: Mapping[
        str, Optim
    ]  # attribute of the method ("net", "nets.0") -> its optimiser; what is not named is frozen
    epoch: Epoch = 1024
    enter: Callable[[Data], None] | None = None
    end_epoch: Callable[[Clock, Data], None] | None = None
    moments: tuple[Moment, ...] = ()
    selected: Callable[[], Tensor] | None = None  # ids of the unlabelled images that take part, asked after `enter`
    batch: tuple[int, int] | None = None  # rows of its batches, labelled and unlabelled; none: the run's


@dataclass(frozen=True)
class Plan:
    """How long a run is and how large its sets and batches are: what `stages` divides among a method's phases."""

    steps: int
    labelled: int  # images
    unlabelled: int
    batch: tuple[int, int]  # labelled and unlabelled rows of the whole batch

    def epoch_steps(self, epoch: Epoch, selected: int | None = None) -> int:
        """Optimiser steps in one epoch of the given meaning."""
        if isinstance(epoch, int):
            return max(1, epoch)
        rows_l, rows_u = self.batch
        if epoch == "labeled_pass":
            return max(1, self.labelled // max(1, rows_l))
        if epoch == "unlabeled_pass":
            return max(1, (self.unlabelled if selected is None else selected) // max(1, rows_u))
        rest = self.unlabelled if selected is None or epoch == "mixed_pass" else selected
        return max(1, (self.labelled + rest) // (rows_l + rows_u))


def in_rounds(
    steps: int,
    rounds: int,
    first: LossFn,
    rest: LossFn,
    begin: Callable[[Data, int], None],
    selected: Callable[[], Tensor],
    optim: Mapping[str, Optim],
    epoch: Epoch,
) -> list[Stage]:
    """A supervised stage, then `rounds` equally long ones that `begin(data, r)` enters, on the images that it selected."""
    parts = lengths(steps, rounds + 1)
    found = [Stage("round 0", first, parts[0], optim, "labeled_pass")]
    for r, part in enumerate(parts[1:], 1):
        found.append(Stage(f"round {r}", rest, part, optim, epoch, partial(_begin, begin, r), selected=selected))
    return [stage for stage in found if stage.steps > 0]


def _begin(begin: Callable[[Data, int], None], r: int, data: Data) -> None:
    begin(data, r)


@dataclass(frozen=True)
class Task:
    """What a method is built for: the classes, the size of the data, fresh networks, and views of images."""

    classes: int
    shape: tuple[int, ...]  # of one image [c, h, w], or (d,) for feature vectors
    samples: int  # rows of the training set: the length of per-sample state
    labelled: int
    unlabelled: int
    # A freshly initialised network with features(), head, num_features. make_net(heads=2) asks for an option, and it is an
    # error if the network has none; make_net(prefer={"dropout": 0.3}) drops what it does not have; the user's win.
    make_net: Callable[..., Net]
    view: Callable[[str], View]  # a view by the name of its policy: "fm", "ds+noise", "none"
    draws: Draws  # random numbers for the rows of a batch
    weak: View
    strong: View
    labelled_view: View | None = None  # of labelled images; none: the weak one


C = TypeVar("C")


class Method(nn.Module, ABC, Generic[C]):
    """Final: to extend a method, wrap it. All its state is registered, so state_dict() is the whole checkpoint."""

    epoch: ClassVar[Epoch] = 1024  # what one epoch is
    batch: ClassVar[tuple[int, int]] = (64, 448)  # default rows, labelled and unlabelled
    views: ClassVar[tuple[str, str]] = ("fm", "fm+ra")  # default policies of the weak and the strong view
    labelled_in_unlabelled: ClassVar[bool] = False  # are the labelled images also among the unlabelled ones?
    needs_unlabelled: ClassVar[bool] = True  # False: it also trains where every image is labelled
    norm_rows: ClassVar[NormRows] = "all"  # labelled: it never sees the unlabelled images

    def __init__(self, cfg: C, task: Task) -> None:
        super().__init__()
        self.cfg, self.task = cfg, task
        self.weak, self.strong = task.weak, task.strong
        self.labelled_view = task.labelled_view or task.weak

    @abstractmethod
    def loss(self, batch: Batch, clock: Clock) -> Losses | Iterator[Losses]:
        """One step: its losses; several yields are several updates."""

    @abstractmethod
    def predictors(self) -> dict[str, nn.Module]:
        """What is evaluated; the first is the headline."""

    @property
    def norm(self) -> str:
        """Batch-norm statistics of what is scored and saved: the key `norm` of a method that has one, else measured."""
        return str(getattr(self.cfg, "norm", "measured"))

    def after_step(self, clock: Clock) -> None:
        """After the optimisers' step, without gradient: averages, thresholds."""

    def stages(self, plan: Plan) -> list[Stage]:
        """The phases of a run; one, with one optimiser over `self.net`, unless a method says otherwise."""
        optim: Any = getattr(self.cfg, "optim", None)
        return [Stage("train", self.loss, plan.steps, {"net": optim or Optim()}, self.epoch)]
