"""A headless Chromium driven over its debugging protocol: what a page logs, asks for, breaks and looks like."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

# A mouse, as on a desktop: without one pages show themselves as on a telephone.
MOUSE = "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
START_S, STEP_S = 60, 60


def chromium() -> str | None:
    """Path of a Chromium, None where there is none."""
    return next((found for found in map(shutil.which, PROGRAMS) if found), None)


@dataclass
class Tab:
    """One page at a time. `problems`: console errors, uncaught exceptions, requests that failed, since `open`."""

    socket: ClientConnection
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    _number: int = 0

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol; events that come meanwhile are noted. Raises RuntimeError when it fails."""
        self._number += 1
        self.socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(timeout=STEP_S))
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(params["exceptionDetails"].get("text", "") + " " + str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}".rstrip())
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.problems.append(str(params["args"]))
        elif method == "Network.loadingFailed" and not params.get("canceled"):
            self.problems.append(f"request failed: {params['errorText']}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def open(self, path: Path, width: int = 1280, dark: bool = False, settle_s: float = 0.2) -> None:
        """Load a file with the network off, in a window of `width` CSS pixels, in the light or the dark scheme."""
        self._load(path.resolve().as_uri(), width, 900, dark, offline=True)
        time.sleep(settle_s)

    def visit(self, url: str, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """Load an address with the network on, in a window of `width` x `height` CSS pixels."""
        self._load(url, width, height, dark, offline=False)

    def _load(self, url: str, width: int, height: int, dark: bool, offline: bool) -> None:
        self.problems, self.requests = [], []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.bringToFront")  # behind a tab that a link has opened nothing moves, and pages stay half changed
        speed = {"latency": 0, "downloadThroughput": 0 if offline else -1, "uploadThroughput": 0 if offline else -1}
        self.call("Network.emulateNetworkConditions", offline=offline, **speed)
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)
        until = time.monotonic() + STEP_S
        while self.run("document.readyState") != "complete" and time.monotonic() < until:
            time.sleep(0.05)

    def run(self, script: str) -> Any:
        """Value of a JavaScript expression, awaited; raises RuntimeError with what it threw."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"].get("exception", {}).get("description", "script failed"))
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """A key pressed and let go; `key` as in KeyboardEvent.key."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowRight": 39, "ArrowDown": 40, "ArrowLeft": 37, "ArrowUp": 38}
        keyed = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", **keyed, **({"text": "\r"} if key == "Enter" else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **keyed)

    def click(self, x: float, y: float) -> None:
        """The pointer moved to a place of the window and its main button pressed and let go there."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for event in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=event, x=x, y=y, button="left", clickCount=1)

    def picture(self, path: Path, whole: bool = True) -> None:
        """A PNG of the page, whole or as much as the window shows."""
        path.parent.mkdir(parents=True, exist_ok=True)
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **_clip(self, whole))
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self) -> bytes:
        """The page as it prints."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])


def _clip(tab: Tab, whole: bool) -> dict[str, Any]:
    if not whole:
        return {}
    size = tab.call("Page.getLayoutMetrics")["cssContentSize"]
    return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16_000), "scale": 1}}


@contextmanager
def browser(program: str) -> Iterator[Tab]:
    """A Chromium of its own profile with one tab, ended on leaving."""
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        options += ["--disable-dev-shm-usage", "--disable-background-networking", "--disable-extensions", MOUSE]
        command = [program, *options, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(_address(Path(profile) / "DevToolsActivePort", process), max_size=None) as socket:
                yield _tab_of(socket)
        finally:
            process.terminate()
            process.wait(timeout=10)
            time.sleep(0.2)  # its children write into the profile for a moment longer


def _address(path: Path, process: subprocess.Popen) -> str:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if path.is_file() and len(lines := path.read_text().splitlines()) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]}: ended with {process.returncode} before it could be driven")
        time.sleep(0.05)
    raise RuntimeError(f"{process.args[0]}: not ready within {START_S} s")


class _Session:
    """The connection, with the session of one tab in every message."""

    def __init__(self, socket: ClientConnection, session: str) -> None:
        self.socket, self.session = socket, session

    def send(self, text: str) -> None:
        self.socket.send(json.dumps(json.loads(text) | {"sessionId": self.session}))

    def recv(self, timeout: float) -> str:
        return self.socket.recv(timeout=timeout)


def _tab_of(socket: ClientConnection) -> Tab:
    whole = Tab(socket)
    target = next(t for t in whole.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
    return _attached(whole, socket, target["targetId"])


def opened(tab: Tab, url: str) -> Tab | None:
    """The tab in which a link of `tab` has opened an address; None where there is none, or not yet."""
    targets = tab.call("Target.getTargets")["targetInfos"]
    found = [each["targetId"] for each in targets if each["type"] == "page" and each["url"] == url]
    return _attached(tab, tab.socket.socket, found[0]) if found else None  # type: ignore[attr-defined]


def _attached(tab: Tab, socket: ClientConnection, target: str) -> Tab:
    session = tab.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    return Tab(_Session(socket, session))  # type: ignore[arg-type]
