"""Headless Chromium, driven over its DevTools protocol: pages, keys, clicks, screenshots."""

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
START, WAIT = 30.0, 15.0  # seconds
KEYS = {"Enter": 13, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Backspace": 8, "Escape": 27}


def found() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One process with a profile of its own; `end` ends it."""

    def __init__(self, program: str, profile: Path) -> None:
        words = [program, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}", "--no-first-run"]
        words += ["--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--hide-scrollbars"]
        words += ["--no-sandbox"] if os.geteuid() == 0 else []
        words += ["about:blank"]
        self.log = profile.with_suffix(".log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        self.pages: list[Page] = []
        self.at = until(lambda: re.search(r"listening on ws://([^/]+)/", self.log.read_text(errors="replace")), START)[
            1
        ]

    def page(self, address: str, width: int = 1200, height: int = 800) -> "Page":
        request = urllib.request.Request(f"http://{self.at}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request) as answer:
            page = Page(json.load(answer)["webSocketDebuggerUrl"])
        self.pages.append(page)
        page.size(width, height)
        page.go(address)
        return page

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        for page in self.pages:
            page.open.close()


class Page:
    def __init__(self, address: str) -> None:
        from websockets.sync.client import connect

        self.open = contextlib.ExitStack()
        self.socket = self.open.enter_context(connect(address, max_size=None, ping_interval=None, close_timeout=1))
        self.number = 0
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": given}))
        while True:
            said = json.loads(self.socket.recv(timeout=WAIT))
            if said.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(said["params"]["exceptionDetails"])[:500])
            if said.get("method") == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.errors.append(said["params"]["entry"]["text"])
            if said.get("id") == self.number:
                assert "error" not in said, said["error"]
                found: dict[str, Any] = said["result"]
                return found

    def size(self, width: int, height: int) -> None:
        mobile = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def go(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def eval(self, script: str) -> Any:
        said = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def until(self, script: str) -> Any:
        return until(lambda: self.eval(script), WAIT, script)

    def key(self, key: str) -> None:
        """A key as a person presses it."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        code = KEYS.get(key, ord(key.upper()) if len(key) == 1 else 0)
        said = {"key": key, "windowsVirtualKeyCode": code, **({"text": text} if text else {})}
        self.call("Input.dispatchKeyEvent", type="keyDown", **said)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def type(self, text: str) -> None:
        for letter in text:
            self.key(letter)

    def click(self, selector: str) -> None:
        x, y = self.until(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)})?.getBoundingClientRect(); "
            "return b && [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, file: Path) -> None:
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))


def until(look: Callable[[], Any], seconds: float, what: str = "") -> Any:
    end = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < end, f"waited {seconds:g} seconds in vain for {what or look}"
        time.sleep(0.02)
    return seen
