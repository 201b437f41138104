from __future__ import annotations

from pathlib import Path

import pytest

from contracts.settings import MlflowSettings, Settings, StreamSettings
from inference.delivery.gate_set import GateSet, simulated
from tests.support.postgres import PostgresServer
from tests.support.stores import postgres

__all__ = ["postgres"]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def settings(
    postgres: PostgresServer,
    store: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    """A migrated database and a registered model of the test's own, in a real MLflow store."""
    monkeypatch.chdir(store)  # where MLflow puts artefacts without a server
    return postgres.new_database(
        migrated=True,
        mlflow=MlflowSettings(tracking_uri=f"sqlite:///{store}/mlflow.db", model_name=request.node.name[:60]),
        stream=StreamSettings(cache_folder=tmp_path / "cache"),
    )


@pytest.fixture(scope="session")
def gate_set() -> GateSet:
    """Boards of the simulator; at least 30 labels of each class."""
    made = simulated(60)
    assert min(made.labels().values()) >= 30
    return made
