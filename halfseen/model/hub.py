"""Models on the Hugging Face hub, hf:USER/NAME, as `halfseen push` leaves them there (extra `hub`).

HF_ENDPOINT names another hub; tokens are those of `hf auth login` or $HF_TOKEN.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from halfseen.errors import UserError, quoted

MARK = "hf:"
NAME = re.compile(r"[\w.-]+/[\w.-]+")
DEFAULT = "https://huggingface.co"


def name_of(text: str) -> str:
    """USER/NAME out of itself or of hf:USER/NAME."""
    name = text.removeprefix(MARK)
    if not NAME.fullmatch(name):
        raise UserError(f"{quoted(text)} is no name of a model on the hub; write it like user/name")
    return name


def api() -> Any:
    try:
        from huggingface_hub import HfApi
    except ImportError as e:
        raise UserError("the hub needs its extra; run pip install 'halfseen[hub]'") from e
    return HfApi(endpoint=endpoint())


def endpoint() -> str:
    return os.environ.get("HF_ENDPOINT") or DEFAULT


def fetched(text: str) -> Path:
    """The folder of a model of the hub, in the hub's own cache; what is there already is not fetched again."""
    name, hub = name_of(text), api()
    try:
        folder = Path(hub.snapshot_download(name, allow_patterns=["model/*"]))
    except Exception as e:  # of the client, its HTTP library and the system: what they have in common is the name
        raise UserError(why(e, name, "read")) from e
    about = folder / "model" / "model.json"
    try:
        told = json.loads(about.read_text())
        parts = [told["method"], told["net"], told.get("backbone", {}).get("name", "")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise UserError(f"hf:{name} holds no model of halfseen; name one that `halfseen push` made") from e
    foreign = [part for part in parts if ".py" in str(part)]
    if foreign:  # loading it would run what a stranger wrote
        raise UserError(
            f"hf:{name} needs code of its own ({quoted(str(foreign[0]))}), which is not run from the hub; ask its author "
            "for the run's folder, and read the file before you load it"
        )
    return folder


def why(e: BaseException, name: str, what: str) -> str:
    """One sentence for what the hub, or the way to it, has against reading or writing hf:NAME."""
    kinds, status = set(), set()
    at: BaseException | None = e
    while at is not None:
        kinds |= {kind.__name__ for kind in type(at).__mro__}
        status.add(getattr(getattr(at, "response", None), "status_code", None))
        at = at.__cause__ or at.__context__
    if what == "written" and (status & {401, 403} or kinds & {"LocalTokenNotFoundError", "RepositoryNotFoundError"}):
        return (
            f"hf:{name} may not be written with the token at hand; run `hf auth login`, or push to a name of your own"
        )
    if kinds & {"RepositoryNotFoundError", "GatedRepoError"} or status & {401, 403, 404}:
        return f"there is no hf:{name}, or you may not read it; check the name, or run `hf auth login`"
    if kinds & {
        "ConnectError",
        "TimeoutException",
        "OfflineModeIsEnabled",
        "ConnectionError",
        "LocalEntryNotFoundError",
    }:
        return f"{endpoint()} does not answer, so hf:{name} could not be {what}; check the connection, and try again"
    lines = str(e).strip().splitlines() or [type(e).__name__]
    return f"hf:{name} could not be {what} ({lines[0][:200]}); try again later"
