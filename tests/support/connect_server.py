"""A small HTTP server that answers as Kafka Connect would, for the faults that a real one shows only now and then.

with connect_server([Answer(409, {"error_code": 409, "message": "rebalancing"}), Answer(200, {})]) as server:
    KafkaConnectAdmin(server.settings).delete("a")
server.requests   [("DELETE", "/connectors/a", None), ...]
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from contracts.settings import ConnectSettings


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any = None  # bytes are sent as they are, None as nothing, all else as JSON
    delay_seconds: float = 0.0


@dataclass(kw_only=True)
class ConnectServer:
    settings: ConnectSettings
    requests: list[tuple[str, str, Any]] = field(default_factory=list)


@contextmanager
def connect_server(answers: Sequence[Answer], *, timeout_seconds: float = 5.0) -> Iterator[ConnectServer]:
    """Gives the answers in turn; the last one again and again."""
    remaining = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server.requests.append((self.command, self.path, json.loads(body) if body else None))
            given = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            time.sleep(given.delay_seconds)
            sent = (
                given.body
                if isinstance(given.body, bytes)
                else b""
                if given.body is None
                else json.dumps(given.body).encode()
            )
            try:
                self.send_response(given.status)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)
            except OSError:  # who asked has stopped waiting
                self.close_connection = True

        do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
    server = ConnectServer(
        settings=ConnectSettings(url=f"http://127.0.0.1:{listening.server_port}", timeout_seconds=timeout_seconds)
    )
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()
