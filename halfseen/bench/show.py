"""The bench's table, its JSON, and what machine the figures are from."""

import os
import platform
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from halfseen.bench.rows import Row
from halfseen.machine.environment import environment
from halfseen.machine.progress import stderr


def machine(device: torch.device) -> dict[str, Any]:
    """Where the figures are from, and how busy it was before the bench began."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {**environment(device), "cpu": cpu_model(), "cores": cores, "load": load}


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine_lines(facts: dict[str, Any]) -> list[str]:
    gpu = "" if facts["device"] == "cpu" else f", {facts['device']}"
    load = "" if facts["load"] is None else f", load {facts['load']:.1f}"
    lines = [f"{facts['cpu']}, {facts['cores']} cores, {facts['threads']} threads{load}{gpu}, torch {facts['torch']}"]
    if facts["load"] is not None and facts["load"] > facts["cores"] / 2:
        lines.append(
            "Other work keeps this machine busy: the figures are noisy, and a quiet hour will give better ones."
        )
    return lines


def figure(row: Row) -> str:
    if row.unit == "x":
        return f"{row.value:.2f}x"
    if row.unit == "s":
        return f"{row.value:.2f} s"
    return f"{row.value:,.0f} {row.unit}".rstrip()


def wanted(row: Row) -> str:
    if row.target is None:
        return ""
    sign = "≥" if row.at_least else "≤"
    number = {"x": f"{row.target:.2f}x", "s": f"{row.target:g} s"}.get(row.unit, f"{row.target:,.0f}")
    if row.met is None:
        return f"{sign} {number} at full size"
    return f"{sign} {number} {'met' if row.met else 'missed'}"


def print_report(console: Console, facts: dict[str, Any], rows: list[Row], shares: dict[str, dict[str, float]]) -> None:
    for line in machine_lines(facts):
        console.print(line)
    table = Table(box=None, pad_edge=False)
    table.add_column("figure", justify="right", no_wrap=True)
    table.add_column("target", no_wrap=True)
    table.add_column("of what")
    for row in rows:
        table.add_row(figure(row), wanted(row), row.says)
    console.print(table)
    if shares:
        console.print(share_table(shares))


def share_table(shares: dict[str, dict[str, float]]) -> Table:
    """Parts of a step down, networks across."""
    table = Table(box=None, pad_edge=False, title="share of a step", title_justify="left")
    table.add_column("part")
    for net in shares:
        table.add_column(net, justify="right")
    parts = dict.fromkeys(part for of_net in shares.values() for part in of_net)
    for part in sorted(parts, key=lambda p: -max(of_net.get(p, 0.0) for of_net in shares.values())):
        table.add_row(part, *(f"{of_net.get(part, 0.0):.1%}" for of_net in shares.values()))
    return table


class Sections:
    """What is being measured: a bar on a terminal, a line for each section elsewhere.

    It is drawn between measurements only: a thread that redraws it would take its time from what is timed.
    """

    def __init__(self, count: int) -> None:
        self.console = stderr()
        columns = (BarColumn(bar_width=20), TextColumn("{task.description}"), TimeElapsedColumn())
        live = self.console.is_terminal
        self.bar = Progress(*columns, console=self.console, transient=True, auto_refresh=False, disable=not live)
        self.task = self.bar.add_task("", total=count)
        self.section, self.begun = "", 0

    def __enter__(self) -> "Sections":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def next(self, section: str) -> None:
        self.section = section
        self.bar.update(self.task, completed=self.begun)
        self.begun += 1
        self.tick("")
        if self.bar.disable:
            self.console.print(f"measuring {section}")

    def tick(self, text: str) -> None:
        self.bar.update(self.task, description=f"{self.section} {text}", refresh=True)
