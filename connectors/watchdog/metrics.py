"""The watchdog's numbers, for Prometheus.

sightline_connect_up                            does Kafka Connect answer
sightline_connector_running{connector}          it and all of its tasks run
sightline_connector_tasks{connector, state}
sightline_watchdog_restarts_total{connector}
sightline_watchdog_gave_up{connector}           1: a person must look
sightline_watchdog_waiting{connector}           1: its store is away
sightline_partitions_ahead_days
sightline_default_partition_rows{table}         rows whose day has no partition
sightline_default_partition_moved_rows_total{table}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge

from connectors.connect_admin import Connector

TASK_STATES: Final = ("UNASSIGNED", "RUNNING", "PAUSED", "STOPPED", "FAILED", "RESTARTING")


class Metrics:
    """The numbers of one watchdog, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.connect_up = self._gauge("sightline_connect_up", "Whether Kafka Connect answers.")
        self.running = self._gauge(
            "sightline_connector_running", "Whether a connector and all of its tasks run.", "connector"
        )
        self.tasks = self._gauge("sightline_connector_tasks", "Tasks by state.", "connector", "state")
        self.restarts = prometheus_client.Counter(
            "sightline_watchdog_restarts", "Restarts asked for.", ["connector"], registry=self.registry
        )
        self.gave_up = self._gauge(
            "sightline_watchdog_gave_up", "Whether the watchdog stopped restarting a connector.", "connector"
        )
        self.waiting = self._gauge(
            "sightline_watchdog_waiting", "Whether a failed connector waits for its store.", "connector"
        )
        self.partitions_ahead = self._gauge(
            "sightline_partitions_ahead_days", "Whole days after today that have partitions."
        )
        self.default_rows = self._gauge("sightline_default_partition_rows", "Rows whose day has no partition.", "table")
        self.moved_rows = prometheus_client.Counter(
            "sightline_default_partition_moved_rows",
            "Rows moved out of a default partition.",
            ["table"],
            registry=self.registry,
        )

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def see(self, connectors: Iterable[Connector]) -> None:
        """Takes over the states of the connectors."""
        for connector in connectors:
            self.running.labels(connector.name).set(connector.is_running)
            states = Counter(task.state for task in connector.tasks)
            for state in TASK_STATES:
                self.tasks.labels(connector.name, state).set(states[state])

    def miss(self, names: Iterable[str]) -> None:
        """No news of these connectors: they do not run, as far as anybody can tell."""
        for name in names:
            self.running.labels(name).set(0)
