"""The loop: stages, steps, optimisers, evaluation, log, checkpoints; the only place that knows precision and processes.

It knows no method's name. The labels that are hidden from the method are known here, for scoring what it was taught.
"""

import contextlib
import operator
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from halfseen.draws import Draws
from halfseen.errors import NotFiniteError, Stopped, UserError
from halfseen.machine import distributed
from halfseen.machine.shares import rows_are, share
from halfseen.method import Batch, Clock, Losses, Method, Plan, Stage
from halfseen.optim import Optim, make_optimizer, set_rates
from halfseen.training import checkpoint
from halfseen.training.judge import Judge
from halfseen.training.loader import Loader, Streams
from halfseen.training.tally import Tally


@dataclass(frozen=True)
class Pace:
    """When things happen besides training."""

    log_every: int = 0  # steps; 0: a hundred times a run, but at least every 50
    eval_every: int = 0  # steps; 0: twenty times a run
    save_every: float = 60.0  # seconds that a kill may cost


class Watcher(Protocol):
    """Who is told what happens: the run folder and the progress display."""

    def logged(self, row: dict[str, Any]) -> None: ...
    def evaluated(self, row: dict[str, Any]) -> None: ...
    def at(self, step: int, steps: int, stage: str) -> None: ...


def phases(found: Losses | Iterator[Losses]) -> Iterator[Losses]:
    """A method that returns Losses updates once; one that yields several updates several times."""
    return iter([found]) if isinstance(found, Losses) else found


@contextlib.contextmanager
def between_steps() -> Iterator[None]:
    """What a method does there is done by every process to all images, without gradient."""
    with torch.no_grad(), rows_are("alike"):
        yield


def part_of(method: nn.Module, path: str) -> list[nn.Parameter]:
    """The parameters of a method's attribute: a network, or a parameter itself."""
    found = operator.attrgetter(path)(method)  # getattr finds a list's "0" too
    return [found] if isinstance(found, nn.Parameter) else list(found.parameters())


class Trainer:
    """One run of a method over a plan; `run()` goes on from wherever its state stands."""

    def __init__(
        self,
        method: Method[Any],
        plan: Plan,
        data: Loader,
        truth: Tensor,
        draws: Draws,
        judge: Judge,
        *,
        seed: int,
        pace: Pace,
        watcher: Watcher,
        folder: Path | None = None,
        bf16: bool = False,
        clip: float | None = None,
    ) -> None:
        """clip: the norm that gradients are cut to where an optimiser names none."""
        self.method, self.plan, self.data, self.draws, self.judge = method, plan, data, draws, judge
        self.truth = truth.to(data.device)
        self.labelled = torch.zeros_like(self.truth, dtype=torch.bool)
        self.labelled[data.labelled.to(data.device)] = True
        self.seed, self.pace, self.watcher, self.folder, self.bf16 = seed, pace, watcher, folder, bf16
        self.clip = clip
        self.stages = method.stages(plan)
        for stage in self.stages:
            if any(rows % draws.world for rows in stage.batch or ()):
                raise UserError(
                    f"the batches of the stage {stage.name!r} have {sum(stage.batch or ())} rows, which {draws.world} "
                    "processes cannot share; set its batch to a multiple of them"
                )
        self.total_steps = sum(s.steps for s in self.stages)
        self.log_every = pace.log_every or max(1, min(50, self.total_steps // 100))
        self.eval_every = pace.eval_every or max(1, self.total_steps // 20)
        self.stage_index, self.step, self.total = 0, 0, 0
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.selected: Tensor | None = None
        self.tally = Tally()
        self.best: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0  # of earlier sessions of this run
        self.saved = 0.0  # when the last checkpoint was written
        self.signum = 0

    @property
    def stage(self) -> Stage:
        return self.stages[self.stage_index]

    @property
    def done(self) -> bool:
        return self.stage_index >= len(self.stages)

    @property
    def stage_plan(self) -> Plan:
        return self.plan if self.stage.batch is None else replace(self.plan, batch=self.stage.batch)

    def clock(self) -> Clock:
        chosen = None if self.selected is None else len(self.selected)
        return Clock(self.step, self.stage.steps, self.stage_plan.epoch_steps(self.stage.epoch, chosen))

    def streams(self) -> Streams:
        """The order of the images in this stage."""
        seed = self.seed * 1000003 + self.stage_index * 1009
        return self.data.streams(self.stage_plan, self.stage.epoch, seed, self.selected)

    # ---- one step ---------------------------------------------------------------------------------------------------

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        if not self.bf16:
            return contextlib.nullcontext()
        # without its cache: up to torch 2.10 a weight that was first cast in a pass without gradient stays without
        return torch.autocast(self.data.device.type, dtype=torch.bfloat16, cache_enabled=False)

    def train_step(self, batch: Batch, clock: Clock) -> None:
        uneven = self.stage.epoch == "mixed_pass" and self.data.world > 1  # how many rows are labelled varies
        self.draws.share = share if uneven else None
        with rows_are("uneven" if uneven else "even"):
            self.learn(batch, clock)

    def learn(self, batch: Batch, clock: Clock) -> None:
        specs = self.stage.optim
        for name, optimizer in self.optimizers.items():
            set_rates(optimizer, specs[name], clock.progress)
        found: Iterator[Losses] | None = None
        while True:
            with self.autocast():
                if found is None:
                    found = phases(self.stage.loss(batch, clock))
                losses = next(found, None)
            if losses is None:
                break
            self.update(losses, specs)
            self.tally.add_losses(losses, self.total)
            if losses.unlabelled is not None:
                self.tally.add_scores(losses.unlabelled, self.truth[batch.u_ids], self.labelled[batch.u_ids])
        with torch.no_grad():
            self.method.after_step(clock)

    def update(self, losses: Losses, specs: Mapping[str, Optim]) -> None:
        """Backward through the sum of the terms, then a step of the optimisers that it trains."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]  # torch does not annotate Tensor.backward
        trains = losses.trains or tuple(self.optimizers)
        distributed.average_gradients(p for name in trains for p in part_of(self.method, name))
        distributed.average_buffers(self.method)
        for name in trains:
            clip = specs[name].clip or self.clip
            if clip is not None:
                nn.utils.clip_grad_norm_(part_of(self.method, name), clip)
            self.optimizers[name].step()

    # ---- stages -----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Freeze what the stage does not train, and make its optimisers and its order of images."""
        self.method.requires_grad_(False)
        for path in self.stage.optim:
            for p in part_of(self.method, path):
                p.requires_grad_(True)
        self.optimizers = {k: make_optimizer(part_of(self.method, k), spec) for k, spec in self.stage.optim.items()}
        self.method.train()

    def enter(self) -> None:
        if self.stage.enter is not None:
            with between_steps():
                self.stage.enter(self.data)
        self.selected = None if self.stage.selected is None else self.stage.selected().cpu()
        self.prepare()

    def run(self) -> None:
        """Train to the end of the last stage."""
        self.saved = began = time.monotonic()
        with self.signals():
            while not self.done:
                if self.step == 0 and not self.optimizers:
                    self.enter()
                self.train_stage(began)
                self.stage_index, self.step, self.optimizers, self.selected = self.stage_index + 1, 0, {}, None
        self.seconds += time.monotonic() - began

    def train_stage(self, began: float) -> None:
        stage = self.stage
        streams = self.streams()
        while self.step < stage.steps:
            clock = self.clock()
            self.train_step(self.data.batch(streams, self.step), clock)
            self.step += 1
            self.total += 1
            last = self.step == stage.steps
            if (self.step % clock.epoch_steps == 0 or last) and stage.end_epoch is not None:
                with between_steps():
                    stage.end_epoch(clock, self.data)
                self.method.train()
            for moment in stage.moments:
                if moment.due(self.step):
                    with between_steps():
                        moment.do(clock, self.data)
                    self.method.train()
            elapsed = self.seconds + time.monotonic() - began
            logging = self.total % self.log_every == 0 or last
            if logging:
                self.log(elapsed)
            if self.total % self.eval_every == 0 or self.total == self.total_steps:
                self.evaluate(elapsed)
            self.watcher.at(self.total, self.total_steps, stage.name)
            if distributed.world() == 1 or logging:
                stop = distributed.any_of(bool(self.signum), self.data.device)
                due = time.monotonic() - self.saved >= self.pace.save_every
                if stop or distributed.any_of(due, self.data.device):
                    self.save("last", elapsed)
                    self.saved = time.monotonic()
                if stop:
                    raise Stopped(self.signum, self.total, self.total_steps)

    # ---- log, evaluation, checkpoints -------------------------------------------------------------------------------

    def log(self, elapsed: float) -> None:
        means, bad = self.tally.read()
        if bad is not None:
            raise NotFiniteError(self.describe(*bad))
        rates = {f"lr/{k}": o.param_groups[0]["lr"] for k, o in self.optimizers.items()}
        row = {"step": self.total, "stage": self.stage.name, **means, **rates, "seconds": round(elapsed, 2)}
        self.watcher.logged(row)

    def describe(self, term: str, step: int) -> str:
        good = self.folder / "checkpoints" / "last.pt" if self.folder else None
        where = f"the last good checkpoint is {good}" if good and good.exists() else "no checkpoint had been saved yet"
        return (
            f"the loss term {term} is not finite since step {step} of {self.total_steps}; {where}; "
            "try a smaller learning rate (--set method.optim.lr=...) or --precision fp32"
        )

    def evaluate(self, elapsed: float) -> None:
        """Score every predictor on the held-out labelled images, where there are any; the test set chooses nothing."""
        if not self.judge.watches:
            return
        scores = self.judge.during(self.method)
        self.method.train()
        row: dict[str, Any] = {"step": self.total, "stage": self.stage.name, **scores}
        self.history.append(row)
        self.watcher.evaluated({**row, "seconds": round(elapsed, 2)})
        val = {name: s["val"]["accuracy"] for name, s in scores["predictors"].items() if "val" in s}
        if val:
            name = max(val, key=lambda k: val[k])
            if not self.best or val[name] >= self.best["accuracy"]:
                self.best = {"accuracy": val[name], "predictor": name, "step": self.total}
                self.save("best", elapsed)

    def save(self, which: str, elapsed: float) -> None:
        if self.folder is None:
            return
        if self.tally.spoiled:
            raise NotFiniteError(self.describe(*(self.tally.read()[1] or ("?", self.total))))
        if distributed.rank() == 0:
            # random numbers stand at the same place in every process, so that another number of them can go on
            random = [self.random_state()]
            checkpoint.save(
                self.folder / "checkpoints" / f"{which}.pt", {**self.state(), "random": random, "seconds": elapsed}
            )
        distributed.wait()

    def random_state(self) -> dict[str, Any]:
        cuda = self.data.device.type == "cuda"
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.data.device) if cuda else None,
            "draws": self.draws.generator.get_state(),
        }

    def state(self) -> dict[str, Any]:
        """All that decides what comes next."""
        return {
            "method": self.method.state_dict(),
            "optimizers": {k: o.state_dict() for k, o in self.optimizers.items()},
            "stage": self.stage_index,
            "step": self.step,
            "total": self.total,
            "selected": self.selected,
            "tally": self.tally.state(),
            "best": self.best,
            "history": self.history,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state, exactly: the same numbers come as without the break."""
        self.method.load_state_dict(state["method"])
        self.stage_index, self.step, self.total = state["stage"], state["step"], state["total"]
        self.best, self.history, self.seconds = state["best"], state["history"], state["seconds"]
        if not self.done and (self.step > 0 or state["optimizers"]):
            self.prepare()
            for k, o in self.optimizers.items():
                o.load_state_dict(state["optimizers"][k])
        self.selected = state["selected"]
        self.tally.load(state["tally"], self.data.device)
        random = state["random"][0]
        torch.set_rng_state(random["torch"])
        if random["cuda"] is not None and self.data.device.type == "cuda":
            torch.cuda.set_rng_state(random["cuda"], self.data.device)
        self.draws.generator.set_state(random["draws"])

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end training after the step that runs, with a checkpoint; a second one ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(signum: int, frame: object) -> None:
            if self.signum:
                raise KeyboardInterrupt
            self.signum = signum

        before: dict[int, Callable[..., Any] | int | None] = {}
        for s in (int(signal.SIGINT), int(signal.SIGTERM)):
            before[s] = signal.signal(s, note)
        try:
            yield
        finally:
            for s, handler in before.items():
                signal.signal(s, handler)
