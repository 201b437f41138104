"""The parent: one listening socket, one process per core, kept alive.

    bind ─► start ─► a process ended ──► start it again (later and later, when it does not live long)
                 └─► SIGTERM ──► stop listening, tell all, wait, kill what is left

A process that says 78 ends all of them: a setting is wrong, and would be wrong again. The parent holds no connection
and no model; when it is killed, its processes notice and drain.
"""

from __future__ import annotations

import errno
import math
import multiprocessing
import os
import secrets
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from contracts.errors import Misconfigured, Transient
from contracts.logs import get_logger
from contracts.settings import Settings
from inference.api import server
from inference.api.connections import NOBODY

_BACKLOG: Final = 2048
_BIND_SECONDS: Final = 12.0  # the processes of a parent that was killed drain first
_YOUNG_SECONDS: Final = 10.0  # a process that ends earlier is started again later and later
_LONGEST_WAIT_SECONDS: Final = 10.0
_KILL_SECONDS: Final = 0.5  # after the drain
_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")

_log = get_logger(__name__)


def usable_cores() -> tuple[list[int], bool]:
    """The cores this process may use, and whether they are its own to be bound to.

    In a container with a share of the machine, every service would bind itself to the same first cores.
    """
    cores = sorted(os.sched_getaffinity(0))
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores, True
    if quota == "max":
        return cores, True
    share = max(1, math.ceil(int(quota) / int(period)))
    return cores[:share], share >= len(cores)


def plan_cores(processes: int, cores: Sequence[int], *, is_ours: bool) -> list[frozenset[int] | None]:
    """The core of each process; None where the system schedules better: not our cores, or fewer processes than cores.

    Args:
        processes: as set; 0 = one per core.
        cores: that may be used.
        is_ours: nobody else is meant to run there.
    """
    count = processes or len(cores)
    if not is_ours or count < len(cores):
        return [None] * count
    return [frozenset({cores[number % len(cores)]}) for number in range(count)]


def bind(host: str, port: int, *, patience_seconds: float = _BIND_SECONDS) -> socket.socket:
    """The listening socket.

    Raises:
        Transient: the port is still held after that time.
        Misconfigured: the address is none of this machine's.
    """
    until = time.monotonic() + patience_seconds
    while True:
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise Misconfigured(
                    f"cannot listen at SIGHTLINE_API__HOST, port {port}: {error.strerror}; set an address of this machine"
                ) from error
            if time.monotonic() > until:
                raise Transient(
                    f"port {port} is held by another program: stop it, or set SIGHTLINE_API__PORT"
                ) from error
            time.sleep(0.2)
        else:
            return listener


@dataclass(slots=True, kw_only=True)
class _Child:
    """One place, and the process that fills it."""

    place: server.Place
    process: BaseProcess | None = None
    started_at: float = 0.0
    wait_seconds: float = 0.0  # before the next start
    due_at: float = field(default_factory=time.monotonic)


class Processes:
    """Starts them, starts them again, stops them."""

    def __init__(self, settings: Settings, listener: socket.socket, metrics_folder: Path) -> None:
        # One key for all: a ticket that one process signs comes back to another.
        if not settings.api.ticket_key.get_secret_value():
            key = SecretStr(secrets.token_urlsafe(32))
            settings = settings.model_copy(update={"api": settings.api.model_copy(update={"ticket_key": key})})
        self._settings = settings
        self._listener = listener
        self._metrics_folder = metrics_folder
        self._context = multiprocessing.get_context("spawn")
        self._told, self._tell = os.pipe()
        os.set_blocking(self._tell, False)
        self._lifeline, self._life = self._context.Pipe(duplex=False)
        usable, is_ours = usable_cores()
        cores = plan_cores(settings.api.processes, usable, is_ours=is_ours)
        counts: Any = self._context.Array("i", [NOBODY] * len(cores), lock=False)
        self._children = [
            _Child(place=server.Place(number=number, cores=own, counts=counts)) for number, own in enumerate(cores)
        ]
        self._counts = counts

    def stop(self) -> None:
        """Asks `run` to end. For signal handlers."""
        with suppress(BlockingIOError):  # a pipe that is full has been told already
            os.write(self._tell, b"\0")

    def run(self) -> int:
        """Until `stop`, or a process says that a setting is wrong. Returns the exit code."""
        _log.info("service_started", processes=len(self._children), host=self._settings.api.host,
                  port=self._settings.api.port)  # fmt: skip
        code = 0
        while not code:
            self._start_due()
            if self._is_told():
                break
            code = self._bury()
        self._stop_all()
        return code

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.process is None and child.due_at <= now:
                arguments = (self._settings, child.place, self._listener, self._lifeline)
                child.process = self._context.Process(
                    target=server.run, args=arguments, name=f"api-{child.place.number}", daemon=False
                )
                child.process.start()
                child.started_at = now

    def _is_told(self) -> bool:
        """Waits until something happens. True when it is the end."""
        alive = {child.process.sentinel: child for child in self._children if child.process is not None}
        due = [child.due_at for child in self._children if child.process is None]
        timeout = max(0.0, min(due) - time.monotonic()) if due else None
        return self._told in wait([*alive, self._told], timeout)

    def _bury(self) -> int:
        """Notes which processes ended, and when they are started again. Not 0: all must end with it."""
        for child in self._children:
            process = child.process
            if process is None or process.exitcode is None:
                continue
            self._forget(child, process)
            now = time.monotonic()
            is_young = now - child.started_at < _YOUNG_SECONDS
            child.wait_seconds = min(_LONGEST_WAIT_SECONDS, 2 * child.wait_seconds or 1.0) if is_young else 0.0
            child.due_at = now + child.wait_seconds
            _log.warning("process_ended", process=child.place.number, exit_code=process.exitcode,
                         seconds_to_next=child.wait_seconds)  # fmt: skip
            if process.exitcode == Misconfigured.exit_code:
                return Misconfigured.exit_code
        return 0

    def _forget(self, child: _Child, process: BaseProcess) -> None:
        from inference.api.metrics import forget_process

        self._counts[child.place.number] = NOBODY
        if process.pid is not None:
            forget_process(self._metrics_folder, process.pid)
        child.process = None

    def _stop_all(self) -> None:
        # First of all: the socket lives as long as anybody holds it, and connections that nobody takes would hang.
        self._listener.close()
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            process.terminate()
        until = time.monotonic() + self._settings.api.drain_seconds + _KILL_SECONDS
        for process in running:
            process.join(max(0.0, until - time.monotonic()))
        for process in running:
            if process.exitcode is None:
                _log.warning("process_killed", process=process.name)
                process.kill()
                process.join()
