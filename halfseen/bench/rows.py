"""What the bench measures: each function times one thing and returns its rows."""

import math
import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from halfseen.bench.subject import Bare, Case, Subject, synthetic
from halfseen.bench.timing import Timed, in_turn, ratio, timed, wait_for
from halfseen.bench.worker import Worker
from halfseen.data import choose_split
from halfseen.draws import Draws
from halfseen.model.build import views
from halfseen.model.facts import Facts
from halfseen.nets import make_net
from halfseen.nets.net import Net
from halfseen.parts.mcdropout import mc_logits

FULL_BATCH = (64, 448)  # the targets are stated for it
SYNC_STEPS = 20
MC_PASSES = 10  # T of ComMatch
LARGE_NEEDS = 40 << 30  # bytes of a GPU's memory for the large batch
WIDE = Case("wrn-28-2", (3, 32, 32), *FULL_BATCH)
SMALL = Case("small", (1, 28, 28), *FULL_BATCH)


@dataclass(frozen=True)
class Row:
    """One figure, and what it should be."""

    name: str
    value: float
    unit: str
    says: str
    target: float | None = None
    at_least: bool = False  # else: at most
    at_target_size: bool = True  # False: the target is for a larger batch
    seconds: dict[str, list[float]] = field(default_factory=dict)  # of each variant, round by round

    @property
    def met(self) -> bool | None:
        """None: there is no target, or it is for another size."""
        if self.target is None or not self.at_target_size:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    def as_json(self) -> dict[str, Any]:
        kind = "at least" if self.at_least else "at most"
        target = None if self.target is None else {kind: self.target, "applies_to_this_size": self.at_target_size}
        head = {"name": self.name, "value": self.value, "unit": self.unit, "says": self.says}
        return {**head, "target": target, "met": self.met, "seconds": self.seconds}


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    wide: Case = WIDE
    small: Case = SMALL
    large_batch: tuple[int, int] | None = (512, 3584)  # CUDA only
    rounds: int = 5
    small_rounds: int = 9  # of what takes less than a second
    view_rows: int = 448
    mc_rows: int = 64  # of the T passes
    leads: bool = True
    compiled: bool = True  # CUDA only
    patience: float = math.inf  # seconds for a comparison, after which two rounds are enough
    files: int = 10_000  # JPEG files to decode
    images: tuple[int, int] = (50_000, 500_000)  # memory-mapped, to train on
    starts: int = 3  # of each command
    bank: Mapping[int, int] = field(default_factory=lambda: {96: 256, 224: 64})  # pictures of a bank by their side
    kept: int = 5_000  # of a bank to train on
    costs: bool = True  # measure these five at all


QUICK = Sizes(
    wide=replace(WIDE, labelled=8, unlabelled=56),
    large_batch=None,
    rounds=3,
    small_rounds=5,
    leads=False,
    compiled=False,
    patience=8.0,
    files=400,
    images=(5_000, 50_000),
    bank={96: 32},
    kept=500,
    starts=1,
)

Tick = Callable[[str], None]


@dataclass(frozen=True)
class Bench:
    """Where and how much to measure, and whom to tell that it goes on."""

    device: torch.device
    sizes: Sizes
    tick: Tick

    @property
    def bf16(self) -> bool:
        return self.device.type == "cuda"

    @property
    def times(self) -> int:
        """Steps to a reading: on a GPU the host must be able to run ahead."""
        return 10 if self.device.type == "cuda" else 1

    def in_turn(self, variants: Mapping[str, Timed], rounds: int, warm: int = 1) -> dict[str, list[float]]:
        return in_turn(variants, rounds, warm, self.tick, self.sizes.patience)

    def subject(self, case: Case) -> Subject:
        return Subject(case, self.device, bf16=self.bf16)


def overhead(bench: Bench, subject: Subject, target: float, rounds: int) -> Row:
    """The whole step over the passes in it."""
    bare = Bare(subject)
    variants = {
        "step": timed(subject.step, bench.device, bench.times),
        "passes": timed(bare.step, bench.device, bench.times),
    }
    seconds = bench.in_turn(variants, rounds)
    case = subject.case
    says = f"a step over the bare passes in it: {case.net}, {case.size}"
    on_cpu = bench.device.type == "cpu"  # the targets are the CPU's
    return Row(
        f"overhead/{case.net}",
        ratio(seconds["step"], seconds["passes"]),
        "x",
        says,
        target if on_cpu else None,
        at_target_size=case.batch == FULL_BATCH,
        seconds=seconds,
    )


def against_plain(bench: Bench) -> list[Row]:
    """The library's step against the loop everyone writes, and what each of its leads is worth."""
    case, on_cpu = bench.sizes.wide, bench.device.type == "cpu"

    def worker(variant: str) -> Worker:
        return Worker(variant, case, bench.device, bench.times)

    with worker("halfseen") as ours:
        with worker("plain") as plain:
            seconds = bench.in_turn({"plain": plain.step, "halfseen": ours.step}, bench.sizes.rounds)
        speedup = Row(
            f"speedup/{case.net}",
            ratio(seconds["plain"], seconds["halfseen"]),
            "x",
            f"faster than the plain loop: {case.net}, {case.size}",
            2.5 if on_cpu else None,
            at_least=True,
            at_target_size=case.batch == FULL_BATCH,
            seconds=seconds,
        )
        rows = [speedup]
        leads = {"channels-last": "contiguous", "kept blocks": "own blocks", "no gradient for weak views": "joint"}
        for lead, without in leads.items() if bench.sizes.leads and on_cpu else ():
            with worker(without) as other:
                seconds = bench.in_turn({"without": other.step, "with": ours.step}, bench.sizes.rounds)
            gain = ratio(seconds["without"], seconds["with"])
            rows.append(Row(f"lead/{lead}", gain, "x", f"of this thanks to {lead}", seconds=seconds))
    return rows


def view_rates(bench: Bench) -> list[Row]:
    """Images a second through the weak and the strong views, on one core of a CPU."""
    rows = []
    for case in (bench.sizes.wide, bench.sizes.small):
        c, h, w = case.shape
        images = synthetic(case.shape, max(bench.sizes.view_rows, 100))
        split = choose_split(images.y, images.given, num_labels=10, seed=0, val="none")
        view = views(Facts.of(images, split), bench.device, Draws.seeded(0, bench.device))
        x = images.x[: bench.sizes.view_rows].to(bench.device)
        kind = "grey" if c == 1 else "colour"
        for policy, called in (("ra", "strong"), ("fm", "weak")):
            with one_thread():
                run = timed(partial(view(policy), x), bench.device, 5)
                seconds = bench.in_turn({"view": run}, bench.sizes.small_rounds, warm=2)
            target = 15_000.0 if policy == "ra" and c == 3 and bench.device.type == "cpu" else None
            rate = len(x) / statistics.median(seconds["view"])
            where = "one core" if bench.device.type == "cpu" else "the device"
            says = f"{called} views on {where}: {h}x{w} {kind}"
            full = (h, w) == (32, 32) and len(x) == FULL_BATCH[1]
            rows.append(Row(f"views/{kind}/{policy}", rate, "images/s", says, target, True, full, seconds))
    return rows


def dropout_passes(bench: Bench) -> list[Row]:
    """ComMatch's T passes with dropout over T forwards without gradient of the same rows."""
    rows = []
    for case in (bench.sizes.wide, bench.sizes.small):
        net = make_net(case.net, classes=10, shape=case.shape, dropout=0.3).to(bench.device)
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs know it for tensors only
        view = torch.randn(bench.sizes.mc_rows, *case.shape, device=bench.device)
        view = view.contiguous(memory_format=torch.channels_last)

        @torch.no_grad()
        def forwards(net: Net = net, view: Tensor = view) -> None:
            for _ in range(MC_PASSES):
                net(view)

        variants = {
            "passes": timed(partial(mc_logits, net, view, MC_PASSES), bench.device),
            "forwards": timed(forwards, bench.device),
        }
        seconds = bench.in_turn(variants, bench.sizes.rounds)
        says = f"{MC_PASSES} dropout passes over {MC_PASSES} bare forwards of {case.net}, {len(view)} rows"
        value = ratio(seconds["passes"], seconds["forwards"])
        rows.append(Row(f"dropout passes/{case.net}", value, "x", says, 1.05, seconds=seconds))
    return rows


def throughput(bench: Bench) -> list[Row]:
    """On a GPU: images a second by batch, precision and compilation."""
    rows: list[Row] = []
    batches = [bench.sizes.wide.batch]
    if bench.sizes.large_batch and torch.cuda.mem_get_info(bench.device)[0] > LARGE_NEEDS:
        batches.append(bench.sizes.large_batch)
    for labelled, unlabelled in batches:
        case = Case(bench.sizes.wide.net, bench.sizes.wide.shape, labelled, unlabelled)
        kinds = {"fp32": (False, False), "bf16": (True, False)}
        if bench.sizes.compiled:
            kinds["bf16, compiled"] = (True, True)
        subjects = {
            kind: Subject(case, bench.device, bf16=bf16, compiled=compiled) for kind, (bf16, compiled) in kinds.items()
        }
        runs = {kind: timed(s.step, bench.device, bench.times) for kind, s in subjects.items()}
        seconds = bench.in_turn(runs, bench.sizes.rounds)
        for kind, took in seconds.items():
            says = f"through a step in {kind}: {case.net}, {case.size}"
            rate = sum(case.batch) / statistics.median(took)
            rows.append(Row(f"step/{labelled}+{unlabelled}/{kind}", rate, "images/s", says, seconds={kind: took}))
        del subjects, runs
        torch.cuda.empty_cache()
    return rows


def host_waits(bench: Bench, subject: Subject) -> Row:
    """How often the host waited for the GPU in 20 steps."""
    subject.step()
    wait_for(bench.device)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            for _ in range(SYNC_STEPS):
                subject.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = [w for w in caught if "synchronizing CUDA operation" in str(w.message)]
    places = sorted({f"{w.filename}:{w.lineno}" for w in waits})
    says = f"waits of the host for the device in {SYNC_STEPS} steps of {subject.case.net}"
    return Row(f"host waits/{subject.case.net}", len(waits), "", "; ".join([says, *places]), 0)


@contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
