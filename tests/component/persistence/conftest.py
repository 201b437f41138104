from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from contracts.settings import RetentionSettings, Settings
from inference.persistence import ensure_partitions
from inference.persistence.audit import rounds as audit_rounds
from inference.persistence.objects import FrameStore, ensure_buckets
from tests.support.object_store import ObjectStoreServer, object_store
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.stored_pipeline import Pipeline


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> Settings:
    """A migrated database of the test's own; everything lies in the default partitions until a test ensures more."""
    return postgres.new_database(migrated=True)


@pytest.fixture(scope="session")
def s3() -> Iterator[ObjectStoreServer]:
    with object_store() as server:
        yield server


@pytest.fixture
def pipeline(postgres: PostgresServer, s3: ObjectStoreServer, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    bucket = s3.settings.model_copy(update={"frames_bucket": f"frames-{uuid.uuid4().hex[:12]}"})
    settings = postgres.new_database(migrated=True, s3=bucket)
    ensure_buckets(settings)
    found = Pipeline(settings=settings, store=FrameStore(bucket))
    monkeypatch.setattr(audit_rounds, "read_recent", lambda *_: found.recent)
    monkeypatch.setattr(audit_rounds.dead_letters, "counts", lambda *_: {})
    monkeypatch.setattr(audit_rounds.dead_letters, "read", lambda *_: iter(()))
    return found


@pytest.fixture
def kept_days(pipeline: Pipeline) -> Pipeline:
    """Its database has partitions, as when it was younger; a camera of its own keeps 7 days."""
    pipeline.settings = pipeline.settings.model_copy(
        update={"retention": RetentionSettings(days=30, cameras={"short": 7})}
    )
    older = pipeline.settings.model_copy(update={"retention": RetentionSettings(days=40)})
    ensure_partitions(older)
    return pipeline
