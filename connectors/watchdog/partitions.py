"""Keeps the day partitions ahead of the frames, through SQL that a migration owns.

    ensure_partitions(retention, ahead) ──► rows of (partition, "created" | "moved N rows")

A moved row had come before its day was there, and lay in the default partition: nothing is lost, but somebody should
know. Postgres away: the next round tries again.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import psycopg

from connectors.watchdog.metrics import Metrics
from contracts.logs import get_logger
from contracts.settings import Settings

log = get_logger(__name__)

TABLES: Final = ("frames", "predictions", "detections")
_RETRY_SECONDS: Final = 5.0
_MOVED: Final = re.compile(r"moved (\d+) rows")
_MOST_COUNTED: Final = 100_000  # beyond that the exact number of stray rows tells nothing more


@dataclass(frozen=True, slots=True, kw_only=True)
class Partitions:
    """What one round found and did."""

    created: tuple[str, ...]
    moved: dict[str, int]  # rows out of the default partition, by the partition that got them
    ahead_days: int  # whole days after today, of the table that has fewest
    default_rows: dict[str, int]  # rows without a day of their own, by table


def ensure(settings: Settings) -> Partitions:
    """One round.

    Raises:
        psycopg.Error: Postgres is away, busy, or not migrated yet.
    """
    retention, ahead = settings.retention.period, timedelta(days=settings.retention.partitions_ahead_days)
    # A server that vanishes without a word is noticed, too.
    with psycopg.connect(settings.postgres.conninfo, autocommit=True, tcp_user_timeout=30_000) as connection:
        rows = connection.execute(
            "SELECT partition, action FROM ensure_partitions(%s, %s)", (retention, ahead)
        ).fetchall()
        moved = {partition: int(found[1]) for partition, action in rows if (found := _MOVED.fullmatch(action))}
        return Partitions(
            created=tuple(partition for partition, _ in rows),
            moved=moved,
            ahead_days=min(_ahead_days(connection, table) for table in TABLES),
            default_rows={table: _default_rows(connection, table) for table in TABLES},
        )


def keep(settings: Settings, metrics: Metrics, stop: threading.Event, on_ensured: Callable[[], None]) -> None:
    """Rounds until told to stop. `on_ensured` is called after each that succeeded: the tables are there."""
    is_failing = False
    while not stop.is_set():
        pause = settings.watchdog.partitions_every_seconds
        try:
            found = ensure(settings)
        except psycopg.Error as error:
            if not is_failing:
                log.warning("partitions_not_ensured", reason=str(error).strip().split("\n", 1)[0])
            is_failing, pause = True, min(_RETRY_SECONDS, pause)
        else:
            is_failing = False
            _tell(found, metrics)
            on_ensured()
        stop.wait(pause)


def _tell(found: Partitions, metrics: Metrics) -> None:
    metrics.partitions_ahead.set(found.ahead_days)
    for table, rows in found.default_rows.items():
        metrics.default_rows.labels(table).set(rows)
    if found.created:
        log.info("partitions_created", partitions=len(found.created), ahead_days=found.ahead_days)
    for partition, rows in found.moved.items():
        metrics.moved_rows.labels(partition.rsplit("_", 1)[0]).inc(rows)
        log.warning(
            "rows_moved_to_their_day",
            partition=partition,
            rows=rows,
            advice="they came before their day was there: is the clock of a camera or of this machine right?",
        )


def _ahead_days(connection: psycopg.Connection[Any], table: str) -> int:
    """Whole days after today for which the table has a partition, without a gap."""
    names = connection.execute(
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = %s::regclass",
        (table,),
    ).fetchall()
    return days_ahead([name for (name,) in names], today=datetime.now(UTC).date())


def days_ahead(partitions: list[str], *, today: date) -> int:
    """Whole days after today that the named partitions (…_YYYYMMDD) cover without a gap; -1: not even today."""
    days = {name.rsplit("_", 1)[-1] for name in partitions}
    ahead = -1
    while (today + timedelta(days=ahead + 1)).strftime("%Y%m%d") in days:
        ahead += 1
    return ahead


def _default_rows(connection: psycopg.Connection[Any], table: str) -> int:
    counted = connection.execute(
        f"SELECT count(*) FROM (SELECT FROM {table}_default LIMIT {_MOST_COUNTED}) AS counted"  # noqa: S608 - our names
    ).fetchone()
    return int(counted[0]) if counted else 0
