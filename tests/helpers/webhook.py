"""A webhook on the loopback address that keeps what it is sent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Received:
    """Where it answers, and the bodies that came so far."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def wait(self, count: int, seconds: float) -> list[dict[str, Any]]:
        """The bodies, once there are `count`; fails where there are not in time."""
        deadline = time.monotonic() + seconds
        while len(self.bodies) < count:
            assert time.monotonic() < deadline, f"{count} notifications expected, came: {self.bodies}"
            time.sleep(0.1)
        return self.bodies


@contextmanager
def webhook() -> Iterator[Received]:
    """A webhook that takes JSON only."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_json = self.headers["Content-Type"] == "application/json"
            if is_json:
                received.bodies.append(json.loads(body))
            self.send_response(200 if is_json else 415)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    received.url = f"http://127.0.0.1:{server.server_address[1]}/secret"
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
