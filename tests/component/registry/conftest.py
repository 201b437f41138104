from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from contracts.settings import Settings
from tests.support.mlflow_server import MlflowServer, mlflow_server
from tests.support.models import installed, under_a_gate
from tests.support.postgres import PostgresServer
from tests.support.stores import postgres

__all__ = ["postgres"]


@pytest.fixture(scope="session")
def mlflow() -> Iterator[MlflowServer]:
    with mlflow_server() as server:
        yield server


@pytest.fixture
def empty(postgres: PostgresServer, mlflow: MlflowServer, request: pytest.FixtureRequest) -> Settings:
    """A database of the test's own, and a model name under which nothing is registered."""
    model = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return under_a_gate(mlflow.settings_for(model, postgres.new_database(migrated=True)))


@pytest.fixture
def settings(empty: Settings) -> Settings:
    """Three versions: 1 is champion, 2 and 3 have passed the gate against it."""
    return installed(empty, "1", "2", "3")
