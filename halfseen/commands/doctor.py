"""What is installed and at hand, for a person who wonders why something is slow or missing, and for reports of bugs."""

import importlib.metadata
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from halfseen.data.cache import default_cache_dir
from halfseen.machine.environment import environment
from halfseen.machine.progress import Display

NEEDED = re.compile(r"([A-Za-z0-9_.-]+).*extra == .(\w+).")  # one line of a package's metadata
BEHIND = {
    "fleet": "Ray, Slurm and S3",
    "hub": "hf:NAME",
    "lite0": "a backbone",
    "pretrained": "backbones of transformers",
}


def doctor(as_json: bool) -> None:
    found = {"versions": versions(), "device": device(), "extras": extras(), "folders": folders()}
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for part, rows in found.items():
        print(part)
        for name, value in rows.items():
            print(f"  {name:<12} {value}")


def versions() -> dict[str, Any]:
    told = environment(torch.device("cpu"))
    return {k: told[k] for k in ("halfseen", "git", "python", "torch", "numpy", "platform")}


def device() -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, Any] = {"cpu": f"{cores} of {os.cpu_count()} cores, {torch.get_num_threads()} threads of torch"}
    for i in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(i)
        found[f"cuda:{i}"] = f"{torch.cuda.get_device_name(i)}, {size(free)} of {size(total)} free"
    if not torch.cuda.device_count():
        found["gpu"] = "none that torch sees" + ("" if torch.version.cuda else "; this torch is built without CUDA")
    return found


def extras() -> dict[str, str]:
    """Of each extra what is installed, or how to get it."""
    needed: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("halfseen") or []:
        if match := NEEDED.match(line):
            needed.setdefault(match[2], []).append(match[1])
    return {extra: standing(extra, packages) for extra, packages in sorted(needed.items()) if extra != "dev"}


def standing(extra: str, packages: list[str]) -> str:
    have, missing = [], []
    for package in packages:
        try:
            have.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    if not missing:
        return ", ".join(have)
    what = f"; it is for {BEHIND[extra]}" if extra in BEHIND else ""
    return f"no {' and no '.join(missing)}: pip install 'halfseen[{extra}]'{what}"


def folders() -> dict[str, str]:
    """Where things are kept, and how much it is; a large cache takes a while to count."""
    data = Path(os.environ.get("HALFSEEN_DATA") or "data")
    hub = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    places = {"cache": default_cache_dir(), "data": data, "hub": hub, "runs": Path("runs")}
    return {name: held(place) for name, place in places.items()}


def held(place: Path) -> str:
    if not place.is_dir():
        return f"{place.absolute()} (not there yet)"
    Display(False).say(f"counting {place.absolute()}")
    files = [f.stat() for f in place.rglob("*") if f.is_file() and not f.is_symlink()]
    total = size(sum(f.st_size for f in files))
    return f"{place.absolute()}: {total} in {len(files):,} files, {size(shutil.disk_usage(place).free)} free"


def size(n: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if n < 1024:
            return f"{n:,.0f} {unit}"
        n = n / 1024
    return f"{n:,.1f} GiB"
