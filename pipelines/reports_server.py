"""The folder reports/ on the loopback address, for the links of the UI."""

from __future__ import annotations

import functools
import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pipelines.ports import HOST

# Variable with the address, which `make ui` sets; without a server, links open files.
REPORTS_URL = "WATCHLINE_REPORTS_URL"


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Requests for report pages are not worth a line each."""


def serve_reports(reports: Path, port: int) -> ThreadingHTTPServer:
    """Serve the folder `reports` in a thread; port 0 picks a free one."""
    reports.mkdir(exist_ok=True)
    server = ThreadingHTTPServer((HOST, port), functools.partial(_QuietHandler, directory=str(reports)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def reports_url(root: Path) -> str:
    """Where the folder reports/ is read from."""
    return os.environ.get(REPORTS_URL) or (root / "reports").as_uri()
