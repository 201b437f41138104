"""The pool: shared, bounded, back after the server was away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from contracts.errors import Misconfigured, Transient
from contracts.settings import Settings
from inference.persistence.pool import Database
from tests.support.postgres import PostgresServer, postgres_server


@pytest.fixture
def pool(database: Settings) -> Iterator[Database]:
    pool = Database(database, size=2, wait_seconds=0.5)
    yield pool
    pool.close()


def test_times_are_aware_and_utc(pool: Database) -> None:
    with pool.connection() as connection:
        row = connection.execute("SELECT timestamp '2026-01-02 03:04', current_setting('TimeZone')").fetchone()
    assert row == (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "UTC")


def test_a_block_is_one_transaction(pool: Database) -> None:
    with pool.connection() as connection:
        connection.execute("CREATE TABLE kept (n int)")
    with pytest.raises(ZeroDivisionError):
        _insert_and_fail(pool)
    with pool.connection() as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_who_waits_too_long_is_told_to_come_again(pool: Database) -> None:
    with pool.connection(), pool.connection():
        started = time.monotonic()
        with pytest.raises(Transient), pool.connection():
            pass
        assert time.monotonic() - started < 5
    with pool.connection() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_many_threads_share_few_connections(pool: Database) -> None:
    def ask(_: int) -> int:
        with pool.connection() as connection:
            row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        return int(row[0])

    with ThreadPoolExecutor(4) as threads:
        pids = set(threads.map(ask, range(40)))
    assert 1 <= len(pids) <= 2


def test_a_statement_without_end_is_ended(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.persistence.pool.STATEMENT_SECONDS", 1)
    pool = Database(database)
    try:
        with pytest.raises(Transient), pool.connection() as connection:
            connection.execute("SELECT pg_sleep(30)")
    finally:
        pool.close()


def test_a_missing_table_is_for_a_person_to_fix(pool: Database) -> None:
    with pytest.raises(Misconfigured, match="migrations"), pool.connection() as connection:
        connection.execute("SELECT * FROM nowhere")


def test_the_pool_outlives_the_server() -> None:
    with postgres_server() as server:
        settings = server.new_database()
        pool = Database(settings, size=2, wait_seconds=1.0)
        try:
            with pool.connection() as connection:
                connection.execute("SELECT 1")
            _without(server, pool)
            server.start()
            answered = _eventually_answers(pool)
        finally:
            pool.close()
    assert answered


def _without(server: PostgresServer, pool: Database) -> None:
    server.stop()
    for _ in range(3):
        with pytest.raises(Transient), pool.connection() as connection:
            connection.execute("SELECT 1")


def _eventually_answers(pool: Database) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with pool.connection() as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except Transient:
            time.sleep(0.2)
    return False


def _insert_and_fail(pool: Database) -> None:
    with pool.connection() as connection:
        connection.execute("INSERT INTO kept VALUES (1)")
        raise ZeroDivisionError
