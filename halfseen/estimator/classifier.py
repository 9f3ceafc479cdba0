"""The scikit-learn front door: `SemiSupervisedClassifier().fit(X, y).predict(X)`, with -1 in y for unlabelled rows."""

import numbers
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halfseen.errors import UserError

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, validate_data
except ImportError as error:
    raise UserError(
        "SemiSupervisedClassifier needs scikit-learn 1.6 or newer: run pip install 'scikit-learn>=1.6'"
    ) from error

from halfseen.data.arrays import from_arrays, pixels
from halfseen.errors import NotFiniteError, Stopped
from halfseen.estimator.in_memory import as_it_was, train
from halfseen.estimator.read import PixelRange, as_images, classes_of, read_labels
from halfseen.settings import Settings

DEFAULT_STEPS = 1000
WHOLE = ("steps", "batch", "unlabelled_batch", "threads")  # parameters that count something
NUMBERS = (*WHOLE, "epochs", "minutes")
TEXTS = ("method", "backbone", "weak", "strong", "device")


class InputError(UserError, ValueError):
    """A UserError that scikit-learn's tools also know as the ValueError that they expect."""


class SemiSupervisedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no annotations
    """A network trained on the labelled and the unlabelled rows of X together.

    X: vectors [n, d], or images [n, h, w] or [n, h, w, c] with c 1, 3 or 4. y: a class for each row, whole numbers or
    names; -1, None, "" and NaN are unlabelled. Where every row is labelled, it is plain supervised training; a method that
    needs unlabelled rows then takes the labelled ones, without their labels.

    Parameters

    method: a name of `halfseen list`, or FILE.py with a Config and a Method.
    net: a name of `halfseen list`, FILE.py:factory, or a factory called with classes= and shape=; auto: mlp for vectors,
        small for images to 40 pixels, resnet18 above.
    backbone: a pretrained network that images start from: lite0, a folder or hub name of transformers, FILE.onnx,
        FILE.py:factory (none: from scratch). The method, or a probe (probe, graph, prototype), learns from its features.
        Images keep their size up to the backbone's own; those of up to 40 pixels are enlarged to 96.
    tune: head, last or all: what of the backbone is trained on pixels after its head was (last and all take patience).
    memory: folder in which a backbone's features are kept from one fit to the next, as cross-validation wants them
        (None: they are gone after the fit).
    steps, epochs, minutes: length of training, one of them (none: 1,000 steps, 1,500 on a backbone). An epoch is the
        method's own. With minutes, the speed of the machine decides how many steps they are, so only steps and epochs
        give the same result again.
    batch, unlabelled_batch: rows in a step (None: the method's).
    weak, strong: policies of the two views (auto: the method's; `vector` for vectors), as --weak and --strong.
    flip: may an image be mirrored? (None: only colour ones)
    method_options, net_options: settings by name, {"tau": 0.9, "optim.lr": 0.01} and {"width": 64}; as --set method.tau=0.9.
    val: labelled rows held out to choose the best network of the run: auto (a fifth, if every class has 10), none, a share
        such as 0.2, or a number per class.
    image_shape: (h, w) or (h, w, c): the rows of X are flattened images.
    pixel_range: the numbers that are black and white in images. None: 0 and 255 for uint8, 0 and 1 for booleans and for
        floats that all lie there, else the least and the largest number of the training images (0..16 in load_digits).
    device: cpu, cuda, cuda:1; auto: a GPU if there is one. threads: CPU threads (None: as torch is set).
    out: a new folder for the run's log, report, checkpoints and model (None: nothing is written anywhere).
    verbose: show progress on stderr.
    random_state: None, an int or a RandomState. The same one gives the same classifier, on one machine's CPU.

    Attributes after fit

    classes_: the classes, sorted, as y names them. n_iter_: optimiser steps. image_shape_: of one image as X has them, None
    for vectors. n_features_in_: numbers in a row of X: features of a vector, values of an image. feature_names_in_: names
    of the columns, where X was a data frame. best_validation_score_: accuracy on the held-out rows, None where there were
    none.
    """

    image_shape_: tuple[int, ...] | None
    _range: PixelRange | None

    def __init__(
        self,
        method: str = "fixmatch",
        net: Any = "auto",
        *,
        backbone: str = "none",
        tune: str = "head",
        memory: str | Path | None = None,
        steps: int | None = None,
        epochs: float | None = None,
        minutes: float | None = None,
        batch: int | None = None,
        unlabelled_batch: int | None = None,
        weak: str = "auto",
        strong: str = "auto",
        flip: bool | None = None,
        method_options: Mapping[str, Any] | None = None,
        net_options: Mapping[str, Any] | None = None,
        val: str | float | None = "auto",
        image_shape: tuple[int, ...] | None = None,
        pixel_range: tuple[float, float] | None = None,
        device: str = "auto",
        threads: int | None = None,
        out: str | Path | None = None,
        verbose: bool = False,
        random_state: Any = None,
    ) -> None:
        self.method = method
        self.net = net
        self.backbone = backbone
        self.tune = tune
        self.memory = memory
        self.steps = steps
        self.epochs = epochs
        self.minutes = minutes
        self.batch = batch
        self.unlabelled_batch = unlabelled_batch
        self.weak = weak
        self.strong = strong
        self.flip = flip
        self.method_options = method_options
        self.net_options = net_options
        self.val = val
        self.image_shape = image_shape
        self.pixel_range = pixel_range
        self.device = device
        self.threads = threads
        self.out = out
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "SemiSupervisedClassifier":
        """Train on all rows of X and on the labels that y has."""
        with said_to_sklearn():
            if y is None:
                raise UserError(
                    "SemiSupervisedClassifier requires y to be passed, but the target y is None: give a label for each row, "
                    "-1 where it is unknown"
                )
            X = self._checked(X, fitting=True)
            labelled, labels = read_labels(y)
            check_consistent_length(X, labelled)
            self.classes_, order = classes_of(labels, gaps=not labelled.all())
            codes = np.full(len(labelled), -1, dtype=np.int64)
            codes[labelled] = order
            settings = self._settings()
            names = [str(c) for c in self.classes_.tolist()]
            images = from_arrays({"x": self._raw(X), "y": codes, "classes": names}, flip=self.flip)
            with as_it_was(self.threads, self.device):
                self._trained = train(images, settings, self._folder(), self._cache())
        self.n_iter_ = self._trained.steps
        self.best_validation_score_ = self._trained.validation
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each row."""
        chosen: NDArray[Any] = self.predict_proba(X).argmax(1)
        found: NDArray[Any] = self.classes_[chosen]
        return found

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """[n, K] probabilities, in the order of `classes_`."""
        check_is_fitted(self)
        with said_to_sklearn():
            x = pixels(self._raw(self._checked(X, fitting=False)), "X")
            with as_it_was(self.threads, "cpu"):
                return self._trained.probabilities(x, self.device)

    def score(self, X: Any, y: Any) -> float:
        """Accuracy on the labelled rows: whether an unlabelled one is right nobody knows, so it does not count.

        Cross-validation and GridSearchCV call this unless they are told a `scoring`; those of scikit-learn count every -1
        as an error.
        """
        predicted = self.predict(X)
        with said_to_sklearn():
            labelled, labels = read_labels(y)
            check_consistent_length(predicted, labelled)
        return float(np.mean(predicted[labelled] == labels))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    # ---- X -----------------------------------------------------------------------------------------------------------

    def _checked(self, X: Any, fitting: bool) -> NDArray[Any]:
        """X as finite numbers, images in their shape; what fit learns of it is written down."""
        images = self.image_shape if fitting else self.image_shape_
        X = X if hasattr(X, "shape") else np.asarray(X)
        if len(X.shape) > 2:
            X = check_array(X, allow_nd=True, input_name="X", estimator=self)
            if fitting and hasattr(self, "feature_names_in_"):
                del self.feature_names_in_  # of a data frame that was fitted before
        else:
            X = validate_data(self, X, reset=fitting, dtype=np.float32 if images is None else "numeric")
        X = X if images is None else as_images(X, images)
        if fitting:
            self.image_shape_ = X.shape[1:] if X.ndim > 2 else None
            self.n_features_in_ = int(np.prod(X.shape[1:]))
            self._range = PixelRange.of(X, self.pixel_range) if X.ndim > 2 else None
        elif images is None and X.ndim > 2:
            raise UserError(
                f"X has rows of shape {X.shape[1:]}, and fit had vectors of {self.n_features_in_}: give those"
            )
        checked: NDArray[Any] = X
        return checked

    def _raw(self, X: NDArray[Any]) -> NDArray[Any]:
        """X as the library's own arrays: images as bytes, vectors as they are."""
        return X if self._range is None else self._range.as_bytes(X)

    # ---- parameters --------------------------------------------------------------------------------------------------

    def _settings(self) -> Settings:
        """The parameters as the settings of a run."""
        for name in NUMBERS:
            value, kind = getattr(self, name), numbers.Integral if name in WHOLE else numbers.Real
            if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
                raise UserError(f"{name} is a {'whole ' if name in WHOLE else ''}number or None, not {value!r}")
        for name in TEXTS:
            if not isinstance(getattr(self, name), str):
                raise UserError(f"{name} is given by its name, not as {getattr(self, name)!r}")
        if self.tune not in ("head", "last", "all"):
            raise UserError(f"tune is head, last or all, not {self.tune!r}")
        given = {name: getattr(self, name) for name in NUMBERS if getattr(self, name) is not None}
        if not any(name in given for name in ("steps", "epochs", "minutes")):
            given |= {"steps": DEFAULT_STEPS} if self.backbone == "none" else {}
        seed = seed_of(self.random_state)
        return Settings(
            method=self.method,
            net=self.net,
            backbone=self.backbone,
            tune=self.tune,  # type: ignore[arg-type]  # checked above
            overrides=(*as_text("method", self.method_options), *as_text("net", self.net_options)),
            weak=self.weak,
            strong=self.strong,
            val="none" if self.val is None else str(self.val),
            device=self.device,
            seed=seed,
            split_seed=seed,
            quiet=not self.verbose,
            **given,
        )

    def _folder(self) -> Path | None:
        """Of the run, new with every fit."""
        if self.out is None:
            return None
        folder = Path(self.out).expanduser()
        if not isinstance(self.net, str):
            raise UserError("a run folder can name a net only as text: give a name, or FILE.py:factory, or no out")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"out={str(self.out)!r} exists already: every fit needs a new folder, or none")
        return folder

    def _cache(self) -> Path | None:
        """Where features are kept; None: nowhere."""
        if self.memory is None:
            return None
        if self.backbone == "none":
            raise UserError("memory keeps a backbone's features, and there is none: leave it out, or name a backbone")
        return Path(self.memory).expanduser()


def seed_of(random_state: Any) -> int:
    """The seed of a run: an int is taken as it is, like --seed; a RandomState, or numpy's own for None, draws one."""
    state = check_random_state(random_state)
    drawn = random_state if isinstance(random_state, numbers.Integral) else state.randint(np.iinfo(np.int32).max)
    return int(drawn)


def as_text(owner: str, options: Any) -> list[str]:
    """{"tau": 0.9} as the command line writes it: method.tau=0.9."""
    if options is None:
        return []
    if not isinstance(options, Mapping):
        raise UserError(f"{owner}_options is a dict such as {{'name': value}}, not {options!r}")
    return [f"{owner}.{str(key).removeprefix(owner + '.')}={value}" for key, value in options.items()]


@contextmanager
def said_to_sklearn() -> Iterator[None]:
    """Mistakes as ValueErrors, in the words of this class and not of the command line; an interruption as Python's own."""
    try:
        yield
    except UserError as e:
        raise InputError(re.sub(r"--(?:set )?([a-z][a-z-]*)", lambda m: m[1].replace("-", "_"), str(e))) from e
    except NotFiniteError as e:
        what = str(e).partition(";")[0]
        raise InputError(f"{what}: try a smaller learning rate, as in method_options={{'optim.lr': 0.001}}") from e
    except Stopped as stop:
        if stop.signum == signal.SIGINT:
            raise KeyboardInterrupt from stop
        raise SystemExit(128 + stop.signum) from stop
