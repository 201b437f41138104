"""What `up` and `status` say about the services: name, state, process, memory, where, how to get in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import psutil

from sightline.stack.launch_record import is_restarting, starts_of
from sightline.stack.service import Service
from sightline.stack.supervision import Process, Supervisor
from sightline.stack.up import Stack

RESTARTING: Final = "restarting"  # it runs now, but dies young again and again


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRow:
    """One service as it is now."""

    name: str
    state: str  # running, restarting, or supervisord's word in small letters; absent when there is no supervisord
    pid: int | None
    uptime_seconds: float
    restarts: int  # since the last up
    memory_bytes: int  # of the process and its children, shared pages counted once where the system tells
    url: str
    login: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def service_rows(stack: Stack) -> list[ServiceRow]:
    """All services, in the table's order.

    Raises:
        Transient: supervisord lives but does not answer.
    """
    processes = Supervisor(stack.home).processes()
    return [_row(stack, service, processes) for service in stack.services]


def _row(stack: Stack, service: Service, processes: Mapping[str, Process]) -> ServiceRow:
    process = processes.get(service.name)
    return ServiceRow(
        name=service.name,
        state=_state(stack, service, process),
        pid=process.pid if process else None,
        uptime_seconds=process.uptime_seconds if process and process.pid else 0.0,
        restarts=max(0, starts_of(stack.home, service.name) - 1),
        memory_bytes=memory_of(process.pid) if process and process.pid else 0,
        url=service.url,
        login=service.login,
    )


def _state(stack: Stack, service: Service, process: Process | None) -> str:
    if process is None:
        return "absent"
    state = process.state.lower()
    return RESTARTING if state == "running" and is_restarting(stack.home, service.name) else state


def memory_of(pid: int) -> int:
    """Bytes of a process and all below it: proportional set size on Linux, resident elsewhere."""
    try:
        parent = psutil.Process(pid)
        return sum(_bytes(process) for process in (parent, *parent.children(recursive=True)))
    except psutil.Error:
        return 0


def _bytes(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", 0) or full.rss)
    except psutil.Error:
        return 0


def table(rows: Sequence[ServiceRow]) -> str:
    """For a terminal."""
    width = max(11, *(len(row.name) for row in rows)) if rows else 11
    lines = [f"{'service':<{width}} {'state':<10} {'memory':>8}  {'restarts':>8}  where"]
    for row in rows:
        memory = f"{row.memory_bytes / 2**20:,.0f} MiB" if row.memory_bytes else "-"
        login = f"   ({row.login})" if row.login else ""
        lines.append(f"{row.name:<{width}} {row.state:<10} {memory:>8}  {row.restarts:>8}  {row.url}{login}")
    return "\n".join(lines)
