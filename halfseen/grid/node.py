"""What a machine must have to do a run: this halfseen, and the folder of the runs. Asked by Ray before anything starts."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import halfseen
from halfseen.errors import UserError

PASSED_ON = ("HALFSEEN_DATA", "HALFSEEN_CACHE", "PYTHONPATH")  # of the environment, to whoever runs elsewhere


def code() -> str:
    """The version, and a digest of the package's files: two checkouts may both call themselves 0.1.0."""
    digest = hashlib.sha256()
    home = Path(halfseen.__file__).parent
    for path in sorted(home.rglob("*.py")):
        digest.update(str(path.relative_to(home)).encode() + b"\0" + path.read_bytes())
    return f"{halfseen.__version__} ({digest.hexdigest()[:12]})"


def need_same_code(asked: str, host: str) -> None:
    if asked != code():
        raise UserError(
            f"{host} has halfseen {code()} and this machine {asked}; install the same version on both, or use one checkout "
            "on a disk that both see"
        )


def passed_on() -> dict[str, str]:
    """Environment for a run elsewhere; paths in it as they are from the root."""
    found = {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)}
    return {k: os.pathsep.join(os.path.abspath(p) for p in v.split(os.pathsep) if p) for k, v in found.items()}


def complaint(host: str, found: Mapping[str, Any], out: Path, asked: str, shared: bool) -> str:
    """What is wrong with a node that answered; nothing if all is well."""
    if found["code"] != asked:
        has = f"has halfseen {found['code']}" if found["code"] else "has no halfseen"
        return f"the node {host} {has} and this machine {asked}; install the same version on both"
    if shared and not found["sees"]:
        return f"the node {host} does not see {out}; give an --out on a disk that all nodes share, or --mirror s3://BUCKET/PREFIX"
    return ""
