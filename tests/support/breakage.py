"""Ways to break one service of a stack.

kill(stack, "kafka")                   kill -9 of it and its children; supervision brings it back
with stopped(stack, "postgres"): ...   away for a while, through supervision
said(stack, "kafka", since=mark)       what its log says since then
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from contracts.settings import Settings
from sightline.stack.home import Home
from sightline.stack.supervision import Process, Supervisor


def service(stack: Settings, name: str) -> Process:
    return Supervisor(Home(stack.stack.home)).processes()[name]


def kill(stack: Settings, name: str) -> int:
    """Returns the process id that is no more."""
    pid = service(stack, name).pid
    assert pid is not None, f"{name} is not running"
    parent = psutil.Process(pid)
    victims = [parent, *parent.children(recursive=True)]
    for process in victims:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(victims, timeout=20)
    return pid


@contextmanager
def stopped(stack: Settings, name: str) -> Iterator[None]:
    """The service is stopped cleanly at the beginning, and started at the end."""
    supervisor = Supervisor(Home(stack.stack.home))
    supervisor.stop_service(name)
    try:
        yield
    finally:
        supervisor.start_service(name)


def log_end(stack: Settings, name: str) -> int:
    """A mark in a service's log: what comes after it is news."""
    log = Home(stack.stack.home).log(name)
    return log.stat().st_size if log.is_file() else 0


def said(stack: Settings, name: str, *, since: int) -> str:
    """What the log says after the mark; all of it when it was rotated meanwhile."""
    log = Home(stack.stack.home).log(name)
    if log.stat().st_size < since:
        since = 0
    with log.open("rb") as file:
        file.seek(since)
        return file.read().decode(errors="replace")
