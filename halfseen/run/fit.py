"""A run without a training loop: a probe fitted to features, in the folder of a run like any other.

The features are the rows of a bank, where the run has a backbone, or the vectors that the data are. A probe looks at other
views than the clean one of the labelled images only, so the backbone does too.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from halfseen.backbones import holdable
from halfseen.data.bank import Bank
from halfseen.draws import Draws
from halfseen.errors import UserError
from halfseen.machine import distributed
from halfseen.machine.device import pick_device
from halfseen.machine.progress import Display
from halfseen.model.build import views
from halfseen.model.facts import Facts
from halfseen.model.pixels import facts_of_pixels, on_pixels
from halfseen.overrides import below, flat, pairs, with_settings
from halfseen.probes import PROBES, Fitted
from halfseen.run.beginning import describe, files_told, labels_told, need_same, open_images
from halfseen.run.belongs import features_of, strangers, without_strangers
from halfseen.run.folder import Folder, fresh_place
from halfseen.run.labels import SplitRule, draw_split
from halfseen.run.outcome import conclude_fit, ending
from halfseen.run.session import NEW, Result
from halfseen.run.start import settled, started
from halfseen.settings import Settings
from halfseen.training.judge import Judge, adjusted, scored_parts

NET = "a probe"  # in place of a network's name


@dataclass(frozen=True)
class Modest:
    """What is asked of the split: a probe also works where every image shows its label."""

    labelled_in_unlabelled: bool = False
    needs_unlabelled: bool = False


class Fit:
    """A probe's run, as Session is a method's. Final."""

    def __init__(
        self,
        data: Any,
        settings: Settings,
        *,
        split: SplitRule = draw_split,
        cache: Path | None = None,
        choice: Mapping[str, Any] | None = None,
    ) -> None:
        """cache: where the rows of a backbone are kept, if not in the usual place. choice: how `auto` came to the method."""
        self.choice = choice
        self.display = Display(settings.quiet or distributed.outside_rank() > 0)
        self.settings, why = settled(data, settings)
        if why:
            self.display.say(why)
        self.kind = PROBES[settings.method]
        self.config = self.configured()
        self.device = pick_device(settings.device)
        distributed.start(self.device)
        if distributed.world() > 1:
            raise UserError(f"the probe {settings.method} is fitted by one process: start it without torchrun")
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.images = open_images(data, self.settings)
        self.split = split(self.images, Modest(), self.settings)
        self.rows, self.backbone = started(self.images, self.settings, only=self.split.labelled, cache=cache)
        if self.rows.is_images:
            raise UserError(
                f"the probe {settings.method} is for features, and {self.images.name} holds pictures: take --backbone lite0 "
                "(or another one), or the method supervised"
            )
        if settings.leave_out is not None:
            self.split, left = without_strangers(self.rows, self.split, settings.leave_out, vectors=True)
            self.display.say(left)
        self.facts = Facts.of(self.rows, self.split, tau=settings.logit_adjust)
        self.from_python = not isinstance(data, str | Path)
        self.data_name = self.images.name if self.from_python else str(data)
        self.seconds = 0.0

    def configured(self) -> Any:
        chosen = pairs(self.settings.overrides)
        for key in chosen:
            if not key.startswith("method."):
                raise UserError(f"--set {key}: a probe has no network; its own settings start with method.")
        found = with_settings(self.kind.config(), below(chosen, "method"), "method")
        if self.settings.class_weight == "none":
            return found
        if not hasattr(found, "balanced"):
            raise UserError(
                f"the probe {self.settings.method} counts every class once already: leave --class-weight out"
            )
        return replace(found, balanced=True)

    # ---- features -------------------------------------------------------------------------------------------------------

    def scaled(self, h: Tensor) -> Tensor:
        """As a head is given them."""
        return (h - self.rows.mean) / self.rows.std

    def clean(self, ids: Tensor) -> Tensor:
        """[n, d] of training images."""
        bank = self.rows.bank
        return self.scaled(bank.clean(self.rows.x[ids, 0]) if isinstance(bank, Bank) else self.rows.x[ids])

    def every_view(self, ids: Tensor) -> Tensor:
        """[n, V, d], or [n, d] where there is one view."""
        bank = self.rows.bank
        return self.scaled(bank.every_view(self.rows.x[ids, 0])) if isinstance(bank, Bank) else self.clean(ids)

    # ---- the run --------------------------------------------------------------------------------------------------------

    def fit(self) -> Fitted:
        began = time.monotonic()
        pool = torch.unique(torch.cat([self.split.labelled, self.split.unlabelled]))
        y = self.images.y[self.split.labelled].numpy()
        labelled, unlabelled = self.every_view(self.split.labelled).numpy(), self.clean(pool).numpy()
        fitted = self.kind.fit(labelled, y, unlabelled, self.config, classes=self.images.num_classes)
        self.seconds = time.monotonic() - began
        return fitted

    def head(self, fitted: Fitted) -> nn.Module:
        return self.kind.head(self.config, fitted.tensors()).to(self.device)

    def finish(self, head: nn.Module) -> tuple[nn.Module, Facts]:
        """What leaves the run: of pixels, where it had a backbone."""
        if self.backbone is None:
            return head, self.facts
        return on_pixels(self.backbone, head, self.facts, self.device), facts_of_pixels(self.facts, self.images)

    def about(self) -> dict[str, Any]:
        """How to build the model again, as its json file says it."""
        found = {
            "method": self.settings.method,
            "method_settings": flat(self.config),
            "net": NET,
            "net_options": {},
            "data": self.data_name,
            "steps": 0,
            "passes": 0,
            "seed": self.settings.seed,
            "predictor": self.settings.method,
        }
        if self.backbone is not None:
            found["backbone"] = {
                "name": self.backbone.name,
                "key": self.backbone.key,
                "held": not self.settings.slim and holdable(self.backbone.name),
            }
            found["head_facts"] = self.facts.as_json()
        return found

    def run(self, out: Path, began: Folder | None = None) -> Result:
        """Fit, score, save the model. began: the folder of a run that was stopped; it is fitted again."""
        if began is not None:
            need_same(began, self.images, self.data_name)
        folder = began or Folder.create(fresh_place(NEW, self.data_name, self.settings.method) if out is NEW else out)
        others = int((~torch.isin(self.split.unlabelled, self.split.labelled)).sum())
        seen = f"{len(self.split.labelled)} labelled, {others} unlabelled"
        on = "" if self.backbone is None else f" on {self.backbone.name} at {self.images.shape[1]} px"
        self.display.say(f"{self.data_name}: {seen} images of {self.images.num_classes} classes")
        self.display.say(f"{self.settings.method}{on}, in {folder.path}")
        for line in labels_told(self.images.y[self.split.labelled], self.images.classes):
            self.display.say(line)
        for line in files_told(self.images, folder):
            self.display.say(line)
        try:
            describe(folder, self.beginning(), self.split, self.facts, self.kind.source, self.device)
        except BaseException:
            folder.abandon()
            raise
        fitted = self.fit()
        clean = views(self.facts, self.device, Draws.seeded(0, self.device), bank=self.rows.bank)("none")
        judge = Judge(scored_parts(self.rows, self.split), clean, self.device, adjust=self.facts.adjust)
        hidden = self.split.unlabelled
        shares = torch.from_numpy(fitted.predict_proba(self.clean(hidden).numpy())) if len(hidden) else None
        if shares is not None:
            shares = adjusted(shares.log(), self.facts.adjust).softmax(1)
        strange = strangers(self.rows, self.split, features_of(self.rows, vectors=True), {}, None)
        metrics = conclude_fit(
            self.head(fitted), shares, strange, judge, folder, self.about(), self.facts, self.rows, self.images,
            self.split, self.finish, self.seconds,
        )  # fmt: skip
        for line in ending(metrics):
            self.display.say(line)
        return Result(folder.path, metrics)

    def beginning(self) -> dict[str, Any]:
        """As config.json says it."""
        return {
            "data": self.data_name,
            "from_python": self.from_python,
            "settings": self.settings.as_json(),
            "choice": self.choice,
            "steps": 0,
            "passes_per_step": 0.0,
            "net": NET,
            "net_options": {},
            "method": flat(self.config),
            "policies": [],
            "batch": [0, 0],
            "processes": 1,
            "fingerprint": self.images.fingerprint(),
            "facts": self.facts.as_json(),
            "note": self.images.note,
            "skipped": [list(s) for s in self.images.skipped],
            "odd": [list(s) for s in self.images.odd],
        }
