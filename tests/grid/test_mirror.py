"""Run folders in a bucket: nothing half-written is taken for finished, whatever the connection does."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from halfseen.cli import main
from halfseen.errors import UserError
from halfseen.grid.mirror import Mirror

WORDS = [
    "compare",
    "blobs",
    "--methods",
    "supervised",
    "--num-labels",
    "8",
    "--seeds",
    "1",
    "--batch",
    "8",
    "--steps",
    "5",
]
WORDS += ["--threads", "1", "--no-report"]


def a_run(place: Path) -> Path:
    run = place / "fixmatch-8-0"
    (run / "model").mkdir(parents=True)
    (run / "metrics.json").write_text("{}")
    (run / "model" / "weights.bin").write_bytes(os.urandom(300_000))
    return run


def tree(run: Path) -> dict[str, bytes]:
    return {p.relative_to(run).as_posix(): p.read_bytes() for p in run.rglob("*") if p.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Mirror:
    (tmp_path / "bucket").mkdir()
    return Mirror(f"file://{tmp_path}/bucket", pause=0)


def test_there_and_back(folder: Mirror, tmp_path: Path) -> None:
    run = a_run(tmp_path)
    assert folder.finished() == set()
    folder.upload(run, "table/fixmatch-8-0")
    assert folder.finished() == {"table/fixmatch-8-0"}
    back = tmp_path / "other" / "fixmatch-8-0"
    back.mkdir(parents=True)
    (back / "config.json").write_text("begun here")
    folder.fetch("table/fixmatch-8-0", back)
    assert tree(back) == tree(run)


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_what_is_not_whole_is_not_taken(damage: str, folder: Mirror, tmp_path: Path) -> None:
    folder.upload(a_run(tmp_path), "r")
    stored = tmp_path / "bucket" / "runs" / "r" / "model" / "weights.bin"
    payload = stored.read_bytes()
    if damage == "gone":
        stored.unlink()
    else:
        stored.write_bytes(payload[:1000] if damage == "cut" else b"x" + payload[1:])
    with pytest.raises(UserError):
        folder.fetch("r", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_half_written_upload_is_nothing(folder: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, done = a_run(tmp_path), []
    real = folder.fs.pipe_file

    def once(*args: Any, **more: Any) -> Any:
        if done:
            raise OSError("the line is dead")
        done.append(args)
        return real(*args, **more)

    monkeypatch.setattr(folder.fs, "pipe_file", once)
    with pytest.raises(UserError, match=r"cannot be written \(OSError: the line is dead\), tried 4 times"):
        folder.upload(run, "r")
    assert folder.finished() == set()


def test_a_list_that_points_outside_is_refused(folder: Mirror, tmp_path: Path) -> None:
    folder.upload(a_run(tmp_path), "r")
    (tmp_path / "bucket" / "finished" / "r.json").write_text(json.dumps({"../../evil": [0, ""]}))
    with pytest.raises(UserError, match="outside of it"):
        folder.fetch("r", tmp_path / "deep" / "back")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [("bucket", "is no address"), ("nosuch://b/p", "cannot be used"), ("file:///nosuch/b", "there is no")],
)
def test_wrong_addresses(url: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Mirror(url, pause=0).finished()


def test_two_machines_share_by_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bucket").mkdir()
    words = [*WORDS, "--mirror", f"file://{tmp_path}/bucket"]
    main([*words, "--out", str(tmp_path / "one")])
    capsys.readouterr()
    main([*words, "--out", str(tmp_path / "two")])
    assert "1 runs, 1 of them finished already" in capsys.readouterr().err
    assert (tmp_path / "two" / "supervised-8-0" / "model").is_dir()
    with pytest.raises(SystemExit):  # what comes from there is of the same settings, or refused
        main([w if w != "5" else "6" for w in words] + ["--out", str(tmp_path / "three")])
    assert "was run with --steps 5" in capsys.readouterr().err


# ---- S3 ---------------------------------------------------------------------------------------------------------------


class Proxy(BaseHTTPRequestHandler):
    """Before moto's server: what it is told to do to the next requests, it does to them."""

    protocol_version = "HTTP/1.1"  # which answers Expect: 100-continue
    upstream: int
    mischief: list[str]

    def handle_one(self) -> None:
        self.close_connection = True
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        todo = self.mischief.pop(0) if self.mischief else ""
        if todo == "500":
            self.send_error(500)
            return
        if todo == "stall":
            time.sleep(4)
            return
        with socket.create_connection(("127.0.0.1", self.upstream)) as up:
            lines = [f"{self.command} {self.path} HTTP/1.0"]
            lines += [f"{k}: {v}" for k, v in self.headers.items() if k.lower() not in ("connection", "expect")]
            up.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
            reply = b""
            while part := up.recv(65536):
                reply += part
        self.wfile.write(reply[: len(reply) // 2] if todo == "cut" else reply)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one  # noqa: N815  # names of http.server

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """An S3 on loopback with the bucket `runs`; the list is what happens to the next requests."""
    from moto.server import ThreadedMotoServer  # here: it takes a second, which most of this file need not wait

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    _, port = moto.get_host_and_port()
    urlopen(Request(f"http://127.0.0.1:{port}/moto-api/reset", method="POST")).close()  # it outlives its server
    mischief: list[str] = []
    handler = type("Handler", (Proxy,), {"upstream": port, "mischief": mischief})
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    told = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nosuch",
        "AWS_SHARED_CREDENTIALS_FILE": "/nosuch",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    mirror("runs").fs.mkdir("runs")
    yield mischief
    proxy.shutdown()
    proxy.server_close()
    moto.stop()


def mirror(place: str) -> Mirror:
    return Mirror(f"s3://{place}", pause=0, patience={"read_timeout": 1, "retries": {"max_attempts": 0}})


@pytest.mark.parametrize("todo", [["500", "500"], ["stall"], ["cut", "500", "cut"]], ids=["500", "stalls", "cuts"])
def test_a_bucket_that_misbehaves_is_asked_again(todo: list[str], s3: list[str], tmp_path: Path) -> None:
    run, there = a_run(tmp_path), mirror("runs/some/where")
    s3 += todo
    there.upload(run, "t/r")
    s3 += todo
    assert there.finished() == {"t/r"}
    s3 += todo
    there.fetch("t/r", tmp_path / "back")
    assert tree(tmp_path / "back") == tree(run)
    assert not s3


def test_a_bucket_that_stays_broken_leaves_nothing_that_looks_finished(s3: list[str], tmp_path: Path) -> None:
    run, there = a_run(tmp_path), mirror("runs/p")
    s3 += ["", *["500"] * 1000]
    with pytest.raises(UserError, match="cannot be written"):
        there.upload(run, "r")
    s3.clear()
    assert there.finished() == set()
    there.upload(run, "r")
    s3 += ["", *["cut"] * 1000]
    with pytest.raises(UserError, match="cannot be read"):
        there.fetch("r", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_no_bucket_and_no_credentials(s3: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="there is no s3://nosuch/p; make the bucket first"):
        mirror("nosuch/p").finished()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UserError, match="there are no credentials for s3://runs/p; set AWS_ACCESS_KEY_ID"):
        mirror("runs/p").finished()
