"""One process of the API: bound to its core, it loads its model, serves, and drains.

    pin ─► parts ─► application ─► uvicorn ─► SIGTERM ─► not ready ─► last requests ─► sessions closed ─► exit

Exit codes: 0 told to stop · 75 start again · 78 a person must change a setting.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Generator, MutableSequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import TYPE_CHECKING, Final

import uvicorn

from contracts import logs
from contracts.errors import PipelineError
from contracts.settings import Settings
from inference.api.connections import Accepting, Connection, most_connections

if TYPE_CHECKING:
    from inference.api.parts import Parts

_LAST_STEPS_SECONDS: Final = 3.0  # of the drain, for sessions and the engine after the last request
_KEEP_ALIVE_SECONDS: Final = 75  # longer than a client's pool keeps a connection: it is the client that closes
_SWEEP_TICKS: Final = 10  # of uvicorn's tenth of a second
_SWEEP_MARGIN_SECONDS: Final = 1.0  # the application answers 408 first, where it reads the body

_log = logs.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one process stands among its siblings."""

    number: int
    cores: frozenset[int] | None  # to be bound to; None: as the system schedules
    counts: MutableSequence[int]  # connections of each process, shared


def run(settings: Settings, place: Place, listener: socket.socket, lifeline: Pipe) -> None:
    """A process's life; the target of inference.api.processes. Ends with an exit code."""
    if place.cores is not None:
        # Before anything counts cores: an engine compiled first would keep threads for all of them.
        os.sched_setaffinity(0, place.cores)
    logs.configure(
        level=settings.log.level, as_json=settings.log.format == "json", service="api", process=str(place.number)
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # ours tell the same, in our words
    try:
        code = _serve(settings, place, listener, lifeline)
    except PipelineError as error:
        _log.error("process_failed", reason=str(error), exit_code=error.exit_code)
        code = error.exit_code
    # All that must be closed is closed. Python's own end would take seconds, with all that is imported, and would wait
    # for an engine in the middle of a long inference.
    sys.stderr.flush()
    os._exit(code)


def _serve(settings: Settings, place: Place, listener: socket.socket, lifeline: Pipe) -> int:
    # Here: the parent, which imports this module to start us, needs no web framework and no engine.
    from inference.api.app import create_app
    from inference.api.parts import make_parts

    parts = make_parts(settings, number=place.number, processes=len(place.counts))
    config = uvicorn.Config(
        create_app(parts),
        http=Connection,
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(settings.api.drain_seconds - _LAST_STEPS_SECONDS)),
    )
    server = Server(config, parts, place, listener, lifeline)
    server.run()
    failure = parts.detector.ended_with()
    if failure is not None:
        _log.error("process_failed", reason=str(failure), exit_code=failure.exit_code)
    else:
        _log.info("process_stopped")
    return 0 if failure is None else failure.exit_code


class Server(uvicorn.Server):
    """uvicorn's, accepting from the shared socket; it ends when told, when its detector fails, or with its parent."""

    def __init__(
        self, config: uvicorn.Config, parts: Parts, place: Place, listener: socket.socket, lifeline: Pipe
    ) -> None:
        super().__init__(config)
        self._parts = parts
        self._place = place
        self._listener = listener
        self._lifeline = lifeline
        self._accepting: Accepting | None = None
        self._read_seconds = parts.settings.api.read_seconds + _SWEEP_MARGIN_SECONDS

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Ours: uvicorn would raise the signal again at its end, and hide the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_reader(self._lifeline.fileno(), self._orphaned)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Starts the parts, then accepts."""
        await super().startup(sockets=[])
        connections = self.server_state.connections

        def make_connection() -> asyncio.Protocol:
            made = Connection(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
            made.is_ending = self._parts.draining.is_set()
            return made

        self._accepting = Accepting(
            self._listener, make_connection, counts=self._place.counts, number=self._place.number,
            count=lambda: len(connections), is_ready=lambda: self._parts.detector.is_ready,
            most=most_connections(),
        )  # fmt: skip
        self.servers.append(self._accepting)  # type: ignore[arg-type]

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: what no request brings about."""
        if self._accepting is not None:
            self._accepting.update()
        if counter % _SWEEP_TICKS == 0:
            self._sweep()
        self._parts.detector.tick()
        if self._parts.detector.ended_with() is not None:
            return True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Not ready first; then no new connections; then what was accepted is finished."""
        self._parts.draining.set()
        with contextlib.suppress(OSError, ValueError):
            asyncio.get_running_loop().remove_reader(self._lifeline.fileno())
        self._watch_the_clock()
        await super().shutdown(sockets=[])

    def _sweep(self) -> None:
        """Cuts connections whose request does not come to an end."""
        before = asyncio.get_running_loop().time() - self._read_seconds
        slow = [
            connection
            for connection in self.server_state.connections
            if isinstance(connection, Connection) and (connection.unfinished_since or before) < before
        ]
        for connection in slow:
            connection.cut()
        if slow:
            _log.info("slow_connections_cut", connections=len(slow))

    def _stop(self) -> None:
        self.should_exit = True

    def _orphaned(self) -> None:
        """The parent is gone, and the new one needs the port."""
        asyncio.get_running_loop().remove_reader(self._lifeline.fileno())
        _log.warning("parent_gone")
        self.should_exit = True

    def _watch_the_clock(self) -> None:
        """Whatever hangs, the process ends in time: whoever stops it would kill it soon after."""
        seconds = self._parts.settings.api.drain_seconds

        def leave() -> None:
            time.sleep(seconds)
            _log.warning("process_left", reason="something does not end", seconds=seconds)
            sys.stderr.flush()
            os._exit(0)

        threading.Thread(target=leave, name="last-resort", daemon=True).start()
