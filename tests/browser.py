"""A headless Chromium, driven over the W3C's WebDriver protocol by the standard library alone."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
DRIVER = shutil.which("chromedriver")
PATIENCE = 20  # seconds
KEYS = {"tab": "\ue004", "enter": "\ue007", "space": " "}


@dataclass(frozen=True)
class Browser:
    """One window."""

    session: str  # its address at the driver

    def go(self, page: Path, part: str = "") -> None:
        """Open a page from disk; returns when it is loaded."""
        self.ask("POST", "/url", url="about:blank")  # so that the same page is loaded anew
        self.ask("POST", "/url", url=page.as_uri() + part)

    def run(self, script: str) -> Any:
        """What a function of this body returns."""
        return self.ask("POST", "/execute/sync", script=script, args=[])

    def until(self, script: str) -> Any:
        """The first value of a script that is true."""
        end = time.monotonic() + PATIENCE
        while not (found := self.run(script)):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.05)
        return found

    def press(self, *names: str) -> None:
        """Keys of the keyboard, one after another."""
        keys = [KEYS[name] for name in names]
        pressed = [{"type": kind, "value": k} for k in keys for kind in ("keyDown", "keyUp")]
        board = {"type": "key", "id": "keyboard", "actions": pressed}
        self.ask("POST", "/actions", actions=[board])

    def click(self, selector: str) -> None:
        found = self.ask("POST", "/element", using="css selector", value=selector)
        self.ask("POST", f"/element/{next(iter(found.values()))}/click")

    def chrome(self, command: str, **parameters: Any) -> None:
        self.ask("POST", "/goog/cdp/execute", cmd=command, params=parameters)

    def console(self) -> list[Any]:
        """What the console has said since it was last asked."""
        found: list[Any] = self.ask("POST", "/se/log", type="browser")
        return found

    def requests(self) -> list[str]:
        """The addresses that were asked for since the last call, whatever came of it."""
        events = self.ask("POST", "/se/log", type="performance")
        told = [json.loads(event["message"])["message"] for event in events]
        sent = (one["params"] for one in told if one["method"] == "Network.requestWillBeSent")
        return [one["request"]["url"] for one in sent]

    def ask(self, how: str, what: str, **body: Any) -> Any:
        return asked(how, self.session + what, body)


def asked(how: str, url: str, body: Any) -> Any:
    data = json.dumps(body).encode() if how == "POST" else None
    request = Request(url, data, {"Content-Type": "application/json"}, method=how)
    with urlopen(request, timeout=120) as answer:
        return json.load(answer)["value"]


@contextmanager
def opened() -> Iterator[Browser]:
    """A window that closes afterwards. The test is skipped where there is no such browser."""
    if not (BROWSER and DRIVER):
        pytest.skip("no chromium with a chromedriver on the path")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    flags = ["--headless=new", "--no-sandbox", "--window-size=1200,1000"]
    wanted = {
        "goog:chromeOptions": {"binary": BROWSER, "args": flags},
        "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
    }
    with subprocess.Popen([DRIVER, f"--port={port}"], **quiet) as driver:
        try:
            at, end = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE
            while time.monotonic() < end:
                with suppress(URLError):
                    if asked("GET", f"{at}/status", None)["ready"]:
                        break
                time.sleep(0.05)
            made = asked("POST", f"{at}/session", {"capabilities": {"alwaysMatch": wanted}})
            yield Browser(f"{at}/session/{made['sessionId']}")
            asked("DELETE", f"{at}/session/{made['sessionId']}", None)
        finally:
            driver.terminate()
