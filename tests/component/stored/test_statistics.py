"""GET /v1/stats and what GET /v1/pipeline and /v1/audit say when others are away or busy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from contracts.settings import ConnectSettings, KafkaSettings, Settings
from inference.api.parts import Parts
from tests.component.stored.conftest import ROUTERS
from tests.support.postgres import free_port
from tests.support.rows import Row, a_prediction, a_session, now, upsert
from tests.support.stored_api import a_client, bearer, parts_for

VIEWER = bearer("viewer")
MINUTE = datetime.fromisoformat("2026-03-01T10:30:00Z")


def stats(client: TestClient, **query: Any) -> dict[str, Any]:
    given = {"since": MINUTE.isoformat(), "until": (MINUTE + timedelta(minutes=3)).isoformat()} | query
    answer = client.get("/v1/stats", params=given, headers=VIEWER)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.fixture
def kept(keep: Callable[..., Row], connection: Any) -> None:
    one = {"labels": ["open"], "confidences": [0.9], "boxes": [1.0, 2.0, 3.0, 4.0]}
    for n in range(4):
        frame = keep(one | {"latency_ms": 100.0 * (n + 1)}, sequence=n, captured_at=MINUTE + timedelta(seconds=20 * n))
        # A shadow sees the same frames: they are not counted twice, nor its latency.
        shadow = one | {"model_version": "2", "role": "challenger", "latency_ms": 9000.0, "labels": ["short"]}
        upsert(connection, "predictions", a_prediction(frame["frame_id"], **shadow))
    keep(
        one | {"camera_id": "line-2", "status": "undecodable", "labels": [], "confidences": [], "boxes": []},
        camera_id="line-2",
        captured_at=MINUTE + timedelta(seconds=59),
    )
    backfilled = keep(None, sequence=9, captured_at=MINUTE + timedelta(seconds=70))
    upsert(
        connection,
        "predictions",
        a_prediction(backfilled["frame_id"], role="batch", latency_ms=8.0e7, model_version="3"),
    )
    keep(one, sequence=10, captured_at=MINUTE + timedelta(minutes=3))  # until is outside
    keep(one, sequence=11, captured_at=MINUTE - timedelta(milliseconds=1))


@pytest.mark.usefixtures("kept")
def test_frames_and_boxes_are_counted_once_by_minute_camera_and_label(client: TestClient) -> None:
    body = stats(client)
    at, later = "2026-03-01T10:30:00Z", "2026-03-01T10:31:00Z"
    assert body["frames"] == [
        {"at": at, "camera_id": "line-1", "frames": 3},
        {"at": at, "camera_id": "line-2", "frames": 1},
        {"at": later, "camera_id": "line-1", "frames": 2},
    ]
    assert body["detections"] == [
        {"at": at, "camera_id": "line-1", "label": "open", "detections": 3},
        {"at": later, "camera_id": "line-1", "label": "open", "detections": 2},
        {"at": later, "camera_id": "line-1", "label": "short", "detections": 1},
    ]
    assert body["statuses"] == {"ok": 5, "undecodable": 1}


@pytest.mark.usefixtures("kept")
def test_latency_is_the_streams(client: TestClient) -> None:
    assert stats(client, camera="line-1")["latency"] == {"frames": 4, "p50_ms": 250.0, "p99_ms": pytest.approx(397.0)}
    assert stats(client, camera="line-3")["latency"] == {"frames": 0, "p50_ms": None, "p99_ms": None}


@pytest.mark.usefixtures("kept")
def test_a_day_is_counted_by_hour(client: TestClient) -> None:
    body = stats(client, step="hour", since="2026-03-01T00:00:00Z", until="2026-03-02T00:00:00Z", camera="line-1")
    assert body["frames"] == [{"at": "2026-03-01T10:00:00Z", "camera_id": "line-1", "frames": 7}]


def test_without_a_range_it_is_the_last_hour(client: TestClient, keep: Callable[..., Row]) -> None:
    keep(captured_at=now() - timedelta(minutes=59))
    keep(captured_at=now() - timedelta(minutes=61), sequence=1)
    body = client.get("/v1/stats", headers=VIEWER).json()
    assert sum(each["frames"] for each in body["frames"]) == 1


@pytest.mark.parametrize(
    "query",
    [
        {"since": "2026-03-01T00:00:00Z", "until": "2026-03-02T00:00:01Z"},
        {"since": "2026-03-01T00:00:00Z", "until": "2026-03-01T00:00:00Z"},
        {"since": "2026-03-01T00:00:00Z", "until": "2026-02-01T00:00:00Z"},
        {"since": "2026-03-01T00:00:00Z", "until": "2026-04-02T00:00:00Z", "step": "hour"},
        {"step": "second"},
        {"since": "1970-01-01T00:00:00Z"},
        {"until": "1970-01-01T00:00:00Z", "since": "x"},
    ],
)
def test_a_range_without_end_is_refused(client: TestClient, query: dict[str, str]) -> None:
    assert client.get("/v1/stats", params=query, headers=VIEWER).status_code == 422


def test_the_earliest_time_has_an_answer(client: TestClient) -> None:
    answer = client.get("/v1/stats", params={"until": "1970-01-01T00:00:00Z"}, headers=VIEWER)
    assert answer.status_code == 200, answer.text
    assert answer.json()["frames"] == []


def test_the_pipeline_is_answered_while_broker_and_connect_are_away(database: Settings, connection: Any) -> None:
    upsert(connection, "sessions", a_session(closed_at=None, updated_at=now(), camera_id="twice"))
    upsert(
        connection,
        "sessions",
        a_session(
            closed_at=None, updated_at=now(), camera_id="twice", session_id="019b7c3e-0000-7000-8000-0000000000bb"
        ),
    )
    away = database.model_copy(
        update={
            "kafka": KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}"),
            "connect": ConnectSettings(url=f"http://127.0.0.1:{free_port()}", timeout_seconds=2),
        }
    )
    parts = parts_for(away)
    try:
        answer = a_client(parts, ROUTERS).get("/v1/pipeline", headers=VIEWER)
    finally:
        parts.database.close()
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["is_well"], body["connectors"], body["flow"]) == (False, None, None)
    assert len(body["away"]) == 2
    assert {each["camera_id"] for each in body["open_sessions"]} == {"twice"}
    assert "two senders share its name" in body["warnings"][0]


def test_one_audit_is_made_at_a_time_and_only_of_the_last_hours(client: TestClient, parts: Parts) -> None:
    with parts.auditing:
        answer = client.get("/v1/audit", headers=VIEWER)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    old = client.get("/v1/audit", params={"since": (now() - timedelta(hours=3)).isoformat()}, headers=VIEWER)
    assert (old.status_code, old.json()["code"]) == (422, "bad_range")


def test_a_bad_dead_letters_id_is_refused_before_anybody_is_asked(client: TestClient) -> None:
    for letter_id in ("x", "frames_to_s3:", "frames_to_s3:" + "9" * 19, "%00:1", "stream:1.5"):
        for method, path in (("GET", ""), ("POST", "/replay")):
            answer = client.request(method, f"/v1/dead-letters/{letter_id}{path}", headers=bearer("admin"))
            assert answer.status_code == 422, answer.text
    assert client.get("/v1/dead-letters", headers=bearer("viewer")).status_code == 403
    assert client.get("/v1/dead-letters", params={"consumer": "x"}, headers=bearer("admin")).status_code == 422
    body = {"edit": {"image": "x"}}
    answer = client.post("/v1/dead-letters/stream:1/replay", json=body, headers=bearer("admin"))
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_edit")
