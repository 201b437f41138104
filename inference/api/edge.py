"""What every request passes first and last: HEAD, the deadline and limit of its body, its place in the metrics.

    request ─► edge ─► errors to problems ─► routes
               ├─ counts the answer by route template and status
               └─ cancelled, for the process ends: 503

Plain ASGI: the framework's own middleware would cost as much as all the rest.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference.api.metrics import Metrics
from inference.api.problems import BodyProblem, response

_DRAINING: Final = "this process ends, and the request was not done in time: what became of it is not known; try again"
_UNMATCHED: Final = "unmatched"  # never a path: whoever scans for pages must not fill the metrics


class Edge:
    """The outermost layer of our own."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, body_bytes: int, read_seconds: float) -> None:
        self._app = app
        self._metrics = metrics
        self._body_bytes = body_bytes
        self._read_seconds = read_seconds
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._histograms: dict[tuple[str, str], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the module."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        method: str = scope["method"]
        if method == "HEAD":  # the server leaves the body out; its length stays
            scope["method"] = "GET"
        status = 500
        is_answered = False

        async def counted(message: Message) -> None:
            nonlocal status, is_answered
            if message["type"] == "http.response.start":
                status, is_answered = message["status"], True
                scope["method"] = method
            await send(message)

        body = _Body(receive, self._body_bytes, self._read_seconds)
        try:
            await self._app(scope, body.receive, counted)
        except asyncio.CancelledError:  # only the server cancels a request, when its process ends and waits no longer
            if is_answered:
                raise
            await response(503, "draining", _DRAINING, headers={"Retry-After": "1"})(scope, body.receive, counted)
        finally:
            body.close()
            scope["method"] = method
            self._count(method, scope, status, time.perf_counter() - began)

    def _count(self, method: str, scope: Scope, status: int, seconds: float) -> None:
        route: str = getattr(scope.get("route"), "path", _UNMATCHED)
        if method not in _METHODS:
            method = "other"
        counter = self._counters.get((method, route, status))
        if counter is None:
            counter = self._counters[method, route, status] = self._metrics.requests.labels(method, route, str(status))
        histogram = self._histograms.get((method, route))
        if histogram is None:
            histogram = self._histograms[method, route] = self._metrics.request_seconds.labels(method, route)
        counter.inc()
        histogram.observe(seconds)


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _Body:
    """Bounds what a client sends, in bytes and time; the image routes bound the bytes further.

    One timer for the whole body, set when it is first asked for: a deadline around every piece, as asyncio.timeout_at
    makes one, costs as much as verifying the token.
    """

    __slots__ = ("_is_late", "_is_whole", "_left", "_limit", "_receive", "_seconds", "_timer", "_waiting")

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self._receive = receive
        self._limit = self._left = limit
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[Any] | None = None  # for the next piece
        self._is_late = self._is_whole = False

    async def receive(self) -> Message:
        if self._is_whole:  # whoever asks now waits for the end of the connection
            return await self._receive()
        message = await self._piece()
        self._left -= len(message.get("body", b""))
        if not message.get("more_body", False):
            self._is_whole = True
            self.close()
        if self._left < 0:
            raise BodyProblem(413, "body_too_large", f"the body has more than {self._limit} bytes")
        return message

    def close(self) -> None:
        """Nobody reads any more."""
        if self._timer is not None:
            self._timer.cancel()

    async def _piece(self) -> Message:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._expire)
        self._waiting = task = asyncio.current_task()
        try:
            if not self._is_late:
                return await self._receive()
        except asyncio.CancelledError:
            # Ours, unless somebody else cancelled as well: asyncio's own rule for timeouts.
            if not self._is_late or task is None or task.uncancel():
                raise
        finally:
            self._waiting = None
        raise BodyProblem(408, "slow_request", f"the body was not whole after {self._seconds:g} s: send it faster")

    def _expire(self) -> None:
        self._is_late = True
        if self._waiting is not None:
            self._waiting.cancel()
