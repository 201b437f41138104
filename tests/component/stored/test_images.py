"""Images straight from the store: whole, in part, unchanged, by ticket."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from contracts.settings import ApiSettings
from inference.api.parts import Parts
from inference.api.tickets import Tickets
from tests.component.stored.conftest import ROUTERS
from tests.support.object_store import ObjectStoreServer
from tests.support.rows import Row, now
from tests.support.stored_api import a_client, bearer

VIEWER = bearer("viewer")
IMAGE = bytes(range(256)) * 4096  # 1 MiB: several pieces


@pytest.fixture
def frame(keep: Callable[..., Row], parts: Parts) -> Row:
    frame = keep(image=IMAGE, encoding="png", captured_at=now() - timedelta(minutes=1))
    parts.frames.put(frame["object_key"], IMAGE, content_type="image/png", metadata={"sha256": frame["sha256"]})
    return frame


def fetch(client: TestClient, frame: Row, **headers: str) -> Any:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.get(f"/v1/frames/{frame['frame_id']}/image", headers=VIEWER | names)


def test_an_image_comes_as_it_was_captured(client: TestClient, frame: Row) -> None:
    answer = fetch(client, frame)
    assert (answer.status_code, answer.content == IMAGE) == (200, True)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(IMAGE))
    assert answer.headers["etag"] == f'"{frame["sha256"]}"'
    assert answer.headers["accept-ranges"] == "bytes"


def test_an_image_comes_in_pieces(client: TestClient, frame: Row, parts: Parts) -> None:
    with parts.database.connection():
        pieces = list(parts.frames.stream(frame["object_key"]))
    assert len(pieces) == 4
    assert b"".join(pieces) == IMAGE


@pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', '"x", "{}"', "*"])
def test_an_unchanged_image_is_not_sent_again(client: TestClient, frame: Row, form: str) -> None:
    answer = fetch(client, frame, if_none_match=form.format(frame["sha256"]))
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == f'"{frame["sha256"]}"'


def test_another_tag_is_sent_the_image(client: TestClient, frame: Row) -> None:
    assert fetch(client, frame, if_none_match='"other"').status_code == 200


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-9", 0, 9), ("bytes=1048570-", 1048570, 1048575), ("bytes=-5", 1048571, 1048575)],
)
def test_a_range_comes_alone(client: TestClient, frame: Row, asked: str, first: int, last: int) -> None:
    answer = fetch(client, frame, range=asked)
    assert answer.status_code == 206
    assert answer.content == IMAGE[first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(IMAGE)}"
    assert answer.headers["content-length"] == str(last - first + 1)


def test_a_range_of_another_version_is_answered_whole(client: TestClient, frame: Row) -> None:
    assert fetch(client, frame, range="bytes=0-9", if_range='"other"').status_code == 200
    assert fetch(client, frame, range="bytes=0-9", if_range=f'"{frame["sha256"]}"').status_code == 206


def test_a_range_outside_is_refused_with_the_size(client: TestClient, frame: Row) -> None:
    answer = fetch(client, frame, range="bytes=2000000-")
    assert (answer.status_code, answer.json()["code"]) == (416, "range_outside")
    assert answer.headers["content-range"] == f"bytes */{len(IMAGE)}"


def test_a_lost_object_is_not_found_and_names_the_audit(client: TestClient, keep: Callable[..., Row]) -> None:
    answer = fetch(client, keep())
    assert (answer.status_code, answer.json()["code"]) == (404, "no_image")


def ticket_of(client: TestClient, frame: Row) -> str:
    body = client.get(f"/v1/frames/{frame['frame_id']}", headers=VIEWER).json()
    return str(body["image"]["url"])


def test_a_browser_needs_the_link_alone(client: TestClient, frame: Row) -> None:
    url = ticket_of(client, frame)
    answer = client.get(url)
    assert (answer.status_code, answer.content == IMAGE) == (200, True)
    assert client.get(url, headers={"Range": "bytes=0-3"}).content == IMAGE[:4]


def test_a_forged_and_an_old_link_are_refused(client: TestClient, frame: Row, parts: Parts) -> None:
    url = ticket_of(client, frame)
    changed = url[:-4] + ("AAAA" if url[-4:] != "AAAA" else "BBBB")
    assert client.get(changed).json()["code"] == "ticket_forged"
    assert client.get("/v1/images/%ff").status_code == 403
    assert client.get("/v1/images/%00%ff").status_code == 422
    settings = ApiSettings(ticket_key=SecretStr("k"))
    old = Tickets(settings, clock=lambda: 1_000.0).issue(frame["frame_id"])
    late = parts.__class__(**{name: getattr(parts, name) for name in parts.__slots__} | {"tickets": Tickets(settings)})
    answer = a_client(late, ROUTERS).get(f"/v1/images/{old}")
    assert (answer.status_code, answer.json()["code"]) == (403, "ticket_expired")


def test_a_store_that_is_away_is_waited_for(client: TestClient, frame: Row, s3: ObjectStoreServer) -> None:
    s3.stop()
    try:
        answer = fetch(client, frame)
    finally:
        s3.start()
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert fetch(client, frame).status_code == 200
