"""This process's heartbeat: its row in `serving`, renewed every 2 s and at once after a change.

    thread: describe() ─► beat ─► wait, or be told ─► ... ─► forget

It has a connection and a thread of its own: a database that hangs delays nothing but its row.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from typing import Final

import uuid_utils

from contracts.errors import PipelineError
from contracts.logs import get_logger
from contracts.settings import Settings
from inference.persistence.heartbeats import Heartbeat, beat, forget, forget_silent
from inference.persistence.lasting_connection import LastingConnection

_SILENT_SECONDS: Final = 3600.0  # rows of processes that were killed
_LEAVE_SECONDS: Final = 2.0

_log = get_logger(__name__)


def instance_name() -> str:
    """A name that no other process has or had."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid_utils.uuid4().hex[:8]}"


class Pulse:
    """Writes what `describe` says until it is closed. A database that is away is tried again and never an error."""

    def __init__(self, settings: Settings, describe: Callable[[], Heartbeat]) -> None:
        self._connection = LastingConnection(settings.postgres)
        self._seconds = settings.serving.heartbeat_seconds
        self._describe = describe
        self._news = threading.Event()
        self._is_closing = False
        self._is_away = False
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def tell(self, _news: object = None) -> None:
        """Something changed: the row is renewed now."""
        self._news.set()

    def close(self) -> None:
        """Removes the row, if the database lets us in time; else it ages."""
        self._is_closing = True
        self._news.set()
        if self._thread.ident is not None:
            self._thread.join(_LEAVE_SECONDS)

    def _run(self) -> None:
        self._attempt(self._tidy)
        while not self._is_closing:
            self._attempt(self._beat)
            self._news.wait(self._seconds)
            self._news.clear()
        self._attempt(self._forget)
        self._connection.close()

    def _attempt(self, write: Callable[[], None]) -> None:
        try:
            write()
        except PipelineError as error:
            if not self._is_away:
                _log.warning("heartbeat_missed", reason=str(error))
            self._is_away = True
        except Exception:  # noqa: BLE001 - this thread must not end before its process
            _log.exception("heartbeat_failed")
        else:
            if self._is_away:
                _log.info("heartbeat_again")
            self._is_away = False

    def _tidy(self) -> None:
        with self._connection.use() as connection:
            forget_silent(connection, seconds=_SILENT_SECONDS)

    def _beat(self) -> None:
        with self._connection.use() as connection:
            beat(connection, self._describe())

    def _forget(self) -> None:
        with self._connection.use() as connection:
            forget(connection, self._describe().instance)
