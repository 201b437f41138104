"""What Connect says about each sink, in one row: is it there, does it run, and if not, why.

{name: Connector} ──► connector_rows ──► the wanted sinks first, absent ones among them, then strangers
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from connectors.connect_admin import RUNNING, Connector
from connectors.reconcile import reason_of
from contracts.topics import SINKS


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorRow:
    """One sink."""

    name: str
    state: str
    tasks: tuple[str, ...]
    reason: str  # of a failure, else empty


def connector_rows(connectors: Mapping[str, Connector]) -> tuple[ConnectorRow, ...]:
    """The wanted sinks first, absent ones among them, then whatever else runs there."""
    names = (*SINKS, *sorted(set(connectors) - set(SINKS)))
    return tuple(_connector_row(name, connectors.get(name)) for name in names)


def all_run(rows: Iterable[ConnectorRow]) -> bool:
    """Whether every wanted sink runs with all its tasks."""
    running = {row.name for row in rows if row.state == RUNNING and set(row.tasks) == {RUNNING}}
    return running >= set(SINKS)


def _connector_row(name: str, connector: Connector | None) -> ConnectorRow:
    if connector is None:
        return ConnectorRow(name=name, state="ABSENT", tasks=(), reason="sightline connectors apply makes it")
    return ConnectorRow(
        name=name,
        state=connector.state,
        tasks=tuple(task.state for task in connector.tasks),
        reason=reason_of(connector.traces[0]) if connector.is_failed else "",
    )
