"""What no route has to bound itself: the size of JSON and of its answer, NUL, halves of characters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from connectors import dead_letters as letters
from inference.api.guard import JSON_BYTES
from inference.api.routes import dead_letters, models, reviews, stored_frames
from tests.support.nowhere import NOWHERE
from tests.support.stored_api import a_client, bearer, parts_for
from tests.unit.test_replay import a_letter

ANYBODY = bearer("viewer", "reviewer", "approver", "admin", "scientist")
FRAME = "0198a5c2-7e10-7d3c-8f4e-1a2b3c4d5e6f"
WITH_JSON = [
    "/v1/reviews",
    "/v1/reviews/claim",
    "/v1/models/1/promote",
    "/v1/models/1/rollback",
    "/v1/dead-letters/stream:1/replay",
]


class NoDatabase:
    """Is never asked: what these tests send ends before."""


@pytest.fixture(scope="module")
def client() -> TestClient:
    parts = parts_for(NOWHERE, database=NoDatabase())
    return a_client(parts, [module.router for module in (dead_letters, models, reviews, stored_frames)])


def refused(answer: Any) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize("path", WITH_JSON)
def test_json_of_more_than_256_kib_is_refused_whatever_its_declared_length(client: TestClient, path: str) -> None:
    body = json.dumps({"a": "b" * JSON_BYTES}).encode()

    def in_pieces() -> Iterator[bytes]:
        for at in range(0, len(body), 1000):
            yield body[at : at + 1000]

    for content in (body, in_pieces()):
        answer = client.post(path, content=content, headers=ANYBODY | {"Content-Type": "application/json"})
        assert refused(answer) == (413, "body_too_large")
    assert client.post(path, content=body[:JSON_BYTES], headers=ANYBODY).status_code == 422, "too large by no byte"


def test_of_thousands_of_errors_a_hundred_short_ones_are_told(client: TestClient) -> None:
    boxes = [{"label": "", "box": [-1, -1, -1, -1]}] * 1000
    answer = client.post("/v1/reviews", json={"boxes": boxes, "x" * 100_000: 1}, headers=ANYBODY)
    assert refused(answer) == (422, "invalid_request")
    assert len(answer.json()["errors"]) == 100
    assert answer.json()["errors"][0]["where"] == "body.frame_id"
    unknown = client.post("/v1/reviews/claim", json={"x" * 100_000: 1}, headers=ANYBODY)
    assert refused(unknown) == (422, "invalid_request")
    assert unknown.json()["errors"][0]["where"].startswith("body.xxx")
    assert max(len(answer.content), len(unknown.content)) < 20_000


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/%00",
        "/v1/models/1%00/agreement",
        "/v1/models/1/agreement?against=%00",
        "/v1/frames?nobody=knows%00",
        f"/v1/frames/{FRAME}%00/trace",
        "/v1/dead-letters/stream:1%00",
    ],
)
def test_nul_in_an_address_reaches_no_store(client: TestClient, path: str) -> None:
    assert refused(client.get(path, headers=ANYBODY)) == (422, "invalid_request")
    assert client.get(path).status_code == 401, "the door comes first"


@pytest.mark.parametrize(
    "edit", ['{"\\ud800": 1}', '{"camera_id": "\\udfff"}', '{"labels": [["\\ud83d"]]}', '{"a": "\\u0000"}']
)
def test_an_edit_with_text_that_nothing_can_store_is_refused(
    client: TestClient, edit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters, "find", lambda *_, **__: a_letter())
    headers = ANYBODY | {"Content-Type": "application/json"}
    answer = client.post("/v1/dead-letters/stream:1/replay", content=f'{{"edit": {edit}}}', headers=headers)
    assert refused(answer) == (422, "bad_edit")
