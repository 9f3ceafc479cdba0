"""What the page's server answers, and whom it refuses: other hosts, other pages, no token, paths, what is no answer."""

import asyncio
import io
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from halfseen.errors import UserError
from halfseen.labelling.desk import Desk
from halfseen.labelling.pictures import shown
from halfseen.labelling.table import Table
from halfseen.suggest.pool import Pool
from tests.labelling.photos import painted
from tests.shell import alone

pytest.importorskip("starlette", reason="pip install halfseen[label]")
from starlette.testclient import TestClient

from halfseen.labelling.server import MOST, listening, make_app

__all__ = ["alone"]
PORT, TOKEN = 8123, "a-token-of-32-letters-0123456789"
HOME = f"http://127.0.0.1:{PORT}"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    truth = painted(tmp_path / "p", 12)
    x = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    pool = Pool(tmp_path / "p", tuple(truth), ("",) * 12, {}, x, ())
    return Desk(pool, Table(tmp_path / "p", {}))


@pytest.fixture
def page(desk: Desk) -> TestClient:
    return TestClient(make_app(desk, TOKEN, PORT), base_url=HOME, follow_redirects=False)


def at(path: str) -> str:
    return f"{HOME}/{TOKEN}/{path}"


# ---- what it answers -----------------------------------------------------------------------------------------------------


def test_the_page_may_load_nothing_from_elsewhere(page: TestClient) -> None:
    first, second = page.get(at("")), page.get(at(""))
    policy = first.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    nonce = policy.partition("script-src 'nonce-")[2].partition("'")[0]
    assert f'<script nonce="{nonce}">' in first.text
    assert "NONCE" not in first.text
    assert nonce not in second.text
    assert first.headers["referrer-policy"] == "no-referrer"
    assert first.headers["x-content-type-options"] == "nosniff"
    assert "http://" not in first.text
    assert "https://" not in first.text


def test_question_answer_undo(page: TestClient, desk: Desk) -> None:
    state = page.get(at("state?tab=a")).json()
    picture = state["question"]["id"]
    said = {"tab": "a", "pictures": [{"id": picture, "saw": ""}], "label": "red"}
    assert page.post(at("answer"), json=said).json()["named"] == 1
    assert desk.table.file.read_text() == f"path,label,halfseen\nphoto-{picture}.png,red,\n"
    assert page.post(at("undo"), json={"tab": "a"}).json()["named"] == 0
    none = {**said, "label": "", "note": "none of these"}
    assert page.post(at("answer"), json=none).json()["none"] == 1
    assert page.get(at(f"state?tab=a&again={picture}")).json()["question"]["label"] == "none of these"
    assert {cell["id"] for cell in page.get(at(f"alike/{picture}")).json()} == set(range(12)) - {picture}


@pytest.mark.parametrize(("side", "kind", "size"), [(160, "PNG", (80, 160)), (1200, "JPEG", (400, 800))])
def test_pictures_are_sent_upright_and_no_larger_than_asked(
    page: TestClient, desk: Desk, side: int, kind: str, size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # held sideways
    Image.new("RGB", (800, 400), "orange").save(desk.pool.folder / "photo-0.png", "JPEG", exif=exif)
    shown.cache_clear()
    answer = page.get(at(f"picture/0?side={side}"))
    assert answer.headers["content-type"] == f"image/{kind.lower()}"
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert (picture.format, picture.size) == (kind, size)


def test_a_picture_that_is_none(page: TestClient, desk: Desk) -> None:
    (desk.pool.folder / "photo-1.png").write_text("<script>alert(1)</script>")
    shown.cache_clear()
    answer = page.get(at("picture/1?side=160"))
    assert answer.status_code == 400
    assert "'photo-1.png' cannot be shown: not a picture" in answer.json()["error"]


# ---- whom it refuses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"host": "evil.example"}, "not the page's own"),
        ({"host": f"evil.example:{PORT}"}, "not the page's own"),
        ({"host": "127.0.0.1:9999"}, "not the page's own"),
        ({"host": f"127.0.0.1.evil.example:{PORT}"}, "not the page's own"),
        ({"origin": "http://evil.example"}, "another page may not ask here"),
        ({"origin": "null"}, "another page may not ask here"),
        ({"origin": "http://127.0.0.1:9999"}, "another page may not ask here"),
        ({"origin": f"https://127.0.0.1:{PORT}"}, "another page may not ask here"),
    ],
)
@pytest.mark.parametrize("path", ["", "state?tab=a", "picture/0?side=160"])
def test_foreign_hosts_and_origins(page: TestClient, headers: dict[str, str], said: str, path: str) -> None:
    answer = page.get(at(path), headers=headers)
    assert (answer.status_code, said in answer.text) == (403, True)
    assert page.get(at(path), headers={"origin": HOME}).status_code == 200


def test_answers_of_other_pages(page: TestClient, desk: Desk) -> None:
    said = {"tab": "a", "pictures": [{"id": 0, "saw": ""}], "label": "red"}
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "none"}):
        assert page.post(at("answer"), json=said, headers=headers).status_code == 403
    form = page.post(at("answer"), content="tab=a", headers={"content-type": "application/x-www-form-urlencoded"})
    assert form.json() == {"error": "an answer is sent as application/json"}
    plain = page.post(at("answer"), content='{"tab": "a"}', headers={"content-type": "text/plain"})
    assert plain.status_code == 400
    assert page.get(at("answer")).status_code == 405
    assert not desk.table.file.exists()


@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "%2e"])
def test_without_the_token(page: TestClient, token: str) -> None:
    for path in ("", "state?tab=a", "picture/0", "alike/0"):
        answer = page.get(f"{HOME}/{token}/{path}" if token else f"{HOME}/{path}")
        assert answer.status_code == 403
        assert "the token is missing" in answer.text
        assert "photo" not in answer.text
    said = {"tab": "a", "pictures": [{"id": 0, "saw": ""}], "label": "red"}
    assert page.post(f"{HOME}/{token}/answer", json=said).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "picture/../../secret.png",
        "picture/..%2f..%2fsecret.png",
        "picture/%2fetc%2fpasswd",
        "picture/photo-0.png",
        "picture/0/../../secret.png",
        "../secret.png",
        "..%2fsecret.png",
        "secret.png",
        "picture/-1",
        "picture/12",
        "picture/99999999999999999999",
        "picture/0?side=99999",
        "picture/0?side=../../secret.png",
        "alike/12",
        "alike/../secret.png",
    ],
)
def test_paths_outside_the_folder(page: TestClient, desk: Desk, path: str) -> None:
    Image.new("RGB", (8, 8), "pink").save(desk.pool.folder.parent / "secret.png")
    answer = page.get(at(path))
    assert answer.status_code in (400, 403, 404)
    assert answer.headers.get("content-type", "").partition("/")[0] != "image"
    assert as_it_is(page, f"/{TOKEN}/{path.replace('%2f', '/')}") in (400, 403, 404)


def as_it_is(page: TestClient, path: str) -> int:
    """The status for a path that no client has tidied up, as a socket may send it."""
    path, _, query = path.partition("?")
    headers = [(b"host", f"127.0.0.1:{PORT}".encode())]
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": query.encode()}
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(page.app({**scope, "headers": headers, "http_version": "1.1", "root_path": ""}, receive, send))
    return int(sent[0]["status"])


def test_a_tidy_path_gets_through_as_it_is(page: TestClient) -> None:
    assert as_it_is(page, f"/{TOKEN}/picture/0?side=160") == 200


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"pictures": [{"id": 0, "saw": ""}], "label": "red"}, "a tab has a name of its own"),
        ({"tab": "a" * 65, "pictures": [{"id": 0, "saw": ""}], "label": "red"}, "a tab has a name of its own"),
        ({"tab": "a", "pictures": [], "label": "red"}, "at least one picture"),
        ({"tab": "a", "pictures": [{"id": "../x", "saw": ""}], "label": "red"}, "a picture has a number"),
        ({"tab": "a", "pictures": [{"id": True, "saw": ""}], "label": "red"}, "a picture has a number"),
        ({"tab": "a", "pictures": [{"id": 99, "saw": ""}], "label": "red"}, "no picture number 99"),
        ({"tab": "a", "pictures": [{"id": 0}], "label": "red"}, "an answer's pictures are"),
        ({"tab": "a", "pictures": {"0": ""}, "label": "red"}, "an answer is {tab"),
        ({"tab": "a", "pictures": [{"id": 0, "saw": ""}], "label": 3}, "an answer is {tab"),
        ({"tab": "a", "pictures": [{"id": 0, "saw": ""}], "label": ""}, "a label, or the note"),
        ({"tab": "a", "pictures": [{"id": 0, "saw": ""}], "label": "\n"}, "a label, or the note"),
        (["answer"], "an answer is a JSON object"),
    ],
)
def test_what_is_no_answer(page: TestClient, desk: Desk, said: Any, complaint: str) -> None:
    answer = page.post(at("answer"), json=said)
    assert answer.status_code == 400
    if said != {"tab": "a", "pictures": [{"id": 0, "saw": ""}], "label": "\n"}:
        assert complaint in answer.json()["error"]
    assert not desk.table.file.exists()


def test_bodies_that_are_too_long_or_no_json(page: TestClient) -> None:
    json = {"content-type": "application/json"}
    assert page.post(at("answer"), content=b" " * (MOST + 1), headers=json).json() == {
        "error": "the answer is too long"
    }
    assert page.post(at("answer"), content=b"{", headers=json).json() == {"error": "the answer is no JSON"}
    assert page.post(at("undo"), content=b"[" * 9999, headers=json).json() == {"error": "the answer is no JSON"}


def test_it_listens_on_loopback_only() -> None:
    with listening(0) as listener:
        host, port = listener.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(UserError, match=f"port {port} of this machine cannot be used"):
            listening(port)
        others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
        for other in others - {"127.0.0.1"}:
            with socket.socket() as client:
                client.settimeout(2)
                assert client.connect_ex((other, port)) != 0
    with pytest.raises(UserError, match="port 70000 of this machine cannot be used"):
        listening(70000)
