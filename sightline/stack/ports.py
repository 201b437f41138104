"""Who listens where: the one table, and the check before anything starts.

    port = settings.stack.ports[name], else settings.stack.port_base + offset

    mlflow 50   postgres 54   api 60   s3 70   registry 80, 81   connect 83   keycloak 85, 86   airflow 87   kafka 92, 93
    watchdog 95   shadow 96   stream 100 + n

Everything listens on loopback.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from contracts.errors import Misconfigured
from contracts.settings import PREFIX, StackSettings

LOOPBACK: Final = "127.0.0.1"
STREAM_METRICS: Final = "stream_metrics"

MOST_WORKERS: Final = 6

_LINGER_SECONDS: Final = 65.0  # Linux remembers a connection that ended for 60
_EPHEMERAL: Final = (32_768, 60_999)
_EPHEMERAL_FILE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


@dataclass(frozen=True, slots=True, kw_only=True)
class PortUse:
    """One row of the table."""

    offset: int
    purpose: str


TABLE: Final[Mapping[str, PortUse]] = {
    "mlflow": PortUse(offset=50, purpose="MLflow: page and REST"),
    "postgres": PortUse(offset=54, purpose="PostgreSQL"),
    "api": PortUse(offset=60, purpose="API: pages, REST and metrics"),
    "s3": PortUse(offset=70, purpose="S3"),
    "registry": PortUse(offset=80, purpose="schema registry: page and REST"),
    "registry_management": PortUse(offset=81, purpose="schema registry: health and metrics"),
    "connect": PortUse(offset=83, purpose="Kafka Connect: REST"),
    "keycloak": PortUse(offset=85, purpose="Keycloak: login pages and tokens"),
    "keycloak_management": PortUse(offset=86, purpose="Keycloak: health and metrics"),
    "airflow": PortUse(offset=87, purpose="Airflow: pages and REST"),
    "kafka": PortUse(offset=92, purpose="Kafka: clients"),
    "kafka_controller": PortUse(offset=93, purpose="Kafka: KRaft controller"),
    "watchdog_metrics": PortUse(offset=95, purpose="connector watchdog: metrics"),
    "shadow_metrics": PortUse(offset=96, purpose="shadow worker (challenger): metrics"),
    STREAM_METRICS: PortUse(offset=100, purpose="stream workers: metrics, one port each"),
}


def ports(settings: StackSettings) -> dict[str, int]:
    """Every name of the table with its port; stream_metrics is the first of one per worker.

    Raises:
        Misconfigured: an override names no row, or two rows share a port.
    """
    strangers = sorted(set(settings.ports) - set(TABLE))
    if strangers:
        raise Misconfigured(
            f"{PREFIX}STACK__PORTS names {', '.join(strangers)}; the names are {', '.join(TABLE)}: correct it"
        )
    table = {name: settings.ports.get(name, settings.port_base + use.offset) for name, use in TABLE.items()}
    _refuse_twins(
        [*table.items(), *((f"{STREAM_METRICS}+{n}", table[STREAM_METRICS] + n) for n in range(1, MOST_WORKERS))]
    )
    return table


def _refuse_twins(named: list[tuple[str, int]]) -> None:
    owners: dict[int, str] = {}
    for name, port in named:
        if port > 65535:
            raise Misconfigured(f"port {port} of {name} does not exist: choose a smaller {PREFIX}STACK__PORT_BASE")
        if port in owners:
            raise Misconfigured(
                f"{owners[port]} and {name} share port {port}: give one another in {PREFIX}STACK__PORTS"
            )
        owners[port] = name


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The process that has a port; pid is None where the system does not tell (another user's)."""

    pid: int | None
    command: str

    def __str__(self) -> str:
        """For a message."""
        return self.command if self.pid is None else f"process {self.pid} ({self.command})"


def ephemeral_range(file: Path = _EPHEMERAL_FILE) -> tuple[int, int]:
    """The first and the last port that this system gives to outgoing connections."""
    try:
        first, last = map(int, file.read_text().split())
    except (OSError, ValueError):  # no Linux
        return _EPHEMERAL
    return first, last


def warning_about(table: Mapping[str, int], ephemeral: tuple[int, int]) -> str | None:
    """What to say of ports that an outgoing connection of anybody may have when a service wants its own."""
    first, last = ephemeral
    if not any(first <= port <= last for port in table.values()):
        return None
    return (
        f"warning: ports from {first} to {last} are given to outgoing connections on this system, and some of the "
        f"stack's lie there: a service may find its port taken. Choose another {PREFIX}STACK__PORT_BASE"
    )


def is_held(port: int) -> bool:
    """Whether something listens there already, or a connection that lives has it.

    What the system remembers of one that ended (TIME-WAIT) holds nothing: it goes by itself, within a minute.
    """
    return _answers(port) or (not _can_be_bound(port) and not _only_lingers(port))


def _answers(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        # Among the ephemeral ports it may have been given the very one, and have met itself.
        return probe.connect_ex((LOOPBACK, port)) == 0 and probe.getsockname() != probe.getpeername()


def _can_be_bound(port: int) -> bool:
    """As the servers bind: with SO_REUSEADDR, past what their own last connections left."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _only_lingers(port: int) -> bool:
    found = _connections(port)
    return bool(found) and all(connection.status == psutil.CONN_TIME_WAIT for connection in found)


def _connections(port: int) -> list[Any]:
    """Everybody's that has this port at our end; none where the system does not tell."""
    try:
        return [found for found in psutil.net_connections(kind="tcp") if found.laddr and found.laddr.port == port]
    except psutil.Error:
        return []


def holder(port: int) -> Holder:
    """Who listens on a port, else whose connection has it, as far as the system tells."""
    found = sorted(_connections(port), key=lambda connection: connection.status != psutil.CONN_LISTEN)
    pid = next((connection.pid for connection in found if connection.pid), None)
    try:
        if pid is not None:
            return Holder(pid=pid, command=" ".join(psutil.Process(pid).cmdline())[:160] or "?")
    except psutil.Error:
        pass
    return Holder(pid=None, command="a process of another user")


def refuse_held(names: Iterable[tuple[str, int]], say: Callable[[str], None] = print) -> None:
    """Checks that every given (name, port) is free, and waits for those that are about to be.

    Raises:
        Misconfigured: at least one is held; each is named with its holder and the setting that moves it.
    """
    names = list(names)
    held = [(name, port, holder(port)) for name, port in names if is_held(port)]
    if not held:
        for name, port in names:
            _wait_until_free(name, port, say)
        return
    lines = [f"port {port} ({TABLE[name].purpose}) is held by {who}" for name, port, who in held]
    overrides = ", ".join(f'"{name}": PORT' for name, _, _ in held)
    raise Misconfigured(
        f"{'; '.join(lines)}. Stop it, move the whole stack with {PREFIX}STACK__PORT_BASE "
        f"(sightline up --port-base 21000), or only this with {PREFIX}STACK__PORTS='{{{overrides}}}'"
    )


def _wait_until_free(name: str, port: int, say: Callable[[str], None]) -> None:
    """An outgoing connection had it: until the system forgets that one, nobody can listen there."""
    deadline = time.monotonic() + _LINGER_SECONDS
    is_told = False
    while not _can_be_bound(port) and time.monotonic() < deadline:
        if not is_told:
            say(f"port {port} ({TABLE[name].purpose}) was a connection's a moment ago: free in a minute at most")
            is_told = True
        time.sleep(0.2)
