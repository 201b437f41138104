"""The role by which Airflow's tasks read the pipeline's tables, on a real Postgres: it reads, whatever it tries."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from pydantic import SecretStr

from contracts.settings import Settings
from inference.persistence import connect, ensure_partitions
from sightline.stack.reader import ROLE, ensure_reader
from tests.support.postgres import postgres_server
from tests.support.rows import a_frame, upsert

TRIES = (
    "CREATE TABLE written_by_a_reader (id int)",
    "CREATE TEMPORARY TABLE written_by_a_reader (id int)",
    "DELETE FROM frames",
    "UPDATE promotions SET version = '2'",
    "INSERT INTO review_requests (frame_id, camera_id, requested_by, reason) VALUES (gen_random_uuid(), 'c', 'me', 'x')",
    "SELECT ensure_partitions(interval '400 days', interval '20 days')",
    "SET ROLE sightline",
)


@pytest.fixture(scope="module")
def owner() -> Iterator[Settings]:
    with postgres_server() as server:
        settings = server.new_database(migrated=True)
        ensure_reader(settings.postgres, "first")
        ensure_reader(settings.postgres, "second")
        yield settings


@pytest.fixture
def reading(owner: Settings) -> Iterator[psycopg.Connection]:
    login = owner.postgres.model_copy(update={"user": ROLE, "password": SecretStr("second")})
    with psycopg.connect(login.conninfo, autocommit=True) as connection:
        yield connection


def test_it_reads_what_there_is_and_what_is_made_later(owner: Settings, reading: psycopg.Connection) -> None:
    with connect(owner) as connection:
        upsert(connection, "frames", a_frame())
        connection.execute("CREATE TABLE made_later AS SELECT 7 AS id")
    ensure_partitions(owner)
    assert reading.execute("SELECT count(*) FROM frames").fetchone() == (1,)
    assert reading.execute("SELECT count(*) FROM all_frames").fetchone() == (1,)
    assert reading.execute("SELECT id FROM made_later").fetchone() == (7,)


@pytest.mark.parametrize("statement", TRIES, ids=[" ".join(one.split()[:3]) for one in TRIES])
def test_it_writes_nothing_though_it_says_that_it_may(reading: psycopg.Connection, statement: str) -> None:
    reading.execute("SET default_transaction_read_only = off")
    with pytest.raises(InsufficientPrivilege):
        reading.execute(statement)


def test_the_login_of_before_is_worth_nothing(owner: Settings) -> None:
    login = owner.postgres.model_copy(update={"user": ROLE, "password": SecretStr("first")})
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(login.conninfo)
