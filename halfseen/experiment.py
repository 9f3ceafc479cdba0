"""One run from settings to metrics: open the data, draw the labels, train, score, export; what `halfseen train` calls."""

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import torch

from halfseen import catalog, checkpoint, distributed
from halfseen.allocator import keep_large_blocks
from halfseen.augment.whitening import LARGEST, Whitening
from halfseen.build import Facts, build, default_net, hidden_labels, policy_names, reference_rows, views
from halfseen.calibrate import SCRATCH_STEPS, steps_that_fit
from halfseen.config import below, check, pairs, read, with_settings
from halfseen.data import ARROW, ImageSet, Split, choose_split, open_any
from halfseen.device import pick_device
from halfseen.draws import Draws
from halfseen.errors import UserError, nearest, quoted
from halfseen.evaluate import Judge
from halfseen.loader import Loader
from halfseen.method import Plan
from halfseen.model import flat
from halfseen.nets import describe_options, find_factory
from halfseen.outcome import conclude
from halfseen.passes import passes_per_step
from halfseen.progress import Display
from halfseen.recorder import Recorder, need_tensorboard, summary_lines
from halfseen.resume import how_to_go_on, need_data, need_same, resumed
from halfseen.run import WHITENING, Folder, environment
from halfseen.settings import Settings
from halfseen.trainer import Pace, Stopped, Trainer

DEFAULT_MINUTES = 10.0
SHOWN = 3  # of the files left out, in the announcement


@dataclass(frozen=True)
class Result:
    """What a finished run leaves."""

    folder: Path
    metrics: dict[str, Any] = field(repr=False)


def train(data: Any = None, *, out: Path | str | None = None, resume: bool = False, **settings: Any) -> Result:
    """Train as the command line does: `train("mnist-5k", method="fixmatch", num_labels=20, minutes=2)`.

    `data` is anything that `open_data` takes. Keyword arguments are the fields of `Settings`; settings of the method and
    the network go as `overrides={"method.tau": 0.9}`. `train(out="runs/x", resume=True)` goes on with a run that was
    stopped; data that are no file and no name are given again.
    """
    check(resume, bool, "resume")
    check(out, str | Path | None, "out")
    if data is None and not resume:
        raise UserError(
            "say what to train on: a folder of images, an .npz file, a name of `halfseen list`, or arrays as "
            "{'x': images, 'y': labels}"
        )
    place = None if out is None else Path(os.path.expanduser(out))  # not Path.expanduser, which raises for ~nobody
    return run(data, settings_of(settings), place, resume)


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
    if isinstance(value, np.generic):
        return value.item()
    return tuple(value) if isinstance(value, list) else value


def run(data: Any, settings: Settings, out: Path | None, resume: bool, go_on: str | None = None) -> Result:
    """A run of these settings in the folder `out`; with `resume`, on from its last checkpoint.

    go_on: the command that continues it, where it is not `halfseen train --resume`.
    """
    if resume:
        if out is None:
            raise UserError("--resume needs --out: name the folder of the run that is to go on")
        folder = Folder.open(out)
        data, settings = resumed(folder, data, settings)
        if folder.finished:
            return finished(folder, data, settings)
    elif out is not None:
        Folder.vacant(out)  # refuses what could not become the run's folder, before the data are read
    return Session(data, settings, out, resume, go_on).run()


def finished(folder: Folder, data: Any, settings: Settings) -> Result:
    """The result of a run that has come to its end; its page is written if that is missing, as after a full disk."""
    metrics = folder.read("metrics.json")
    try:
        summary = summary_lines(metrics)
    except (KeyError, TypeError, AttributeError) as e:
        damaged = folder.path / "metrics.json"
        raise UserError(f"{damaged} is damaged; remove it, and the same command makes it again") from e
    display = Display(settings.quiet or distributed.outside_rank() > 0)
    whole = not settings.report or (folder.path / "report.html").is_file()
    left = "nothing is left to do" if whole else "only its page is missing"
    display.say(f"{folder.path} is finished already, {left}. {summary}")
    if not whole and distributed.outside_rank() == 0:
        if folder.read("config.json").get("from_python"):
            need_data(folder, data)
        images = open_images(data, settings)
        need_same(folder, images, str(data) if isinstance(data, str | Path) else images.name)
        write_page(folder, images, display)
    return Result(folder.path, metrics)


def open_images(data: Any, s: Settings) -> ImageSet:
    """The images of a run."""
    if isinstance(data, ImageSet):
        return data
    return open_any(
        data,
        root=s.root,
        size=s.size,
        channels=s.channels,
        flip=s.flip,
        on_bad_image=s.on_bad_image,
        progress=not s.quiet,
    )


def write_page(folder: Folder, images: ImageSet, display: Display) -> None:
    from halfseen.report.page import write_run_page

    display.say(f"The page that shows why to believe it: {write_run_page(folder, images)}")


class Session:
    """The pieces of one run, put together in the order in which mistakes are cheapest to find."""

    def __init__(self, data: Any, settings: Settings, out: Path | None, resume: bool, go_on: str | None = None) -> None:
        self.settings, self.resume, self.command = settings, resume, go_on
        self.display = Display(settings.quiet or distributed.outside_rank() > 0)
        if settings.tensorboard:
            need_tensorboard()
        self.device = pick_device(settings.device)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        distributed.start(self.device)
        if self.device.type == "cpu":
            keep_large_blocks()
        self.entry = catalog.load(settings.method)
        chosen = pairs(settings.overrides)
        for key in chosen:
            if not key.startswith(("method.", "net.")):
                raise UserError(f"--set {key}: a key starts with method. or net., as in --set method.tau=0.9")
        if settings.net != "auto":
            find_factory(settings.net)
        self.config = with_settings(self.entry.config(), below(chosen, "method"), "method")
        self.images = open_images(data, settings)
        self.from_python = not isinstance(data, str | Path)
        self.data_name = self.images.name if self.from_python else str(data)
        self.net = default_net(self.images.shape) if settings.net == "auto" else settings.net
        self.net_options = read_options(self.net, below(chosen, "net"))
        self.split = self.same_split(Folder.open(out)) if resume and out else self.draw_split()
        whitening = self.whitening(Folder.open(out) if resume and out else None) if settings.zca else None
        self.facts = Facts.of(self.images, self.split, settings.per_image, whitening)
        self.policies = policy_names(self.entry, self.images.shape, settings.weak, settings.strong)
        rows = self.entry.method.batch
        self.batch = (settings.batch or rows[0], settings.unlabelled_batch or rows[1])
        for name, n in zip(("--batch", "--unlabelled-batch"), self.batch, strict=True):
            if n % distributed.world():
                raise UserError(
                    f"{name} {n} cannot be shared by {distributed.world()} processes; use a multiple of them"
                )
        if resume and out:
            self.folder = Folder.open(out)
            self.passes: float = self.folder.read("config.json")["passes_per_step"]
        else:
            self.scratch = self.trainer(SCRATCH_STEPS, None)  # a wrong net, view or setting shows here, before any file
            self.passes = passes_per_step(self.scratch)  # also shows a mistake that only a step makes
            self.folder = self.new_folder(out)

    def new_folder(self, out: Path | None) -> Folder:
        """Made by the first process; the others are told its name."""
        made = str(Folder.create(out or self.new_name()).path) if distributed.rank() == 0 else ""
        return Folder(Path(distributed.gather_objects(made)[0]))

    def new_name(self) -> Path:
        stem = f"{Path(self.data_name).stem}-{Path(self.settings.method).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
        path, n = Path("runs") / stem, 2
        while path.exists():
            path, n = Path("runs") / f"{stem}-{n}", n + 1
        return path

    def same_split(self, folder: Folder) -> Split:
        """The split that the run began with, if its images are still what they were."""
        need_same(folder, self.images, self.data_name)
        return Split.from_json(folder.read("split.json")).checked(self.images.y)

    def draw_split(self) -> Split:
        s = self.settings
        return choose_split(
            self.images.y,
            self.images.given,
            num_labels=s.num_labels,
            labels_per_class=s.labels_per_class,
            balanced=s.balanced,
            seed=s.split_seed,
            val=s.val_value(),
            val_folds=s.val_folds,
            val_fold=s.val_fold,
            extra_val_per_class=s.extra_val_per_class,
            classes=self.images.classes,
            # the labelled images of another domain are no examples of this one
            include_labelled_in_unlabelled=self.entry.method.labelled_in_unlabelled and ARROW not in self.images.name,
            need_unlabelled=self.entry.method.needs_unlabelled,
        )

    def whitening(self, folder: Folder | None) -> Whitening:
        """Of all images that the run learns from; a run that goes on keeps what it began with."""
        d = math.prod(self.images.shape)
        if not self.images.is_images or d > LARGEST:
            raise UserError(
                f"--zca is for images of at most {LARGEST} values (36 x 36 in colour), and here are "
                f"{'images' if self.images.is_images else 'vectors'} of {d}; leave it out, or give a smaller --size"
            )
        if folder is not None:
            stored = folder.read_arrays(WHITENING, "restore the file, or start again in another folder")
            try:
                return Whitening.of(stored, d)
            except (KeyError, TypeError, ValueError) as e:
                raise UserError(f"{folder.path / WHITENING} is damaged ({e}); restore the file or run again") from e
        ids = torch.unique(torch.cat([self.split.labelled, self.split.unlabelled]))
        self.display.say(f"ZCA: {d} x {d} covariances of {len(ids)} images, once")
        return Whitening.fit(self.images.x, ids, self.device)

    # ---- the trainer --------------------------------------------------------------------------------------------------

    def trainer(self, steps: int, folder: Path | None) -> Trainer:
        s, rank, world = self.settings, distributed.rank(), distributed.world()
        torch.manual_seed(s.seed)
        draws = Draws.seeded(s.seed, self.device, rank, world)
        method = build(
            self.entry,
            self.config,
            self.facts,
            net=self.net,
            net_options=self.net_options,
            policies=self.policies,
            device=self.device,
            draws=draws,
            compiled=s.compile,
            reference=reference_rows(self.images, self.split),
        )
        torch.manual_seed(s.seed * 4099 + rank)  # dropout: processes hold different rows
        seen, truth = hidden_labels(self.images, self.split)
        loader = Loader(self.images, self.split, seen, self.device, rank, world)
        clean = views(self.facts, self.device, draws)("none")
        judge = Judge(self.parts(), clean, self.device, s.test_curve, loader)
        plan = Plan(steps, len(self.split.labelled), len(self.split.unlabelled), self.batch)
        bf16 = s.precision == "bf16" or (s.precision == "auto" and self.device.type == "cuda")
        return Trainer(
            method,
            plan,
            loader,
            truth,
            draws,
            judge,
            seed=s.seed,
            pace=Pace(s.log_every, s.eval_every, s.save_every),
            watcher=Recorder(self.display, folder, s.tensorboard),
            folder=folder,
            bf16=bf16,
        )

    def parts(self) -> dict[str, Any]:
        images, parts = self.images, {}
        if len(self.split.val):
            parts["val"] = (images.x[self.split.val], images.y[self.split.val])
        elif images.val_x is not None and images.val_y is not None:
            parts["val"] = (images.val_x, images.val_y)
        if images.test_x is not None and images.test_y is not None:
            parts["test"] = (images.test_x, images.test_y)
        return parts

    def steps(self) -> int:
        """The length of training in steps, measured first if it was asked for in minutes."""
        s = self.settings
        if s.steps is not None:
            return s.steps
        if s.epochs is not None:
            plan = Plan(1, len(self.split.labelled), len(self.split.unlabelled), self.batch)
            return max(1, round(s.epochs * plan.epoch_steps(self.entry.method.epoch)))
        if s.passes is not None:
            steps = max(1, round(s.passes / self.passes))
            self.display.say(f"{s.passes:g} network passes are {steps} steps")
            return steps
        minutes = s.minutes or DEFAULT_MINUTES
        steps = steps_that_fit(minutes * 60, self.scratch)
        self.display.say(f"{steps} steps fit into {minutes:g} minutes; the same run again: --steps {steps}")
        return steps

    # ---- the run ------------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        if self.resume:
            steps = self.folder.read("config.json")["steps"]
            trainer = self.trainer(steps, self.folder.path)
            self.load_last(trainer)
            if distributed.rank() == 0:
                self.folder.forget_after(trainer.total)
        else:
            steps = self.steps()
            del self.scratch
            trainer = self.trainer(steps, self.folder.path)
            if distributed.rank() == 0:
                try:
                    self.describe(steps)
                except BaseException:
                    self.folder.abandon()
                    raise
        self.announce(trainer)
        self.display.start(trainer.total, trainer.total_steps)
        try:
            trainer.run()
        except Stopped as stop:
            self.display.stop()
            if distributed.rank() == 0:
                print(
                    f"Stopped at step {stop.step} of {stop.steps}, all is saved. Go on with: {self.go_on()}", flush=True
                )
            raise
        finally:
            self.display.stop()
        metrics = conclude(trainer, self.folder, self.about(trainer), self.facts, self.images, self.split)
        self.display.say(summary_lines(metrics))
        if self.settings.report and distributed.rank() == 0:
            write_page(self.folder, self.images, self.display)
        return Result(self.folder.path, metrics)

    def load_last(self, trainer: Trainer) -> None:
        """The state of the last checkpoint, where the run had come to one."""
        last = self.folder.path / "checkpoints" / "last.pt"
        if not last.is_file():
            self.display.say("no checkpoint had been saved yet, so the run starts at its beginning")
            return
        try:
            state = checkpoint.load(last)
        except UserError as e:
            best = last.with_name("best.pt")
            raise UserError(
                f"{e}, or copy {best.name} over it to go on from there" if best.is_file() else str(e)
            ) from e
        try:
            trainer.load(state)
            if not 0 <= trainer.total <= trainer.total_steps:
                raise ValueError(f"step {trainer.total} of {trainer.total_steps}")
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as e:
            raise UserError(
                f"the checkpoint {last} is of another run, not of {self.settings.method} on {self.net}: put the right "
                "one back, or remove it to start at the beginning"
            ) from e

    def about(self, trainer: Trainer) -> dict[str, Any]:
        """How to build the model again, as its json file says it."""
        return {
            "method": self.settings.method,
            "method_settings": flat(self.config),
            "net": self.net,
            "net_options": self.net_options,
            "data": self.data_name,
            "steps": trainer.total_steps,
            "passes": round(self.passes * trainer.total_steps),
            "seed": self.settings.seed,
        }

    def describe(self, steps: int) -> None:
        """Write down what is about to happen."""
        config = {
            "data": self.data_name,
            "from_python": self.from_python,
            "settings": self.settings.as_json(),
            "steps": steps,
            "passes_per_step": self.passes,
            "net": self.net,
            "net_options": self.net_options,
            "method": flat(self.config),
            "policies": list(self.policies),
            "batch": list(self.batch),
            "processes": distributed.world(),
            "fingerprint": self.images.fingerprint(),
            "facts": self.facts.as_json(),
            "note": self.images.note,
            "skipped": [list(s) for s in self.images.skipped],
        }
        self.folder.write("environment.json", environment(self.device))
        self.folder.write("split.json", self.split.as_json())
        if self.facts.whitening is not None:
            self.folder.write_arrays(WHITENING, {k: v.numpy() for k, v in self.facts.whitening.tensors().items()})
        self.folder.copy_source(self.entry.source)
        self.folder.write("config.json", config)  # last: with it, the run can be resumed

    def announce(self, trainer: Trainer) -> None:
        split, images = self.split, self.images
        seen = f"{len(split.labelled)} labelled, {len(split.unlabelled)} unlabelled, {len(split.val)} validation"
        start = f" from step {trainer.total}" if trainer.total else ""
        self.display.say(f"{self.data_name}: {seen} images of {images.num_classes} classes; {images.note}".rstrip("; "))
        self.display.say(
            f"{self.settings.method} on {self.net}, {trainer.total_steps} steps{start}, in {self.folder.path}"
        )
        if self.entry.method.needs_unlabelled and len(split.labelled) + len(split.val) == len(images.y):
            self.display.say(
                "every image shows its label, so there is nothing to learn beside the labels: hide some with "
                "--labels-per-class or --num-labels, or use the method supervised"
            )
        if images.skipped:
            first = "; ".join(f"{quoted(path)[1:-1]} ({why})" for path, why in images.skipped[:SHOWN])
            more = f"; all of them are in {self.folder.path / 'config.json'}" if len(images.skipped) > SHOWN else ""
            self.display.say(f"{len(images.skipped)} files were left out: {first}{more}")

    def go_on(self) -> str:
        return self.command or how_to_go_on(self.folder, self.from_python)


def read_options(net: Any, texts: dict[str, Any]) -> dict[str, Any]:
    """`--set net.dropout=0.3`: text read as the kind of value that the option's default has."""
    defaults = dict(describe_options(net)) if texts else {}
    options: dict[str, Any] = {}
    for name, text in texts.items():
        default = defaults.get(name)
        kind = type(default) if isinstance(default, bool | int | float | str) else str
        options[name] = read(text, kind, f"net.{name}") if isinstance(text, str) else text
    return options
