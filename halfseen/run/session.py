"""One run from settings to metrics: open the data, draw the labels, train, score, export.

Its pieces are put together in the order in which mistakes are cheapest to find.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from halfseen.augment.whitening import Whitening
from halfseen.backbones import holdable
from halfseen.data import Split
from halfseen.draws import Draws
from halfseen.errors import Stopped, UserError
from halfseen.machine import distributed
from halfseen.machine.device import keep_large_blocks, pick_device
from halfseen.machine.progress import Display
from halfseen.method import Plan
from halfseen.model.blueprint import Blueprint
from halfseen.model.build import reference_rows, views
from halfseen.model.facts import Facts
from halfseen.model.pixels import facts_of_pixels, on_pixels
from halfseen.model.tuned import CLIP, Base, on_its_head
from halfseen.nets.linear import warmth
from halfseen.run.alarms import Alarms
from halfseen.run.beginning import describe, files_told, how_to_go_on, labels_told, need_same, open_images, whitening_of
from halfseen.run.belongs import without_strangers
from halfseen.run.budget import SCRATCH_STEPS, length_of, passes_per_step
from halfseen.run.easier import TooSlowError, need_enough
from halfseen.run.folder import Folder, fresh_place
from halfseen.run.labels import SplitRule, draw_split
from halfseen.run.outcome import conclude, ending
from halfseen.run.recorder import Everyone, Recorder, need_tensorboard
from halfseen.run.resume import load_last
from halfseen.run.start import settled, started
from halfseen.run.tune import Start
from halfseen.settings import Settings
from halfseen.training.judge import Judge, scored_parts
from halfseen.training.loader import Loader
from halfseen.training.trainer import Pace, Trainer, Watcher

NEW = Path("runs")  # as `out`: a new folder under it, named after the data, the method and the hour


@dataclass(frozen=True)
class Result:
    """What a finished run leaves."""

    folder: Path
    metrics: dict[str, Any] = field(repr=False)


class Session:
    """One run. Final: the rule of the split, the folder (or none) and who else watches are handed in."""

    def __init__(
        self,
        data: Any,
        settings: Settings,
        out: Path | None,
        began: Folder | None = None,
        *,
        go_on: str | None = None,
        split: SplitRule = draw_split,
        watchers: Sequence[Callable[[Trainer], Watcher]] = (),
        cache: Path | None = None,
        start: Start | None = None,
        choice: Mapping[str, Any] | None = None,
    ) -> None:
        """out: the folder to make, NEW, or None for a run that leaves no file. began: of the run that goes on.

        cache: where the rows of a backbone are kept, if not in the usual place. start: what fine-tuning starts from.
        choice: how `auto` came to the method.
        """
        self.choice = choice
        self.display = Display(settings.quiet or distributed.outside_rank() > 0)
        settings, why = settled(data, settings)
        if why:
            self.display.say(why)
        self.settings, self.command, self.watchers = settings, go_on, watchers
        if settings.tensorboard:
            need_tensorboard()
        self.device = pick_device(settings.device)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        distributed.start(self.device)
        if self.device.type == "cpu":
            keep_large_blocks()
        blueprint = Blueprint.from_settings(settings)
        self.method = blueprint.entry.method
        self.images = open_images(data, settings)  # pixels, or vectors
        # what trains: the same, or numbers of its images
        self.rows, self.backbone = started(self.images, settings, cache=cache)
        self.start = start
        self.from_python = not isinstance(data, str | Path)
        self.data_name = self.images.name if self.from_python else str(data)
        self.blueprint = blueprint.fitted(self.rows.shape, self.rows.bank is not None, start is not None)
        self.began = began
        self.split = self.same_split(began) if began else self.new_split(split)
        self.facts = Facts.of(
            self.rows,
            self.split,
            settings.per_image,
            self.whitening() if settings.zca else None,
            settings.logit_adjust,
        )
        if start is not None:
            self.facts = facts_of_pixels(self.facts, self.images)
        if self.backbone is not None:
            pool = max(len(self.split.labelled), len(self.split.unlabelled))
            self.blueprint = self.blueprint.preferring(temperature=warmth(pool))
        rows = self.method.batch
        self.batch = (settings.batch or rows[0], settings.unlabelled_batch or rows[1])
        for name, n in zip(("--batch", "--unlabelled-batch"), self.batch, strict=True):
            if n % distributed.world():
                raise UserError(
                    f"{name} {n} cannot be shared by {distributed.world()} processes; use a multiple of them"
                )
        self.folder: Folder | None = began
        self.scratch: Trainer | None = None
        if began is not None:
            self.passes: float = began.read("config.json")["passes_per_step"]
            return
        self.scratch = self.trainer(SCRATCH_STEPS, None)  # a wrong net, view or setting shows here, before any file
        self.passes = passes_per_step(self.scratch)  # also shows a mistake that only a step makes
        if out is not None:
            self.folder = self.new_folder(out)

    def new_folder(self, out: Path) -> Folder:
        """Made by the first process; the others are told its name."""
        made = ""
        if distributed.rank() == 0:
            place = fresh_place(NEW, self.data_name, self.settings.method) if out is NEW else out
            made = str(Folder.create(place).path)
        return Folder(Path(distributed.gather_objects(made)[0]))

    def same_split(self, folder: Folder) -> Split:
        """The split that the run began with, if its images are still what they were."""
        need_same(folder, self.images, self.data_name)
        return Split.from_json(folder.read("split.json")).checked(self.images.y)

    def new_split(self, rule: SplitRule) -> Split:
        """By the rule, without strangers where that was asked for; fine-tuning goes on with what its head has seen."""
        if self.start is not None:
            return self.start.split.checked(self.images.y)
        found = rule(self.images, self.method, self.settings)
        if self.settings.leave_out is not None:
            found, said = without_strangers(self.rows, found, self.settings.leave_out)
            self.display.say(said)
        return found

    def whitening(self) -> Whitening:
        ids = torch.unique(torch.cat([self.split.labelled, self.split.unlabelled]))
        return whitening_of(self.images, ids, self.began, self.device, self.display)

    def trainer(self, steps: int, folder: Folder | None) -> Trainer:
        s, rank, world = self.settings, distributed.rank(), distributed.world()
        torch.manual_seed(s.seed)
        draws = Draws.seeded(s.seed, self.device, rank, world)
        method = self.blueprint.build(
            self.facts,
            self.device,
            draws,
            compiled=s.compile,
            reference=reference_rows(self.rows, self.split),
            bank=self.rows.bank,
            base=self.base(),
        )
        if self.start is not None:
            method.load_state_dict(on_its_head(method.state_dict(), self.start.state, method))
        torch.manual_seed(s.seed * 4099)  # dropout; the same in every process, which keeps the masks of its rows
        clean = views(self.facts, self.device, draws, bank=self.rows.bank)("none")
        loader = Loader(self.rows, self.split, self.device, rank, world, s.class_weight == "balanced")
        return Trainer(
            method,
            self.plan(steps),
            loader,
            self.rows.y,
            draws,
            Judge(scored_parts(self.rows, self.split), clean, self.device, s.test_curve, loader, self.facts.adjust),
            seed=s.seed,
            pace=Pace(s.log_every, s.eval_every, s.save_every),
            watcher=Recorder(self.display, folder, s.tensorboard),
            folder=folder.path if folder else None,
            clip=None if self.start is None else CLIP,
            bf16=s.precision == "bf16" or (s.precision == "auto" and self.device.type == "cuda"),
        )

    def base(self) -> Base | None:
        """What every network of a method is put on for fine-tuning."""
        if self.start is None:
            return None
        assert self.backbone is not None
        return Base(self.backbone, self.start.facts, self.settings.tune)

    def plan(self, steps: int) -> Plan:
        return Plan(steps, len(self.split.labelled), len(self.split.unlabelled), self.batch)

    # ---- the run ------------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Train, score, save the model; the folder holds all of it."""
        trainer = self.train()
        assert self.folder is not None
        metrics = conclude(
            trainer, self.folder, self.about(trainer), self.facts, self.rows, self.images, self.split, self.finish
        )
        for line in ending(metrics):
            self.display.say(line)
        return Result(self.folder.path, metrics)

    def finish(self, net: nn.Module) -> tuple[nn.Module, Facts]:
        """A trained network as it leaves the run, and what it must be given: of pixels, where it had a backbone below it."""
        if self.backbone is None or self.start is not None:
            return net, self.facts
        return on_pixels(self.backbone, net, self.facts, self.device), facts_of_pixels(self.facts, self.images)

    def train(self) -> Trainer:
        """From the beginning, or from the last checkpoint, to the last step."""
        trainer = self.resumed(self.began) if self.began else self.begun()
        alarms = Alarms(self.display, self.images.classes, trainer.total_steps)
        trainer.watcher = Everyone(trainer.watcher, alarms, *(make(trainer) for make in self.watchers))
        self.announce(trainer)
        minutes = self.settings.minutes if self.began is None else None  # of a run that goes on a part is over
        self.display.start(trainer.total, trainer.total_steps, None if minutes is None else 60 * minutes)
        try:
            trainer.run()
        except Stopped as stop:
            self.display.stop()
            if self.folder is not None and distributed.rank() == 0:
                how = self.command or how_to_go_on(self.folder, self.from_python)
                print(f"Stopped at step {stop.step} of {stop.steps}, all is saved. Go on with: {how}", flush=True)
            raise
        except Exception as e:
            if not distributed.is_lost(e):
                raise
            again = "--resume goes on from the last checkpoint, with any number" if self.folder else "start again"
            raise UserError(
                f"another process of this run has ended, so this one (rank {distributed.rank()}) ends too; see what that "
                f"one said; {again}"
            ) from e
        finally:
            self.display.stop()
        return trainer

    def resumed(self, folder: Folder) -> Trainer:
        trainer = self.trainer(folder.read("config.json")["steps"], folder)
        load_last(trainer, folder, f"{self.settings.method} on {self.blueprint.net}", self.display)
        if distributed.rank() == 0:
            folder.forget_after(trainer.total)
        return trainer

    def begun(self) -> Trainer:
        assert self.scratch is not None
        steps, said = length_of(self.settings, self.scratch, self.plan(1), self.passes, self.method.epoch)
        try:
            need_enough(steps, self.settings, self.images.shape)
        except TooSlowError:
            if self.folder is not None and distributed.rank() == 0:
                self.folder.abandon()
            raise
        if said:
            self.display.say(said)
        self.scratch = None  # its memory is needed
        trainer = self.trainer(steps, self.folder)
        if self.folder is not None and distributed.rank() == 0:
            try:
                describe(
                    self.folder, self.beginning(steps), self.split, self.facts, self.blueprint.entry.source, self.device
                )
            except BaseException:
                self.folder.abandon()
                raise
        return trainer

    def beginning(self, steps: int) -> dict[str, Any]:
        """What is about to happen, as config.json says it."""
        made = self.blueprint.as_json()
        return {
            "data": self.data_name,
            "from_python": self.from_python,
            "settings": self.settings.as_json(),
            "choice": self.choice,
            "steps": steps,
            "passes_per_step": self.passes,
            "net": made["net"],
            "net_options": made["net_options"],
            "method": made["method_settings"],
            "policies": list(self.blueprint.policies),
            "batch": list(self.batch),
            "processes": distributed.world(),
            "fingerprint": self.images.fingerprint(),
            "facts": self.facts.as_json(),
            "note": self.images.note,
            "skipped": [list(s) for s in self.images.skipped],
            "odd": [list(s) for s in self.images.odd],
        }

    def about(self, trainer: Trainer) -> dict[str, Any]:
        """How to build the model again, as its json file says it."""
        return {
            **self.blueprint.as_json(),
            **self.below(),
            "data": self.data_name,
            "steps": trainer.total_steps,
            "passes": round(self.passes * trainer.total_steps),
            "seed": self.settings.seed,
        }

    def below(self) -> dict[str, Any]:
        """The backbone, and what the head was trained under."""
        if self.backbone is None:
            return {}
        about = {
            "name": self.backbone.name,
            "key": self.backbone.key,
            "held": not self.settings.slim and holdable(self.backbone.name),
        }
        if self.start is not None:
            return {"backbone": about, "head_facts": self.start.facts.as_json(), "tune": self.settings.tune}
        return {"backbone": about, "head_facts": self.facts.as_json()}

    def announce(self, trainer: Trainer) -> None:
        split, images, what = self.split, self.images, f"{self.settings.method} on {self.blueprint.net}"
        if self.backbone is not None:
            what += f" on {self.backbone.name} at {self.images.shape[1]} px"
        if self.start is not None:
            what += f", {'all of it' if self.settings.tune == 'all' else 'its last layer'} tuned"
        if self.folder is None:
            self.display.say(f"{what}, {trainer.total_steps} steps, without a run folder")
            return
        hidden = int((~torch.isin(split.unlabelled, split.labelled)).sum())
        seen = f"{len(split.labelled)} labelled, {hidden} unlabelled, {len(split.val)} validation"
        start = f" from step {trainer.total}" if trainer.total else ""
        self.display.say(f"{self.data_name}: {seen} images of {images.num_classes} classes; {images.note}".rstrip("; "))
        self.display.say(f"{what}, {trainer.total_steps} steps{start}, in {self.folder.path}")
        for line in labels_told(images.y[split.labelled], images.classes):
            self.display.say(line)
        if self.method.needs_unlabelled and len(split.labelled) + len(split.val) == len(images.y):
            self.display.say(
                "every image shows its label, so there is nothing to learn beside the labels: hide some with "
                "--labels-per-class or --num-labels, or use the method supervised"
            )
        for line in files_told(images, self.folder):
            self.display.say(line)
