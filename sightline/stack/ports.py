"""Who listens where: the one table, and the check before anything starts.

    port = settings.stack.ports[name], else settings.stack.port_base + offset

    mlflow 50   postgres 54   api 60   s3 70   registry 80, 81   connect 83   keycloak 85, 86   airflow 87   kafka 92, 93
    watchdog 95   shadow 96   stream 100 + n

Everything listens on loopback.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import psutil

from contracts.errors import Misconfigured
from contracts.settings import PREFIX, StackSettings

LOOPBACK: Final = "127.0.0.1"
STREAM_METRICS: Final = "stream_metrics"

MOST_WORKERS: Final = 6


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
    """The process that listens on a port; pid is None where the system does not tell (another user's)."""

    pid: int | None
    command: str

    def __str__(self) -> str:
        """For a message."""
        return self.command if self.pid is None else f"process {self.pid} ({self.command})"


def is_held(port: int) -> bool:
    """Whether something listens there already."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        if probe.connect_ex((LOOPBACK, port)) == 0:
            return True
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
    return False


def holder(port: int) -> Holder:
    """Who listens on a port, as far as the system tells."""
    try:
        listening = (
            c
            for c in psutil.net_connections(kind="tcp")
            if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port
        )
        pid = next((c.pid for c in listening if c.pid), None)
        if pid is not None:
            return Holder(pid=pid, command=" ".join(psutil.Process(pid).cmdline())[:160] or "?")
    except psutil.Error:
        pass
    return Holder(pid=None, command="a process of another user")


def refuse_held(names: Iterable[tuple[str, int]]) -> None:
    """Checks that every given (name, port) is free.

    Raises:
        Misconfigured: at least one is held; each is named with its holder and the setting that moves it.
    """
    held = [(name, port, holder(port)) for name, port in names if is_held(port)]
    if not held:
        return
    lines = [f"port {port} ({TABLE[name].purpose}) is held by {who}" for name, port, who in held]
    overrides = ", ".join(f'"{name}": PORT' for name, _, _ in held)
    raise Misconfigured(
        f"{'; '.join(lines)}. Stop it, move the whole stack with {PREFIX}STACK__PORT_BASE "
        f"(sightline up --port-base 21000), or only this with {PREFIX}STACK__PORTS='{{{overrides}}}'"
    )
