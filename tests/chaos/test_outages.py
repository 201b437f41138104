"""A neighbour that is away for a while, and the whole stack stopped and started under a running camera."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg

from contracts.settings import Settings
from sightline.stack.readiness import is_ready
from sightline.stack.up import load
from tests.support.breakage import kill, stopped
from tests.support.flow import flowing, watchdog_metrics
from tests.support.stack import sightline
from tests.support.waiting import eventually

POSTGRES_AWAY_SECONDS = 90
REGISTRY_AWAY_SECONDS = 10  # after Connect is there
DOWN_SECONDS = 10


def test_connect_that_starts_without_the_registry_waits_for_it(stack: Settings) -> None:
    """A registry that is away is no reason to refuse a record."""
    [connect] = [each for each in load(stack).services if each.name == "connect"]
    with flowing(stack, "registry away while Connect starts") as flow:
        flow.fault_begins()
        with stopped(stack, "registry"):
            kill(stack, "connect")
            eventually(lambda: is_ready(connect, stack), seconds=180)
            time.sleep(REGISTRY_AWAY_SECONDS)
        flow.fault_ends()


def test_postgres_may_be_away_for_a_minute_and_a_half(stack: Settings) -> None:
    with flowing(stack, f"Postgres away for {POSTGRES_AWAY_SECONDS} s") as flow:
        flow.fault_begins()
        with stopped(stack, "postgres"):
            time.sleep(POSTGRES_AWAY_SECONDS)
        flow.fault_ends()


def test_down_and_up_in_the_middle_lose_nothing(stack: Settings) -> None:
    with flowing(stack, "down and up in the middle") as flow:
        flow.fault_begins()
        sightline(stack.stack.home, "down")
        time.sleep(DOWN_SECONDS)
        flow.fault_ends()
        flow.note = "counted from typing up"
        with ThreadPoolExecutor(max_workers=1) as pool:
            going_up = pool.submit(sightline, stack.stack.home, "up")
            flow.recover()
            going_up.result()


def test_rows_without_a_day_are_kept_and_moved_to_it(stack: Settings) -> None:
    """Today's partition and all coming ones are gone, as if nobody had made them in time."""
    with flowing(stack, "coming day partitions gone") as flow:
        flow.fault_begins()
        before = moved_rows(stack)
        put_aside = drop_days(stack)
        assert put_aside > 0
        flow.fault_ends()
        begun = time.monotonic()
        flow.recover()
        # More than what was put there: frames that came meanwhile were taken, and moved, too.
        eventually(lambda: moved_rows(stack) - before > put_aside, seconds=120)
        eventually(lambda: rows_without_a_day(stack) == 0, seconds=30)
        flow.note = f"{moved_rows(stack) - before:.0f} rows moved to their day after {time.monotonic() - begun:.0f} s"
        assert days_ahead(stack) == stack.retention.partitions_ahead_days


def drop_days(stack: Settings) -> int:
    """Rows of today go to the default partitions; returns how many."""
    put_aside = 0
    with psycopg.connect(stack.postgres.conninfo) as connection:
        # No trigger fires while rows are carried over: they are the same rows.
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("LOCK TABLE frames, predictions, detections IN ACCESS EXCLUSIVE MODE")
        for parent, day in connection.execute(
            "SELECT inhparent::regclass::text, relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
            "WHERE relkind = 'r' AND inhparent IN ('frames'::regclass, 'predictions'::regclass, 'detections'::regclass) "
            "AND relname ~ '_[0-9]{8}$' AND right(relname, 8) >= to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')"
        ).fetchall():
            connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {day}")
            put_aside += connection.execute(f"INSERT INTO {parent}_default SELECT * FROM {day}").rowcount
            connection.execute(f"DROP TABLE {day}")
    return put_aside


def rows_without_a_day(stack: Settings) -> int:
    with psycopg.connect(stack.postgres.conninfo) as connection:
        [count] = connection.execute(
            "SELECT (SELECT count(*) FROM frames_default) + (SELECT count(*) FROM predictions_default)"
            " + (SELECT count(*) FROM detections_default)"
        ).fetchone() or [None]
    assert count is not None
    return count


def moved_rows(stack: Settings) -> float:
    return metric(stack, "sightline_default_partition_moved_rows_total")


def days_ahead(stack: Settings) -> float:
    return metric(stack, "sightline_partitions_ahead_days")


def metric(stack: Settings, name: str) -> float:
    """The sum over its labels."""
    lines = (line for line in watchdog_metrics(stack).splitlines() if line.startswith((f"{name} ", f"{name}{{")))
    return sum(float(line.rpartition(" ")[2]) for line in lines)
