"""Run folders in a bucket, where machines share no disk: finished ones go up, and come down before anything starts.

    PREFIX/runs/NAME/...           the files of the run's folder
    PREFIX/finished/NAME.json      their sizes and digests, written last: without it nothing of NAME counts

What comes down is put together beside its place, checked against the list, and renamed: neither a broken connection nor a
bucket that is half written can make a run look finished.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from halfseen.errors import UserError, quoted

T = TypeVar("T")
TRIES = 4
PAUSE = 1.0  # seconds before the second try; twice as long before each further one
PATIENCE = {"connect_timeout": 10, "read_timeout": 30, "retries": {"max_attempts": 2}}  # of S3
SKIPPED = ("last.pt",)  # of a finished run: what only going on would need


class Mirror:
    def __init__(self, url: str, pause: float = PAUSE, patience: dict[str, Any] | None = None) -> None:
        self.url, self.pause = url.rstrip("/"), pause
        self.fs, self.root = open_bucket(self.url, PATIENCE | (patience or {}))

    def finished(self) -> set[str]:
        """Names of the runs that are there as a whole; a sentence if the bucket cannot be asked."""

        def ask() -> set[str]:
            start = f"{self.root}/finished/"
            found = self.fs.find(start.rstrip("/"))
            if not found:
                self.need_home()
            return {name.removeprefix(start).removesuffix(".json") for name in found if name.endswith(".json")}

        return self.tried(ask, "be read")

    def need_home(self) -> None:
        """Nothing is found in a bucket that is not there, too. `exists` would take a 500 for an answer."""
        if self.url.startswith("s3://"):
            self.fs.call_s3("head_bucket", Bucket=self.root.partition("/")[0])
        elif not self.fs.exists(self.root):
            raise FileNotFoundError(self.root)

    def upload(self, run: Path, name: str) -> None:
        files = sorted(p for p in run.rglob("*") if p.is_file() and p.name not in SKIPPED)
        listed = {}
        for path in files:
            file, payload = path.relative_to(run).as_posix(), path.read_bytes()
            listed[file] = [len(payload), hashlib.sha256(payload).hexdigest()]
            self.put(f"runs/{name}/{file}", payload)
        self.put(f"finished/{name}.json", json.dumps(listed).encode())

    def put(self, place: str, payload: bytes) -> None:
        self.tried(lambda: self.fs.pipe_file(f"{self.root}/{place}", payload), "be written")

    def fetch(self, name: str, run: Path) -> None:
        """Put the run into its folder, whole; what was begun there gives way."""
        beside = run.with_name(f".{run.name}.fetched")
        shutil.rmtree(beside, ignore_errors=True)
        listed = self.tried(lambda: json.loads(self.fs.cat_file(f"{self.root}/finished/{name}.json")), "be read")
        for file, (size, digest) in listed.items():

            def get(file: str = file, size: int = size, digest: str = digest) -> bytes:
                payload: bytes = self.fs.cat_file(f"{self.root}/runs/{name}/{file}")
                if len(payload) != size or hashlib.sha256(payload).hexdigest() != digest:
                    raise OSError(f"{file} came with {len(payload)} of {size} bytes, or with other ones")
                return payload

            path = beside / file
            if not path.resolve().is_relative_to(beside.resolve()):
                raise UserError(
                    f"the list of {name} in {self.url} names {quoted(file)}, outside of it; remove it there"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.tried(get, "be read"))
        if not (beside / "metrics.json").is_file():
            shutil.rmtree(beside, ignore_errors=True)
            raise UserError(f"{name} in {self.url} has no metrics.json; remove its finished/{name}.json there")
        if run.exists():
            shutil.rmtree(run)
        beside.rename(run)

    def tried(self, do: Callable[[], T], what: str) -> T:
        """Several times: a bucket answers 500, stalls or cuts the body now and then."""
        for turn in range(TRIES):
            try:
                return do()
            except Exception as e:  # of fsspec, botocore, aiohttp: there is no common one
                final = sentence(e, self.url)
                if final:
                    raise UserError(final) from e
                if turn == TRIES - 1:
                    raise UserError(
                        f"{self.url} cannot {what} ({type(e).__name__}: {str(e)[:200]}), tried {TRIES} times; nothing is "
                        "lost here, run the same again when it answers"
                    ) from e
                time.sleep(self.pause * 2**turn)
        raise AssertionError("unreachable")


def sentence(e: BaseException, url: str) -> str:
    """What to do about an error that no second try mends; nothing for the others."""
    names = set()
    at: BaseException | None = e
    while at is not None:
        names.add(type(at).__name__)
        said = getattr(at, "response", None)  # of botocore's: a dict, or nothing
        if isinstance(said, dict):
            names.add(said.get("Error", {}).get("Code", ""))
        at = at.__cause__ or at.__context__
    if names & {"NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError"}:
        return f"there are no credentials for {url}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`"
    if names & {"PermissionError", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"}:
        return f"the credentials at hand may not use {url}; give others, or another --mirror"
    if names & {"NoSuchBucket", "FileNotFoundError"}:
        return f"there is no {url}; make the bucket first, or give another --mirror"
    return ""


def open_bucket(url: str, patience: dict[str, Any]) -> tuple[Any, str]:
    """The file system behind a URL, and the path in it."""
    if "://" not in url:
        raise UserError(f"--mirror {url} is no address; write it like s3://bucket/prefix")
    try:
        import fsspec

        more: dict[str, Any] = {}
        if url.startswith("s3://"):
            more = {"config_kwargs": patience, "default_cache_type": "none"}
        if url.startswith("file://"):
            more = {"auto_mkdir": True}
        fs, root = fsspec.core.url_to_fs(url, skip_instance_cache=True, use_listings_cache=False, **more)
    except ImportError as e:
        raise UserError(f"--mirror {url} needs its extra; run pip install 'halfseen[fleet]' ({e})") from e
    except ValueError as e:  # a protocol that fsspec does not know
        raise UserError(f"--mirror {url} cannot be used ({e}); write it like s3://bucket/prefix") from e
    return fs, str(root).rstrip("/")
