"""What a training run can be told: one frozen dataclass, the same from Python, the command line and config.json."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tyro

from halfseen.errors import UserError, nearest
from halfseen.overrides import check, tuples

Int = Annotated[int | None, tyro.conf.arg(metavar="INT")]
Float = Annotated[float | None, tyro.conf.arg(metavar="FLOAT")]
Folder = Annotated[Path | None, tyro.conf.arg(metavar="DIR")]

# of these one says how long training is, and of those how many labels are kept
EITHER = (("minutes", "epochs", "passes", "steps"), ("num_labels", "labels_per_class"))

# what changes no number of a run, so that it may differ when the run goes on
MAY_CHANGE = ("threads", "save_every", "quiet", "report", "tensorboard", "root", "slim")


AUTO = "auto"


@dataclass(frozen=True)
class Settings:
    method: str = AUTO
    """A name of `halfseen list`, also that of a probe, or a Python file with a Config and a Method; auto: fixmatch, or on a
    backbone what fits the data best by trials on folds of the labels."""
    net: str = "auto"
    """A name of `halfseen list`, or FILE.py:factory; auto: small for pictures to 40 px, resnet18 above, mlp for vectors."""
    backbone: str = "auto"
    """Start from a pretrained network: lite0, a folder or hub name of transformers, FILE.onnx, FILE.py:factory; none: from
    scratch; auto: the best that is installed, for folders of colour photographs."""
    weak_views: int = 2
    """Weak views of each image that the backbone looks at, once."""
    strong_views: int = 4
    """Strong views of each image that the backbone looks at, once."""
    tune: Literal["head", "last", "all"] = "head"
    """What of a backbone is trained after its head was: nothing, its last layer, or all, on pixels (a GPU, or patience)."""
    slim: bool = False
    """Leave the backbone out of the saved model, which then names it and its hash, and needs the same one to be there."""
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE ...")] = ()
    """Settings of the method and the network: method.tau=0.9 net.dropout=0.3 (see `halfseen explain METHOD`)."""

    root: Folder = None
    """Folder of the named sets' files (default: $HALFSEEN_DATA or ./data)."""
    size: Int = None
    """Side that images are resized to, once."""
    channels: Int = None
    """1 or 3 (default: as the images are)."""
    flip: Annotated[bool | None, tyro.conf.arg(metavar="True|False")] = None
    """May an image be mirrored? (default: by the set; own pictures: only colour ones)"""
    on_bad_image: Literal["skip", "stop"] = "skip"

    num_labels: Int = None
    """Labels to keep in all; the other images count as unlabelled."""
    labels_per_class: Int = None
    balanced: bool = True
    """Draw as many labels from every class; --no-balanced: in proportion to the classes."""
    split_seed: int = 0
    """Which labels are drawn; --seed chooses everything else."""
    val: str = "auto"
    """Labelled images held out to choose epoch and network: auto (a fold of them if every class has 10), none,
    a share such as 0.2, or a number per class."""
    val_folds: int = 5
    val_fold: int = 0
    extra_val_per_class: int = 0
    """Validation images beside the labelled ones, as some papers have: more labels, so say it when you quote the result."""

    class_weight: Literal["none", "balanced"] = "none"
    """balanced: labelled images of every class are shown equally often, however few it has."""
    logit_adjust: float = 0.0
    """tau: what is predicted is p(y|x) / (the labels' share of y)^tau: 1 for classes that are wanted equally often."""

    leave_out: Float = None
    """Leave pictures of no class out of the pool: of those that do belong this share may go with them, such as 0.05."""

    weak: str = "auto"
    """Policy of the weak view: none te tx2 ds fm affine noise jitter cutout16, composed with + (auto: the method's)."""
    strong: str = "auto"
    """Policy of the strong view: those, ra, ra-torchssl, cta (auto: the method's)."""
    labelled: str = "auto"
    """Policy of the view of labelled images (auto: the weak one)."""
    per_image: bool = False
    """Normalise every image by its own mean and deviation, instead of the training set's."""
    zca: bool = False
    """Make the pixels uncorrelated and of variance 1 over the training set (ZCA), as the CIFAR runs of VAT do."""
    batch: Int = None
    """Labelled images a step (default: the method's)."""
    unlabelled_batch: Int = None
    """Unlabelled images a step (default: the method's)."""

    minutes: Float = None
    """Length of training by the clock: the speed is measured first, and the steps that fit are written down."""
    epochs: Float = None
    """Length of training in the method's own epochs."""
    passes: Float = None
    """Length of training in images through a network, a backward counted as two: the same budget for every method."""
    steps: Int = None
    """Length of training in optimiser steps."""
    seed: int = 0

    device: str = "auto"
    """cpu, cuda, cuda:1; auto: a GPU if there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 autocast on a GPU, fp32 on a CPU."""
    threads: Int = None
    """CPU threads (default: all cores)."""
    compile: bool = False
    """Compile the networks with torch.compile: slower to start, faster after."""

    log_every: int = 0
    """Steps between lines of log.jsonl (0: a hundred lines a run, but at least every 50 steps)."""
    eval_every: int = 0
    """Steps between evaluations (0: twenty times a run)."""
    save_every: float = 60.0
    """Seconds of training that a kill may cost at most."""
    test_curve: bool = False
    """Also score the test images at every evaluation; they never choose anything."""
    tensorboard: bool = False
    """Also write TensorBoard events into the run folder (extra: tensorboard)."""
    report: bool = True
    """Write report.html into the run folder at the end; --no-report: do not."""
    quiet: bool = False

    def __post_init__(self) -> None:
        lengths = [n for n in EITHER[0] if getattr(self, n) is not None]
        if len(lengths) > 1:
            raise UserError(f"--{lengths[0]} and --{lengths[1]} both say how long to train; give one of them")
        for name in (
            "minutes",
            "epochs",
            "passes",
            "steps",
            "batch",
            "unlabelled_batch",
            "save_every",
            "size",
            "threads",
        ):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must be more than 0 and finite, not {value}")
        for name in ("log_every", "eval_every"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name.replace('_', '-')} must not be negative; 0 chooses a fitting number of steps")
        if not 0 <= self.logit_adjust < math.inf:
            raise UserError(f"--logit-adjust must be 0 or more and finite, not {self.logit_adjust}; 1 is usual")
        if self.per_image and self.zca:
            raise UserError("--per-image and --zca both say how images are normalised; give one of them")
        if self.tune != "head" and self.slim:
            raise UserError(f"--slim names a backbone, and --tune {self.tune} makes another one of it; leave one out")
        if self.num_labels is not None and self.labels_per_class is not None:
            raise UserError("--num-labels and --labels-per-class both say how many labels to keep; give one of them")

    def as_json(self) -> dict[str, Any]:
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Settings":
        values = {"backbone": "none", **tuples(stored)}  # runs of versions that had none do not say so
        if values.get("root") is not None:
            values["root"] = Path(values["root"])
        return cls(**values)

    @classmethod
    def from_config(cls, path: Path) -> tuple[str | None, "Settings"]:
        """Data (None: of a Python program) and settings of an earlier run, as its config.json says them."""
        path = path / "config.json" if path.is_dir() else path
        try:
            config = json.loads(path.read_text())
            settings = cls.from_json(config["settings"])
            for name, kind in get_type_hints(cls).items():
                check(getattr(settings, name), kind, name)
            return (None if config.get("from_python") else str(config["data"])), settings
        except OSError as e:
            raise UserError(f"--config {path} cannot be read ({e.strerror}); name a run's config.json") from e
        except (ValueError, KeyError, TypeError, AttributeError, UserError) as e:
            raise UserError(f"--config {path} is no config.json of this version ({e}); name that of a run") from e

    def val_value(self) -> Literal["auto", "none"] | float | int:
        """--val as `choose_split` takes it."""
        if self.val in ("auto", "none"):
            return self.val  # type: ignore[return-value]  # mypy does not narrow str by `in`
        try:
            return float(self.val) if "." in self.val else int(self.val)
        except ValueError:
            raise UserError(
                f"--val is auto, none, a share such as 0.2, or a number per class, not {self.val!r}"
            ) from None


def settings_of(given: Mapping[str, Any]) -> Settings:
    """Keyword arguments as Settings; what the command line would refuse is refused here too."""
    kinds = get_type_hints(Settings)
    chosen = {}
    for name, value in given.items():
        if name not in kinds:
            raise UserError(f"train has no setting {name!r}; {nearest(name, (*kinds, 'out', 'resume'))}")
        chosen[name] = plain(name, value)
        check(chosen[name], kinds[name], name)
    return Settings(**chosen)


def plain(name: str, value: Any) -> Any:
    """A setting as config.json can hold it, of what Python programs have for it."""
    if name == "overrides" and isinstance(value, Mapping):
        return tuple(f"{k}={v}" for k, v in value.items())
    if name == "val":
        return "none" if value is None else str(value)
    if name == "root":
        return Path(value) if isinstance(value, str) else value
    if isinstance(value, Path):
        return str(value)  # a method in a file
    if type(value).__module__ == "numpy" and hasattr(value, "item"):  # without its import: help comes at once
        return value.item()
    return tuple(value) if isinstance(value, list) else value
