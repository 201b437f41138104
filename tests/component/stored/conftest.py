from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient

from contracts.settings import Settings
from inference.api.parts import Parts
from inference.api.routes import cameras, dead_letters, images, labels, pipeline, reviews, stored_frames
from inference.persistence.objects import FrameStore
from tests.support.object_store import ObjectStoreServer
from tests.support.rows import Row, a_frame, a_prediction, upsert
from tests.support.stored_api import a_client, parts_for
from tests.support.stores import connection, database, postgres, s3

__all__ = ["connection", "database", "postgres", "s3"]

ROUTERS = [module.router for module in (stored_frames, images, cameras, reviews, labels, pipeline, dead_letters)]


@pytest.fixture
def parts(database: Settings, s3: ObjectStoreServer) -> Iterator[Parts]:
    store = FrameStore(s3.settings)
    parts = parts_for(database.model_copy(update={"s3": s3.settings}), store)
    yield parts
    parts.database.close()
    store.close()


@pytest.fixture
def client(parts: Parts) -> Iterator[TestClient]:
    with a_client(parts, ROUTERS) as client:
        yield client


@pytest.fixture
def keep(connection: psycopg.Connection[Any]) -> Callable[..., Row]:
    """Stores a frame's row, and a prediction of it unless `predicted` is None."""

    def kept(predicted: dict[str, Any] | None = {}, **changes: Any) -> Row:  # noqa: B006 - never changed
        frame = a_frame(**changes)
        upsert(connection, "frames", frame)
        if predicted is not None:
            upsert(connection, "predictions", a_prediction(frame["frame_id"], **predicted))
        return frame

    return kept
