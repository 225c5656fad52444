"""The line as a service on this machine: Prefect server, report server, both flows as deployments, until Ctrl-C."""

from __future__ import annotations

import functools
import os
import subprocess
import threading
import time
import urllib.request
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pipelines.process import stop_tree

HOST = "127.0.0.1"
DAILY = "0 5 * * *"
_READY_S = 60.0


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Requests for report pages are not worth a line each."""


def serve_reports(reports: Path, port: int) -> ThreadingHTTPServer:
    """Serve the folder `reports` on the loopback address in a thread; port 0 picks a free one."""
    reports.mkdir(exist_ok=True)
    server = ThreadingHTTPServer((HOST, port), functools.partial(_QuietHandler, directory=str(reports)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def start_server(port: int) -> subprocess.Popen[bytes]:
    """Start the Prefect server and wait until it answers; raises RuntimeError when it ends or stays silent."""
    process = subprocess.Popen(
        ["prefect", "server", "start", "--host", HOST, "--port", str(port)],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://{HOST}:{port}/api/health", timeout=2)
            return process
        except OSError:
            time.sleep(0.3)
    stop_tree(process.pid)
    raise RuntimeError(f"Prefect server did not answer on {HOST}:{port}; is the port taken? Try `make ui PORT=4300`")


def serve(root: Path, port: int, reports_port: int) -> None:
    """Run everything until Ctrl-C or SIGTERM; on the way out the server's whole process tree is stopped."""
    reports = serve_reports(root / "reports", reports_port)
    os.environ["WATCHLINE_REPORTS_URL"] = f"http://{HOST}:{reports.server_address[1]}"
    server = start_server(port)
    try:
        print(
            f"Prefect UI  http://{HOST}:{port}\nreports     {os.environ['WATCHLINE_REPORTS_URL']}/index.html",
            flush=True,
        )
        from prefect import serve as serve_deployments

        from pipelines.flow import watchline
        from pipelines.leaderboard import leaderboard

        parameters = {"root": str(root)}
        daily = watchline.to_deployment(name="daily", cron=DAILY, parameters=parameters)
        on_demand = leaderboard.to_deployment(name="on-demand", parameters=parameters)
        serve_deployments(daily, on_demand, limit=1)
    finally:
        stop_tree(server.pid)
        reports.shutdown()
