"""One process's connections: taken in turn with its siblings, cut when they dawdle, let go without a failed request.

    shared listening socket ─► Accepting (one at a time; the busier process gives way) ─► Connection ─► application
                                                                                        └─ sweep: requests never ended

Several processes accept from one socket, and the one that wakes first would take every connection of a burst: kept
alive, they would stay there, and the other core would idle. So a process with more connections than a sibling waits a
moment before it accepts. One whose model is not loaded yet counts as the busiest.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable, MutableSequence
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from contracts.logs import get_logger

NOBODY: Final = 2**30  # the count of a process that is not there: nobody gives way to it
_LOADING: Final = NOBODY - 1  # of one without a model: it gives way to all that have one, and to none like itself
_GIVE_WAY_SECONDS: Final = 0.003
_LOADING_GIVES_WAY_SECONDS: Final = 0.1  # a sibling whose core is busy is late, and still better than a refusal
_PAUSE_SECONDS: Final = 1.0  # without a file descriptor, or with all the connections that it may have
_OWN_DESCRIPTORS: Final = 256  # kept for stores, broker and files: a connection must not cost an answer
_MOST_CONNECTIONS: Final = 10_000
_MOST_HEAD_BYTES: Final = 64 * 1024  # request line and headers: a token with many roles has some 5 KiB
_LAST_REQUEST_SECONDS: Final = 1.0  # after the signal: for a request that was on its way on an idle connection

_log = get_logger(__name__)


def most_connections() -> int:
    """How many connections a process may have, by the file descriptors that the system lets it open."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return min(_MOST_CONNECTIONS, max(descriptors - _OWN_DESCRIPTORS, descriptors // 2))


class _HeadTooLargeError(Exception):
    """The headers are whole and too many: the parser ends with it."""


class Connection(HttpToolsProtocol):
    """uvicorn's, with limits on the time that a request may take to come and on what comes beside its body, and an end
    that no client notices.
    """

    unfinished_since: float | None = None  # on the loop's clock: opened or spoken to, and the request is not whole yet
    is_silent = True  # nothing came yet
    is_ending = False
    _unread_bytes = 0  # came since the application was last given anything: headers, trailers, a chunk's extensions
    _is_head_too_large = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The clock runs from the first moment: a silent connection is none."""
        super().connection_made(transport)
        self.unfinished_since = self.loop.time()
        if self.is_ending:  # taken at the last moment, when those that were there had been told already
            self.shutdown()

    def data_received(self, data: bytes) -> None:
        """The first bytes of the next request start the clock."""
        self.is_silent = False
        if self.unfinished_since is None:
            self.unfinished_since = self.loop.time()
        self._unread_bytes += len(data)
        super().data_received(data)
        if self._unread_bytes > _MOST_HEAD_BYTES and not self.transport.is_closing():
            self._is_head_too_large = True
            self.send_400_response("")

    def on_headers_complete(self) -> None:
        """While the process ends, each connection's next answer is its last."""
        # One read may bring more than the limit, and all of the headers.
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > _MOST_HEAD_BYTES:
            self._is_head_too_large = True
            raise _HeadTooLargeError
        self._unread_bytes = 0
        super().on_headers_complete()
        if self.is_ending and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """The application bounds what it is given."""
        self._unread_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: what follows is our time."""
        self.unfinished_since = None
        self._unread_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature; its words are ours below
        """What the parser refuses, as problem+json; without a word where an earlier request's answer is under way."""
        # Here: the parent, which imports this module, needs no web framework.
        from inference.api.problems import response

        if self.cycle is None or self.cycle.response_complete or self._is_reading_body():
            if self._is_head_too_large:
                code, detail = "head_too_large", f"request line and headers have more than {_MOST_HEAD_BYTES} bytes"
                answer = response(431, code, f"{detail}: send fewer or shorter ones")
            else:
                answer = response(400, "bad_request", "this is no HTTP that can be read")
            lines = [STATUS_LINE[answer.status_code].rstrip(), *map(b": ".join, answer.raw_headers)]
            self.transport.write(b"\r\n".join([*lines, b"connection: close", b"", bytes(answer.body)]))
        self.transport.close()

    def _is_reading_body(self) -> bool:
        return self.cycle.more_body and not self.cycle.response_started and not self.pipeline

    def shutdown(self) -> None:
        """Ends after the next answer, or when none is asked for: closed at once, it could cross with a request."""
        self.is_ending = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(_LAST_REQUEST_SECONDS, self._close_idle)

    def cut(self) -> None:
        """The client took too long. What was answered is on its way; the application learns of the end."""
        if not self.transport.is_closing():
            self.transport.close()

    def _close_idle(self) -> None:
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and (self.is_silent or self.unfinished_since is None) and not self.transport.is_closing():
            self.transport.close()


class Accepting:
    """Accepts for one process; stands where uvicorn keeps its asyncio servers."""

    def __init__(
        self,
        listener: socket.socket,
        make_connection: Callable[[], asyncio.Protocol],
        *,
        counts: MutableSequence[int],
        number: int,
        count: Callable[[], int],
        is_ready: Callable[[], bool],
        most: int,
    ) -> None:
        """`counts` is shared by all processes, `number` is this one's place in it, `count()` its connections now, of
        `most`; `is_ready()` whether it could answer: one that loads its model still would refuse what a sibling can
        serve.
        """
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make_connection = make_connection
        self._counts = counts
        self._number = number
        self._count = count
        self._is_ready = is_ready
        self._most = most
        self._is_paused = False  # told once, until a connection is accepted again
        self._arriving: set[asyncio.Task[Any]] = set()
        self._is_open = True
        self.update()
        listener.setblocking(False)
        self._loop.add_reader(listener.fileno(), self._readable)

    def close(self) -> None:
        """Takes what has already arrived, and no more."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._listener.fileno())
        while self._accept():
            pass
        self._listener.close()
        self._counts[self._number] = NOBODY

    async def wait_closed(self) -> None:
        """Until the last that were accepted are connections."""
        if self._arriving:
            await asyncio.wait(self._arriving)

    def update(self) -> None:
        """Tells the siblings how many connections there are, or that none should come here yet."""
        if self._is_open:
            self._counts[self._number] = self._count() + len(self._arriving) if self._is_ready() else _LOADING

    def _readable(self) -> None:
        self.update()
        if self._count() + len(self._arriving) >= self._most:
            self._pause(f"{self._most} connections are open")
            return
        mine = self._counts[self._number]
        if any(other < mine for other in self._counts):
            self._loop.remove_reader(self._listener.fileno())
            seconds = _LOADING_GIVES_WAY_SECONDS if mine == _LOADING else _GIVE_WAY_SECONDS
            self._loop.call_later(seconds, self._take_over)
        else:
            self._accept()

    def _take_over(self) -> None:
        """Nobody came: a sibling may be stuck or gone."""
        if self._is_open:
            self._loop.add_reader(self._listener.fileno(), self._readable)
            self._accept()

    def _pause(self, reason: str) -> None:
        """The listener stays readable: looked at again at once, it would keep the loop from all connections there are.
        New ones wait in the system's queue, for a sibling or for the end of the pause.
        """
        if not self._is_open:
            return
        if not self._is_paused:
            _log.warning("connections_not_accepted", reason=reason)
        self._is_paused = True
        self._loop.remove_reader(self._listener.fileno())
        self._loop.call_later(_PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        if self._is_open:
            self._loop.add_reader(self._listener.fileno(), self._readable)

    def _accept(self) -> bool:
        try:
            arrived, _address = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:  # no more file descriptors: those we have go on
            self._pause(error.strerror or type(error).__name__)
            return False
        self._is_paused = False
        arrived.setblocking(False)
        arrived.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._arrive(arrived))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)
        self.update()
        return True

    async def _arrive(self, arrived: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_connection, arrived)
        except OSError:  # gone already
            arrived.close()
