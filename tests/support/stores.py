"""Fixtures of the real stores: a folder's conftest imports those that its tests use, and has servers of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from contracts.settings import Settings
from inference.persistence.database import open_connection
from tests.support.object_store import ObjectStoreServer, object_store
from tests.support.postgres import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[ObjectStoreServer]:
    with object_store() as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> Settings:
    """A migrated database of the test's own; everything lies in the default partitions until a test ensures more."""
    return postgres.new_database(migrated=True)


@pytest.fixture
def connection(database: Settings) -> Iterator[psycopg.Connection[Any]]:
    with open_connection(database.postgres, autocommit=True) as connection:
        yield connection
