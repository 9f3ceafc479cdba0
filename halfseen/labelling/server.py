"""The page's server, for one person on this machine.

It listens on loopback only. Every address begins with a token that nobody can guess; a Host that is not this machine's
loopback (a name that was made to point here), or an Origin or Sec-Fetch-Site of another page, is refused. Nothing in an
address is a path of a file: pictures go by number, and are sent as pictures, decoded and encoded again.
"""

import json
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from halfseen.errors import UserError
from halfseen.labelling.desk import Desk
from halfseen.labelling.pictures import SIDES, shown

PAGE = Path(__file__).with_name("page.html")
HOME = "127.0.0.1"
MOST = 64 << 10  # bytes of a request
LONGEST_TAB = 64

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """What does not come from the page itself is answered with 403, before anything else looks at it."""

    def __init__(self, app: App, token: str, port: int) -> None:
        self.app, self.token = app, token
        self.hosts = {f"{name}:{port}" for name in (HOME, "localhost")}
        self.origins = {f"http://{host}" for host in self.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        why = self.refused(scope)
        if why:
            await PlainTextResponse(f"refused: {why}\n", 403)(scope, receive, send)
            return

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                fixed = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
                message["headers"] = [*message["headers"], *fixed, (b"cross-origin-resource-policy", b"same-origin")]
            await send(message)

        await self.app(scope, receive, with_headers)

    def refused(self, scope: Scope) -> str:
        headers = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == b"host"]
        origins = [value for name, value in headers if name == b"origin"]
        sites = [value for name, value in headers if name == b"sec-fetch-site"]
        if len(hosts) != 1 or hosts[0] not in self.hosts:
            return "this address is not the page's own; use the one that the terminal shows"
        if any(origin not in self.origins for origin in origins):
            return "another page may not ask here"
        if scope["method"] != "GET" and any(site != "same-origin" for site in sites):
            return "another page may not answer here"
        given = scope["path"].split("/")[1]
        if not secrets.compare_digest(given.encode(), self.token.encode()):
            return "the token is missing or of an earlier start; use the address that the terminal shows"
        return ""


def make_app(desk: Desk, token: str, port: int) -> App:
    page = PAGE.read_text(encoding="utf-8")

    async def home(request: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        headers = {"content-security-policy": policy, "cache-control": "no-store"}
        return HTMLResponse(page.replace("NONCE", nonce), headers=headers)

    async def state(request: Request) -> Response:
        again = request.query_params.get("again")
        return await told(desk.state, tab_of(request.query_params.get("tab")), None if again is None else number(again))

    async def alike(request: Request) -> Response:
        return await told(desk.alike, request.path_params["id"])

    async def answer(request: Request) -> Response:
        said = await body(request)
        pictures, label, note = said.get("pictures"), said.get("label", ""), said.get("note", "")
        if not isinstance(pictures, list) or not isinstance(label, str) or not isinstance(note, str):
            raise UserError("an answer is {tab, pictures: [{id, saw}], label, note}")
        saw = {}
        for picture in pictures:
            if not isinstance(picture, dict) or not isinstance(picture.get("saw"), str):
                raise UserError("an answer's pictures are [{id, saw}]")
            saw[number(picture.get("id"))] = picture["saw"]
        return await told(desk.answer, tab_of(said.get("tab")), saw, label, note)

    async def undo(request: Request) -> Response:
        said = await body(request)
        return await told(desk.undo, tab_of(said.get("tab")))

    async def picture(request: Request) -> Response:
        i, side = request.path_params["id"], number(request.query_params.get("side", str(SIDES[1])))
        if side not in SIDES:
            raise UserError(f"a picture is shown with a side of {', '.join(map(str, SIDES))}")
        file = desk.pool.folder / desk.pool.paths[desk.checked(i)]
        payload, kind = await run_in_threadpool(shown, file, side)
        return Response(payload, media_type=kind, headers={"cache-control": "private, max-age=3600"})

    async def sentence(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, 400)

    routes = [
        Route("/", home),
        Route("/state", state),
        Route("/alike/{id:int}", alike),
        Route("/picture/{id:int}", picture),
        Route("/answer", answer, methods=["POST"]),
        Route("/undo", undo, methods=["POST"]),
    ]
    app = Starlette(routes=[Mount(f"/{token}", routes=routes)], exception_handlers={UserError: sentence})
    return Guard(app, token, port)


async def told(work: Callable[..., Any], *given: Any) -> Response:
    return JSONResponse(await run_in_threadpool(work, *given), headers={"cache-control": "no-store"})


async def body(request: Request) -> dict[str, Any]:
    """JSON, which a form of another page cannot send."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise UserError("an answer is sent as application/json")
    found = b""
    async for part in request.stream():
        found += part
        if len(found) > MOST:
            raise UserError("the answer is too long")
    try:
        said = json.loads(found)
    except (ValueError, RecursionError) as e:
        raise UserError("the answer is no JSON") from e
    if not isinstance(said, dict):
        raise UserError("an answer is a JSON object")
    return said


def tab_of(given: Any) -> str:
    if not isinstance(given, str) or not 0 < len(given) <= LONGEST_TAB:
        raise UserError("a tab has a name of its own: reload the page")
    return given


def number(given: Any) -> int:
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    if isinstance(given, str) and given.isdecimal() and given.isascii() and len(given) < 10:
        return int(given)
    raise UserError("a picture has a number: reload the page")


def listening(port: int) -> socket.socket:
    """A socket on loopback; port 0: any that is free."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOME, port))
        found.listen(64)
    except (OSError, OverflowError) as e:
        found.close()
        raise UserError(f"port {port} of this machine cannot be used ({e}); leave out --port, or choose another") from e
    return found


def serve(app: App, listener: socket.socket) -> None:
    """Until Ctrl-C."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listener])
