from __future__ import annotations

import uuid

import pytest

from contracts.settings import RetentionSettings
from inference.persistence import ensure_partitions
from inference.persistence.audit import rounds as audit_rounds
from inference.persistence.objects import FrameStore, ensure_buckets
from tests.support.object_store import ObjectStoreServer
from tests.support.postgres import PostgresServer
from tests.support.stored_pipeline import Pipeline
from tests.support.stores import database, postgres, s3

__all__ = ["database", "kept_days", "pipeline", "postgres", "s3"]


@pytest.fixture
def pipeline(postgres: PostgresServer, s3: ObjectStoreServer, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    own = uuid.uuid4().hex[:12]
    bucket = s3.settings.model_copy(update={"frames_bucket": f"frames-{own}", "mlflow_bucket": f"mlflow-{own}"})
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
