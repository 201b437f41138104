"""GET /v1/frames, one frame, cameras: what was stored, page by page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient

from contracts.identifiers import new_id
from inference.domain.review import LabelledBox, Purpose, Review, Verdict
from inference.persistence import reviews
from inference.persistence.schema import ensure_partitions
from tests.support.rows import Row, a_frame, a_prediction, a_session, now, upsert
from tests.support.stored_api import bearer

VIEWER = bearer("viewer")
Keep = Callable[..., Row]


def listed(client: TestClient, **query: Any) -> list[str]:
    answer = client.get("/v1/frames", params=query, headers=VIEWER)
    assert answer.status_code == 200, answer.text
    return [frame["frame_id"] for frame in answer.json()["frames"]]


def many(keep: Keep, count: int, **changes: Any) -> list[str]:
    """So many frames a second apart, their ids newest first."""
    start = now() - timedelta(minutes=10)
    kept = [keep(sequence=n, captured_at=start + timedelta(seconds=n), **changes)["frame_id"] for n in range(count)]
    return kept[::-1]


@pytest.mark.parametrize("camera", [None, "line-1"])
def test_pages_hold_every_frame_once_newest_first(client: TestClient, keep: Keep, camera: str | None) -> None:
    ids = many(keep, 7)
    keep(camera_id="line-2", captured_at=now() - timedelta(hours=1))
    query: dict[str, Any] = {"limit": 3, "since": (now() - timedelta(minutes=30)).isoformat()}
    query |= {"camera": camera} if camera else {}
    found, sizes = [], []
    while True:
        answer = client.get("/v1/frames", params=query, headers=VIEWER).json()
        found += [frame["frame_id"] for frame in answer["frames"]]
        sizes.append(len(answer["frames"]))
        if answer["next"] is None:
            break
        query["cursor"] = answer["next"]
    assert found == ids
    assert sizes == [3, 3, 1]


def test_a_page_that_ends_with_the_last_frame_names_no_next_one(client: TestClient, keep: Keep) -> None:
    many(keep, 2)
    assert client.get("/v1/frames", params={"limit": 2}, headers=VIEWER).json()["next"] is None


def test_pages_reach_over_day_partitions(database: Any, client: TestClient, keep: Keep) -> None:
    days = [keep(sequence=n, captured_at=now() - timedelta(days=n))["frame_id"] for n in range(3)]
    ensure_partitions(database)
    assert listed(client) == days
    assert listed(client, camera="line-1", limit=2) == days[:2]
    bounds = {"since": (now() - timedelta(days=1, hours=12)).isoformat()}
    assert listed(client, **bounds) == days[:2]
    assert listed(client, until=(now() - timedelta(hours=12)).isoformat()) == days[1:]


def test_filters_look_at_what_was_predicted(client: TestClient, keep: Keep, connection: Any) -> None:
    both = keep(sequence=0)["frame_id"]  # open 0.5, short 0.25
    sure = keep({"labels": ["short"], "confidences": [0.9], "boxes": [1.0, 2.0, 3.0, 4.0]}, sequence=1)["frame_id"]
    broken = keep({"status": "undecodable", "labels": [], "confidences": [], "boxes": []}, sequence=2)["frame_id"]
    alone = keep(None, sequence=3)["frame_id"]
    upsert(connection, "predictions", a_prediction(broken, model_version="2"))

    assert set(listed(client)) == {both, sure, broken, alone}
    assert set(listed(client, label="short", version="1")) == {both, sure}
    assert set(listed(client, label="short")) == {both, sure, broken}
    assert listed(client, label="short", min_confidence=0.6) == [sure]
    assert set(listed(client, min_confidence=0.5, version="1")) == {both, sure}
    assert listed(client, status="undecodable") == [broken]
    assert listed(client, status="ok", version="2") == [broken]
    assert listed(client, version="2") == [broken]
    assert listed(client, label="open", camera="line-2") == []


def test_filters_look_at_what_people_said(client: TestClient, keep: Keep, connection: Any) -> None:
    mine, hers, taken_back, none = (keep(sequence=n)["frame_id"] for n in range(4))
    for frame_id, who in ((mine, "ann"), (hers, "eve"), (taken_back, "ann")):
        saved = reviews.save(
            connection, Review(frame_id=frame_id, reviewer=who, reviewer_name=who, verdict=Verdict.EMPTY)
        )
    reviews.undo(connection, saved, reviewer="ann", reviewer_name="ann")
    assert set(listed(client, review="reviewed")) == {mine, hers}
    assert listed(client, review="mine") == [mine]
    assert set(listed(client, review="none")) == {taken_back, none}


FILTERS: list[dict[str, Any]] = [
    {"label": "open"}, {"min_confidence": 0.1}, {"status": "ok"}, {"version": "1"}, {"review": "none"},
]  # fmt: skip


@pytest.mark.parametrize("query", FILTERS)
def test_a_filter_that_may_fit_nothing_looks_back_a_day_unless_told_otherwise(
    client: TestClient, keep: Keep, query: dict[str, Any]
) -> None:
    today = keep(sequence=0)["frame_id"]
    before = keep(sequence=1, captured_at=now() - timedelta(days=3))["frame_id"]
    assert listed(client, **query) == [today]
    assert listed(client, **query, since=(now() - timedelta(days=4)).isoformat()) == [today, before]
    assert listed(client, **query, until=(now() - timedelta(days=2, hours=12)).isoformat()) == [before]
    assert listed(client) == listed(client, camera="line-1") == [today, before], "an index answers: no bound"


@pytest.mark.parametrize("query", FILTERS)
def test_a_filter_that_may_fit_nothing_reads_31_days_at_most(client: TestClient, query: dict[str, Any]) -> None:
    long = {"since": (now() - timedelta(days=32)).isoformat()}
    answer = client.get("/v1/frames", params=query | long, headers=VIEWER)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_range")
    assert listed(client, **long) == []
    assert listed(client, **query, since=(now() - timedelta(days=31)).isoformat()) == []


def test_the_answer_says_from_when_frames_were_looked_at(client: TestClient) -> None:
    until = now() - timedelta(days=5)
    answer = client.get("/v1/frames", params={"label": "open", "until": until.isoformat()}, headers=VIEWER).json()
    assert datetime.fromisoformat(answer["since"]) == until - timedelta(days=1)
    assert client.get("/v1/frames", headers=VIEWER).json()["since"] is None


def test_a_list_shows_the_champions_prediction(client: TestClient, keep: Keep, connection: Any) -> None:
    frame_id = keep({"model_version": "1"})["frame_id"]
    later = now()
    upsert(connection, "predictions", a_prediction(frame_id, model_version="2", role="challenger", inferred_at=later))

    def shown(**query: Any) -> str:
        [frame] = client.get("/v1/frames", params=query, headers=VIEWER).json()["frames"]
        return frame["prediction"]["model_version"]

    assert shown() == "1"  # no ledger: what ran as champion, though the other is newer
    connection.execute(
        "INSERT INTO promotions (model, alias, version, state, done_at, approved_by, reason) "
        "VALUES ('pcb-defects', 'champion', '2', 'done', now(), 'test', 'test')"
    )
    assert shown() == "2"
    assert shown(version="1") == "1"


def test_a_frame_shows_everything_said_of_it(client: TestClient, keep: Keep, connection: Any) -> None:
    frame = keep(source_time=now() - timedelta(days=1))
    reviews.save(
        connection,
        Review(
            frame_id=frame["frame_id"],
            reviewer="ann",
            reviewer_name="Ann",
            verdict=Verdict.CORRECTED,
            boxes=(LabelledBox(label="open", box=(1.5, 2.0, 3.0, 4.0)),),
            purpose=Purpose.QUEUE,
        ),
    )
    answer = client.get(f"/v1/frames/{frame['frame_id']}", headers=VIEWER)
    assert answer.status_code == 200
    body = answer.json()
    assert body["captured_at"] == frame["captured_at"].isoformat().replace("+00:00", "Z")
    assert (body["width"], body["height"], body["sequence"]) == (64, 48, 0)
    assert body["image"]["sha256"] == frame["sha256"]
    [prediction] = body["predictions"]
    assert prediction["boxes"] == [
        {"label": "open", "confidence": 0.5, "box": [1.0, 2.0, 3.0, 4.0]},
        {"label": "short", "confidence": 0.25, "box": [5.0, 6.0, 7.0, 8.0]},
    ]
    [review] = body["reviews"]
    assert review["boxes"] == [{"label": "open", "confidence": None, "box": [1.5, 2.0, 3.0, 4.0]}]
    assert review["undone_by"] is None


def test_a_frame_that_is_not_there_is_not_found(client: TestClient) -> None:
    answer = client.get(f"/v1/frames/{new_id(now())}", headers=VIEWER)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "query",
    [
        {"cursor": "WyJmIiwiYSJd"},
        {"cursor": "\x00"},
        {"cursor": "€"},
        {"cursor": "WyJyIiwxXQ"},  # of another list
        {"limit": 0},
        {"limit": 201},
        {"limit": "9" * 5000},
        {"since": "0001-01-01T00:00:00Z"},
        {"until": "9999-12-31T23:59:59-23:59"},
        {"since": "99999999999999999999"},
        {"camera": "a\x00b"},
        {"label": "\x00"},
        {"label": ""},
        {"min_confidence": "nan"},
        {"min_confidence": 1.1},
        {"review": "theirs"},
    ],
)
def test_what_does_not_fit_is_refused_and_never_asked(client: TestClient, query: dict[str, Any]) -> None:
    answer = client.get("/v1/frames", params=query, headers=VIEWER)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "frame_id", ["x", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-7fff-bfff-ffffffffffff", "%00"]
)
@pytest.mark.parametrize("rest", ["", "/image", "/trace"])
def test_a_bad_id_is_refused(client: TestClient, frame_id: str, rest: str) -> None:
    assert client.get(f"/v1/frames/{frame_id}{rest}", headers=VIEWER).status_code == 422


def test_nobody_reads_without_the_role(client: TestClient) -> None:
    assert client.get("/v1/frames").status_code == 401
    assert client.get("/v1/frames", headers=bearer("camera")).status_code == 403


def test_cameras_tell_their_last_frame_their_rate_and_whether_they_send(
    client: TestClient, keep: Keep, connection: psycopg.Connection[Any]
) -> None:
    quiet, busy = new_id(now()), new_id(now())
    upsert(connection, "sessions", a_session(session_id=quiet, camera_id="quiet"))
    upsert(
        connection,
        "sessions",
        a_session(session_id=busy, camera_id="busy", closed_at=None, updated_at=now(), captured=12),
    )
    for n in range(12):
        last = keep(camera_id="busy", session_id=busy, sequence=n, captured_at=now() - timedelta(seconds=12 - n))
    keep(camera_id="busy", session_id=busy, sequence=12, captured_at=now() - timedelta(hours=1))
    [first, second] = client.get("/v1/cameras", headers=VIEWER).json()["cameras"]
    assert (first["camera_id"], first["last_frame_id"]) == ("busy", last["frame_id"])
    assert first["frames_per_second"] == 0.2
    assert first["session"]["session_id"] == busy
    assert first["session"]["captured"] == 12
    assert first["last_image_url"].startswith("/v1/images/")
    assert (second["camera_id"], second["last_frame_id"], second["session"]) == ("quiet", None, None)


def test_a_camera_without_a_session_yet_has_none_listed(client: TestClient, connection: Any) -> None:
    upsert(connection, "frames", a_frame())
    assert client.get("/v1/cameras", headers=VIEWER).json() == {"cameras": []}
