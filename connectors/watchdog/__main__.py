"""The connector watchdog as a process: `python -m connectors.watchdog`. SIGTERM and SIGINT end it cleanly."""

from __future__ import annotations

import logging
import sys
import threading

from prometheus_client import start_http_server

from connectors.connect_admin import KafkaConnectAdmin
from connectors.reconcile import desired
from connectors.signals import on_signals
from connectors.watchdog import partitions
from connectors.watchdog.decision import Rules
from connectors.watchdog.loop import Watchdog
from connectors.watchdog.stores import probes
from contracts import logs
from contracts.errors import PipelineError
from contracts.settings import Settings


def main() -> int:
    """Runs until told to stop; the exit code."""
    logs.configure(service="watchdog")  # for a word about settings that do not fit
    log = logs.get_logger(__name__)
    try:
        settings = Settings.load()
        logs.configure(level=settings.log.level, as_json=settings.log.format == "json", service="watchdog")
        watch(settings)
    except PipelineError as error:
        log.error("watchdog_failed", reason=str(error))  # noqa: TRY400 - the reason is for a person, no trace needed
        return error.exit_code
    return 0


def watch(settings: Settings) -> None:
    """Looks after connectors and partitions until SIGTERM or SIGINT."""
    log = logs.get_logger(__name__)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every probe
    stop = threading.Event()
    on_signals(stop.set)
    watchdog = Watchdog(
        KafkaConnectAdmin(settings.connect),
        desired(settings),
        probes(settings),
        rules=Rules(same_failures=settings.watchdog.same_failures),
    )
    if settings.watchdog.metrics_port is not None:
        start_http_server(settings.watchdog.metrics_port, addr="127.0.0.1", registry=watchdog.metrics.registry)
    # A thread of its own: moving rows to their day may wait for locks, and connectors should not wait for that.
    keeper = threading.Thread(
        target=partitions.keep,
        args=(settings, watchdog.metrics, stop, watchdog.may_configure.set),
        name="partitions",
        daemon=True,
    )
    keeper.start()
    log.info("watchdog_started", poll_seconds=settings.watchdog.poll_seconds)
    watchdog.run(stop, poll_seconds=settings.watchdog.poll_seconds)
    log.info("watchdog_stopped")


if __name__ == "__main__":
    sys.exit(main())
