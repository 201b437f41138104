"""What the API reads from broker, Connect and registry, on the real stack: pipeline, audit, trace, dead letters."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from connectors import dead_letters
from connectors.kafka import make_producer
from connectors.schema_registry import SchemaRegistry
from connectors.serialisation import Codec
from contracts.settings import Settings
from contracts.topics import SINKS
from inference.api.routes import cameras, images, pipeline, stored_frames
from inference.api.routes import dead_letters as letters
from inference.persistence.audit import as_document, audit
from inference.persistence.objects import FrameStore
from tests.support.command_line import succeed
from tests.support.records import a_frame_record
from tests.support.rows import now
from tests.support.stored_api import a_client, bearer, parts_for
from tests.support.waiting import eventually

VIEWER, ADMIN = bearer("viewer"), bearer("admin")
CAMERA = "api-reads"
ROUTERS = [module.router for module in (stored_frames, images, cameras, pipeline, letters)]


@pytest.fixture(scope="module")
def client(stack: Settings) -> Iterator[TestClient]:
    store = FrameStore(stack.s3)
    parts = parts_for(stack, store)
    with a_client(parts, ROUTERS) as client:
        yield client
    parts.database.close()
    store.close()


def got(client: TestClient, path: str, headers: dict[str, str] = VIEWER, **query: Any) -> dict[str, Any]:
    answer = client.get(path, params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.fixture(scope="module")
def sent(stack: Settings, client: TestClient) -> list[dict[str, Any]]:
    """Five frames of the simulator, stored and predicted."""
    succeed(stack, "send", "simulator:?size=320", "--camera", CAMERA, "--count", "5")

    def stored() -> list[dict[str, Any]]:
        """Row, prediction and object come by three sinks, in any order."""
        frames: list[dict[str, Any]] = got(client, "/v1/frames", camera=CAMERA)["frames"]
        are_there = [frame["prediction"] and client.get(frame["image"]["url"]).status_code == 200 for frame in frames]
        return frames if len(frames) == 5 and all(are_there) else []

    return eventually(stored)


def test_frames_of_a_camera_come_with_image_and_prediction(client: TestClient, sent: list[dict[str, Any]]) -> None:
    assert [frame["sequence"] for frame in sent] == [4, 3, 2, 1, 0]
    assert {frame["prediction"]["status"] for frame in sent} == {"ok"}
    image = client.get(sent[0]["image"]["url"])
    assert (image.status_code, len(image.content)) == (200, sent[0]["image"]["size_bytes"])
    [camera] = [each for each in got(client, "/v1/cameras")["cameras"] if each["camera_id"] == CAMERA]
    assert camera["last_frame_id"] == sent[0]["frame_id"]
    assert camera["session"] is None  # closed


def test_a_trace_tells_the_whole_way(client: TestClient, sent: list[dict[str, Any]]) -> None:
    body = got(client, f"/v1/frames/{sent[0]['frame_id']}/trace")
    assert body["is_known"]
    assert body["is_in_topic"]
    assert body["object"]["matches_row"]
    assert [row["status"] for row in body["predictions"]] == ["ok"]
    assert body["timeline"] == sorted(body["timeline"], key=lambda event: event["at"])


def test_the_pipeline_is_well_and_every_sink_is_named(client: TestClient, sent: list[dict[str, Any]]) -> None:
    body = got(client, "/v1/pipeline")
    assert body["is_well"], body
    assert [row["name"] for row in body["connectors"]][: len(SINKS)] == list(SINKS)
    assert {lag["group"] for lag in body["flow"]["lags"]} >= {"stream-champion", *(f"connect-{name}" for name in SINKS)}
    assert body["flow"]["frames_per_second"] >= 0


@pytest.mark.usefixtures("sent")
def test_the_audit_says_what_the_command_says(client: TestClient, stack: Settings) -> None:
    since = now() - timedelta(minutes=30)
    body = got(client, "/v1/audit", camera=CAMERA, since=since.isoformat())
    document = as_document(audit(stack, camera=CAMERA, since=since, is_quick=True))
    assert (body["acknowledged"], body["stored"], body["is_closed"], body["is_quick"]) == (5, 5, True, True)
    assert set(body) == set(document)
    assert set(body["sessions"][0]) == set(document["sessions"][0])


@pytest.fixture(scope="module")
def refused(stack: Settings) -> dict[str, Any]:
    """A record that every frame sink refuses."""
    registry = SchemaRegistry(stack.registry)
    frame = a_frame_record(camera_id=CAMERA, sha256="0" * 64)
    producer = make_producer(stack)
    for _ in range(3):
        producer.produce("frames", key=CAMERA, value=Codec(registry).encode("frames", frame))
    assert producer.flush(30) == 0
    registry.close()
    consumers = ("frames_to_s3", "frames_to_postgres", "stream")

    def all_refused() -> bool:
        counts = dead_letters.counts(stack)
        return all(counts[name] >= 3 for name in consumers)

    eventually(all_refused)
    return frame


@pytest.mark.usefixtures("refused")
def test_dead_letters_are_listed_newest_first_page_by_page(client: TestClient) -> None:
    whole = got(client, "/v1/dead-letters", ADMIN, limit=200)
    ids = [letter["id"] for letter in whole["dead_letters"]]
    assert whole["counts"]["frames_to_s3"] >= 3
    times = [letter["refused_at"] for letter in whole["dead_letters"]]
    assert times == sorted(times, reverse=True)
    paged: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = got(client, "/v1/dead-letters", ADMIN, **query)
        paged += [letter["id"] for letter in page["dead_letters"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert paged == ids
    one = got(client, "/v1/dead-letters", ADMIN, consumer="frames_to_s3", code="sha256_mismatch")
    assert {letter["consumer"] for letter in one["dead_letters"]} == {"frames_to_s3"}
    assert got(client, "/v1/dead-letters", ADMIN, consumer="frames_to_s3", code="other")["dead_letters"] == []


def test_one_dead_letter_shows_its_record_and_comes_back_once_it_is_good(
    client: TestClient, refused: dict[str, Any]
) -> None:
    listed = got(client, "/v1/dead-letters", ADMIN, consumer="frames_to_s3")["dead_letters"]
    letter_id = listed[0]["id"]
    letter = got(client, f"/v1/dead-letters/{letter_id}", ADMIN)
    assert letter["record"]["frame_id"] == refused["frame_id"]
    assert "image" not in letter["record"]
    assert letter["image"]["size_bytes"] == refused["size_bytes"]

    replay = f"/v1/dead-letters/{letter_id}/replay"
    again = client.post(replay, headers=ADMIN)
    assert (again.status_code, again.json()["is_replayed"]) == (200, False)
    assert "sha256_mismatch" in again.json()["reason"]
    edit = {"edit": {"sha256": letter["image"]["sha256"]}}
    sent_twice = [client.post(replay, json=edit, headers=ADMIN).json() for _ in range(2)]
    assert [outcome["is_replayed"] for outcome in sent_twice] == [True, True]

    def stored() -> bool:
        return client.get(f"/v1/frames/{refused['frame_id']}/image", headers=VIEWER).status_code == 200

    eventually(stored)
    trace = got(client, f"/v1/frames/{refused['frame_id']}/trace")
    assert trace["conflicts"] == []
    assert trace["row"]["sha256"] == letter["image"]["sha256"]


def test_what_is_not_there_is_not_found(client: TestClient) -> None:
    for letter_id in ("frames_to_s3:999999", "nobody:1"):
        assert client.get(f"/v1/dead-letters/{letter_id}", headers=ADMIN).status_code == 404
        assert client.post(f"/v1/dead-letters/{letter_id}/replay", headers=ADMIN).status_code == 404
