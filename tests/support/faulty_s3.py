"""An S3 server that answers 503, or late: an HTTP proxy in front of the real one.

    with faulty_s3(upstream_port) as server:
        server.port                              where the client is led to
        with server.answering_503(): ...         SlowDown, as S3 says it
        with server.answering_late(seconds=3): ...

The request goes on as it came, Host included, so its signature holds.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)
# Said anew by each of the two connections.
OF_ONE_CONNECTION = frozenset({"connection", "keep-alive", "expect", "transfer-encoding", "content-length"})


class FaultyS3:
    """Set `refuses` or `late_seconds`; `refused` counts."""

    def __init__(self, upstream_port: int) -> None:
        self.refuses = False
        self.late_seconds = 0.0
        self.refused = 0
        self.delayed = 0
        self._upstream_port = upstream_port
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    @contextmanager
    def answering_503(self) -> Iterator[None]:
        self.refuses = True
        try:
            yield
        finally:
            self.refuses = False

    @contextmanager
    def answering_late(self, *, seconds: float) -> Iterator[None]:
        self.late_seconds = seconds
        try:
            yield
        finally:
            self.late_seconds = 0.0

    def serve(self) -> None:
        threading.Thread(target=self._server.serve_forever, name="faulty-s3", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _relay(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if outer.refuses:
                    outer.refused += 1
                    self._answer(503, [("Content-Type", "application/xml")], SLOW_DOWN)
                    return
                if outer.late_seconds:
                    outer.delayed += 1
                    time.sleep(outer.late_seconds)
                try:
                    status, headers, answer = outer.ask(self.command, self.path, self.headers.items(), body)
                except (OSError, http.client.HTTPException):
                    self.close_connection = True
                    return
                self._answer(status, headers, answer)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _relay  # noqa: N815 - names that http.server calls

            def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
                # A client that gave up meanwhile is nobody's fault.
                with suppress(OSError):
                    self.send_response_only(status)
                    for name, value in headers:
                        if name.lower() not in OF_ONE_CONNECTION:
                            self.send_header(name, value)
                    said = {name.lower(): value for name, value in headers}.get("content-length")
                    length = said if self.command == "HEAD" and said else str(len(body))
                    self.send_header("Content-Length", length)
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
                """Nothing: a line per request would drown the test's own words."""

        return Handler

    def ask(self, command: str, path: str, headers: object, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection("127.0.0.1", self._upstream_port, timeout=60)
        try:
            upstream.putrequest(command, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:  # type: ignore[attr-defined]
                if name.lower() not in OF_ONE_CONNECTION - {"content-length"}:
                    upstream.putheader(name, value)
            upstream.endheaders(body or None)
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            upstream.close()


@contextmanager
def faulty_s3(upstream_port: int) -> Iterator[FaultyS3]:
    server = FaultyS3(upstream_port)
    server.serve()
    try:
        yield server
    finally:
        server.close()
