"""A Hugging Face hub on loopback that knows as much of its protocol as uploading and fetching a model take."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

SHA = "0" * 39 + "1"


class Hub:
    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.created: list[dict[str, object]] = []
        self.refuses = 0  # the status of every answer, where it is set
        self.address = ""


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield hub
    server.shutdown()
    server.server_close()


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, told: object = None, body: bytes = b"", **headers: str) -> None:
        payload = body if told is None else json.dumps(told).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "application/octet-stream" if told is None else "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    def do_POST(self) -> None:
        path, hub = urlsplit(self.path).path, self.hub
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if hub.refuses:
            self.answer(hub.refuses, {"error": "no"})
        elif path == "/api/repos/create":
            told = json.loads(body)
            name = f"{told['organization']}/{told['name']}" if told.get("organization") else told["name"]
            hub.created.append({**told, "name": name})
            hub.repos.setdefault(name, {})
            self.answer(200, {"url": f"{hub.address}/{name}"})
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            self.answer(200, {"files": modes})
        elif match := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    hub.repos[match[1]][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer(200, {"commitUrl": f"{hub.address}/{match[1]}/commit/{SHA}", "commitOid": SHA})
        else:
            self.answer(200, {"errors": [], "warnings": []})  # of /api/validate-yaml

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if self.hub.refuses:
            self.answer(self.hub.refuses, {"error": "no"})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/.+|/tree/.+)?", path):
            files = self.hub.repos.get(match[1])
            if files is None:
                self.answer(404, {"error": "no"}, X_Error_Code="RepoNotFound")
            elif (match[2] or "").startswith("/tree/"):
                self.answer(200, [{"type": "file", "path": p, "size": len(b), "oid": oid(b)} for p, b in files.items()])
            else:
                siblings = [{"rfilename": p} for p in files]
                self.answer(
                    200, {"id": match[1], "modelId": match[1], "sha": SHA, "siblings": siblings, "private": False}
                )
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            body = self.hub.repos[match[1]][match[2]]
            self.answer(200, body=body, ETag=f'"{oid(body)}"', X_Repo_Commit=SHA)
        else:
            self.answer(404, {"error": "no"})

    do_HEAD = do_GET  # noqa: N815  # a name of http.server

    def log_message(self, *_: object) -> None:
        pass


def oid(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
