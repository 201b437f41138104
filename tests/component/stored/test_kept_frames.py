"""A frame that the retention kept is answered as before, on every route that tells of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from inference.api.parts import Parts
from inference.batch import expire
from inference.batch.__main__ import parser_of
from inference.persistence import trace as traces
from tests.support.rows import Row, a_session, now, upsert
from tests.support.stored_api import bearer

IMAGE = b"\xff\xd8 an image that is kept"
PASSING = {"url", "date_created", "waiting_since"}
REVIEWER = bearer("viewer+reviewer")


def reviewed(client: TestClient, frame: Row) -> int:
    said = {"frame_id": frame["frame_id"], "verdict": "empty", "boxes": [], "request_id": frame["frame_id"]}
    answer = client.post("/v1/reviews", json=said, headers=REVIEWER)
    assert answer.status_code in {200, 201}, answer.text
    return int(answer.json()["review_id"])


def told(client: TestClient, path: str) -> Any:
    answer = client.get(path, headers=REVIEWER)
    assert answer.status_code == 200, answer.text
    if "image" in path and answer.headers["content-type"].startswith("image/"):
        return answer.content
    return lasting(answer.json())


def lasting(document: Any) -> Any:
    """The document without what is new in every answer."""
    if isinstance(document, dict):
        return {name: lasting(value) for name, value in document.items() if name not in PASSING}
    return [lasting(each) for each in document] if isinstance(document, list) else document


def test_every_route_answers_a_kept_frame_as_before(
    client: TestClient,
    parts: Parts,
    keep: Callable[..., Row],
    connection: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(traces, "_ask_broker", lambda *_: None)
    at = now() - timedelta(days=120)
    frame = keep(image=IMAGE, captured_at=at)
    gone = keep(image=IMAGE, captured_at=at + timedelta(seconds=1), sequence=1)
    for row in (frame, gone):
        parts.frames.put(row["object_key"], IMAGE, content_type="image/jpeg", metadata={"sha256": row["sha256"]})
    upsert(
        connection, "sessions", a_session(last_acknowledged=1, captured=2, started_at=at, updated_at=at, closed_at=at)
    )
    review_id = reviewed(client, frame)
    one = f"/v1/frames/{frame['frame_id']}"
    then = f"since={at - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}&until={at + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    paths = [
        one,
        f"{one}/image",
        f"{one}/trace",
        f"/v1/frames?review=reviewed&{then}",
        f"/v1/frames?review=mine&camera=line-1&label=open&min_confidence=0.1&version=1&status=ok&{then}",
        "/v1/reviews",
        "/v1/labels",
        "/v1/labels/export?format=coco&part=all",
    ]
    before = {path: told(client, path) for path in paths}
    assert [each["frame_id"] for each in before[paths[3]]["frames"]] == [frame["frame_id"]]

    result = expire.run(parts.settings, parser_of("expire")[0].parse_args([]), lambda _: None)

    assert (result.fields["frames"], result.fields["kept"], result.exit_code) == (1, 1, 0)
    assert connection.execute("SELECT count(*) FROM frames").fetchone() == (0,)
    assert {path: told(client, path) for path in paths} == before
    assert before[f"{one}/image"] == IMAGE
    listed = told(client, "/v1/frames")["frames"]
    assert [each["frame_id"] for each in listed] == [frame["frame_id"]]
    for path in ("", "/image", "/trace"):
        assert client.get(f"/v1/frames/{gone['frame_id']}{path}", headers=REVIEWER).status_code == 404
    undone = client.post(f"/v1/reviews/{review_id}/undo", headers=REVIEWER)
    assert undone.status_code in {200, 201}, undone.text
    assert told(client, one)["reviews"][-1]["undone_by"] is not None
