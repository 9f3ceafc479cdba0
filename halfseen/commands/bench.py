"""`halfseen bench`: how fast a step, its parts and the views are here, as ratios of variants that ran in turn."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console

from halfseen.bench import bank
from halfseen.bench.costs import loading, memory, start_up
from halfseen.bench.methods import steps_of
from halfseen.bench.rows import (
    QUICK,
    Bench,
    Row,
    Sizes,
    against_plain,
    dropout_passes,
    host_waits,
    overhead,
    throughput,
    view_rates,
)
from halfseen.bench.show import Sections, machine, print_report
from halfseen.bench.subject import Subject
from halfseen.commands.compare import OUTER_COMMA
from halfseen.errors import UserError
from halfseen.machine.device import keep_large_blocks, pick_device
from halfseen.machine.files import write_json
from halfseen.overrides import pairs
from halfseen.run.budget import counted

__all__ = ["QUICK", "Sizes", "bench"]

FULL = Sizes()


def bench(
    quick: bool,
    device: str,
    out: Path | None,
    sizes: Sizes | None = None,
    methods: Sequence[str] = (),
    net: str | None = None,
    batch: tuple[int, int] | None = None,
    only: Literal["all", "bank"] = "all",
) -> dict[str, Any]:
    """Measure, print the table, write the figures to `out`, and return them.

    methods: nothing but a step of these, over one of the first, with this network and these rows of a step. only: a part.
    """
    if out is not None:
        check_place(out)
    if not methods and (net or batch):
        raise UserError("--net and --batch are for --methods; name methods too, as in --methods fixmatch dnll")
    if methods and only != "all":
        raise UserError(f"--methods and --only {only} are two things to measure; give one of them")
    if methods and len(set(methods)) < 2:
        raise UserError("--methods compares; name two or more, as in --methods mean_teacher dnll")
    if batch and min(batch) < 1:
        raise UserError(f"--batch {batch[0]} {batch[1]}: rows of labelled and of unlabelled images, each 1 or more")
    where = pick_device(device)
    facts = machine(where)
    if where.type == "cpu":
        keep_large_blocks()
    sizes = sizes or (QUICK if quick else Sizes())
    shares: dict[str, dict[str, float]] = {}
    if methods:
        case = dataclasses.replace(sizes.wide, net=net or sizes.wide.net)
        if batch:
            case = dataclasses.replace(case, labelled=batch[0], unlabelled=batch[1])
        rows = measure_methods(where, dataclasses.replace(sizes, wide=case), list(dict.fromkeys(methods)))
    elif only == "bank":
        rows = measure_bank(where, sizes)
    else:
        rows, shares = measure(where, sizes)
    print_report(Console(), facts, rows, shares)
    figures = {"environment": facts, "quick": quick, "rows": [row.as_json() for row in rows], "shares": shares}
    if out is not None:
        write_json(out, figures)
    return figures


def check_place(out: Path) -> None:
    """Found out now rather than after minutes of measuring."""
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; name a file for the figures")
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f"no folder for --out {out} can be made ({e.strerror or e}); choose another place") from e


def measure_methods(device: torch.device, sizes: Sizes, methods: Sequence[str]) -> list[Row]:
    """A step of each, as halfseen.bench.methods has it, and how many images it sends through networks."""
    with Sections(1) as sections:
        task = Bench(device, sizes, sections.tick)
        sections.next("a step of each method")
        subjects, passes = {}, {}
        for told in methods:
            name, _, own = told.partition(":")
            settings = pairs(part for part in OUTER_COMMA.split(own) if part)
            subject = subjects[told] = Subject(sizes.wide, device, bf16=task.bf16, method=name, settings=settings)
            with counted(subject.method) as total:
                subject.step()
            passes[told] = total[0]
        return steps_of(task, subjects, passes)


def measure_bank(device: torch.device, sizes: Sizes) -> list[Row]:
    if device.type != "cpu" or not bank.there():
        raise UserError(
            "--only bank measures a bank of lite0 on a CPU; pip install 'halfseen[lite0]', and leave --device out"
        )
    with Sections(1) as sections:
        return of_bank(sizes, sections)


def of_bank(sizes: Sizes, sections: Sections) -> list[Row]:
    sections.next("a bank of views")
    made = [
        bank.making(side, n, sizes.rounds, (side, n) in FULL.bank.items(), sections.tick)
        for side, n in sizes.bank.items()
    ]
    return made + bank.using(sizes.kept, sizes.kept >= FULL.kept, sections.tick)


def measure(device: torch.device, sizes: Sizes) -> tuple[list[Row], dict[str, dict[str, float]]]:
    """All rows, and for each network the share of each part in a step."""
    rows: list[Row] = []
    shares: dict[str, dict[str, float]] = {}
    with Sections(6 if device.type == "cuda" else 8 + bank.there()) as sections:
        task = Bench(device, sizes, sections.tick)
        sections.next("the plain loop")  # first, while this process holds little memory
        rows += against_plain(task)
        for case, target, rounds in ((sizes.wide, 1.10, sizes.rounds), (sizes.small, 1.5, sizes.small_rounds)):
            sections.next(f"a step of {case.net}")
            subject = task.subject(case)
            rows.append(overhead(task, subject, target, rounds))
            sections.tick("its parts")
            shares[case.net] = subject.shares(rounds * task.times)
            if device.type == "cuda":
                rows.append(host_waits(task, subject))
            del subject
        sections.next("views")
        rows += view_rates(task)
        sections.next("dropout passes")
        rows += dropout_passes(task)
        if device.type == "cuda":
            sections.next("precision and batch")
            rows += throughput(task)
        elif sizes.costs:
            sections.next("decoding a folder")
            rows += loading(sizes.files, sizes.starts, sections.tick)
            sections.next("memory")
            rows += memory(sizes.images, sections.tick)
            if bank.there():
                rows += of_bank(sizes, sections)
            sections.next("starting")
            rows += start_up(sizes.starts, sections.tick)
    return rows, shares
