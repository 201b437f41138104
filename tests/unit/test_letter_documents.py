"""Dead letters as documents, and their pages: what the command line prints and the API answers."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors import letter_documents
from connectors.dead_letters import DeadLetter
from connectors.replay import Outcome
from contracts.records import Record
from contracts.settings import ApiSettings, Settings
from inference.api.answers.pipeline import LetterAnswer, LetterWhole, ReplayAnswer
from inference.api.cursors import letters_of
from inference.api.routes import dead_letters as routes
from tests.support.fake_kafka import FakeRegistry, a_codec
from tests.support.nowhere import NOWHERE
from tests.support.records import a_frame_record
from tests.support.stored_api import a_client, bearer, parts_for

AT = datetime(2026, 1, 2, tzinfo=UTC)


class ClosedLater(FakeRegistry):
    def __init__(self, _settings: Any) -> None:
        super().__init__()

    def close(self) -> None:
        return None


def a_letter(record: Record | None = None, **changes: Any) -> DeadLetter:
    given: dict[str, Any] = {
        "consumer": "frames_to_s3",
        "offset": 7,
        "origin_topic": "frames",
        "origin_partition": 3,
        "origin_offset": 21,
        "stage": "TRANSFORMATION",
        "exception": "sightline.connect.Violation",
        "reason": "sha256_mismatch: the bytes differ",
        "refused_at": AT,
        "key": b"c1\xff",
        "payload": a_codec().encode("frames", record or a_frame_record()),
        "headers": (("name", b"value"), ("none", None)),
    }
    return DeadLetter(**(given | changes))


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letter_documents, "SchemaRegistry", ClosedLater)


def test_a_letter_shows_its_record_without_the_image() -> None:
    record = a_frame_record()
    document = letter_documents.whole(Settings(), a_letter(record))
    assert json.loads(json.dumps(document)) == document
    answer = LetterWhole.model_validate(document)
    assert (answer.id, answer.code, answer.key) == ("frames_to_s3:7", "sha256_mismatch", "c1\\xff")
    assert answer.record == {name: value for name, value in record.items() if name != "image"}
    assert answer.image is not None
    assert answer.image.size_bytes == len(record["image"])
    assert answer.headers == {"name": "value", "none": None}


@pytest.mark.parametrize("changes", [{"payload": b"garbage"}, {"payload": None}, {"origin_topic": None}])
def test_a_letter_that_cannot_be_decoded_says_why_and_how_it_begins(changes: dict[str, Any]) -> None:
    answer = LetterWhole.model_validate(letter_documents.whole(Settings(), a_letter(**changes)))
    assert answer.record is None
    assert answer.undecodable
    assert answer.begins_with is not None


def test_an_outcome_says_where_the_record_lies_or_why_not() -> None:
    sent = Outcome(letter="stream:1", is_replayed=True, topic="frames", partition=1, offset=9)
    assert ReplayAnswer.model_validate(letter_documents.outcome_of(sent)).offset == 9
    refused = Outcome(letter="stream:1", is_replayed=False, reason="it would be refused again")
    assert ReplayAnswer.model_validate(letter_documents.outcome_of(refused)).topic is None


def test_pages_of_several_consumers_hold_every_letter_once_newest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    topics = {
        name: [
            replace(a_letter(), consumer=name, offset=n, refused_at=AT + timedelta(seconds=step * n + shift))
            for n in range(count)
        ]
        for name, count, step, shift in (
            ("frames_to_s3", 7, 1, 0),
            ("stream", 5, 3, 1),
            ("frames_to_postgres", 0, 1, 0),
        )
    }

    def newest(_settings: Settings, before: dict[str, int | None], *, limit: int, **_: Any) -> Any:
        for name, bound in before.items():
            end = len(topics.get(name, [])) if bound is None else bound
            yield from topics.get(name, [])[max(0, end - limit) : end]

    monkeypatch.setattr(routes.dead_letters, "newest", newest)
    monkeypatch.setattr(
        routes.dead_letters, "counts", lambda _, **__: {name: len(letters) for name, letters in topics.items()}
    )
    client = a_client(parts_for(Settings(), database=None), [routes.router])
    found: list[LetterAnswer] = []
    query: dict[str, Any] = {"limit": 3}
    for _ in range(20):
        answer = client.get("/v1/dead-letters", params=query, headers=bearer("admin"))
        assert answer.status_code == 200, answer.text
        found += [LetterAnswer.model_validate(each) for each in answer.json()["dead_letters"]]
        if answer.json()["next"] is None:
            break
        query["cursor"] = answer.json()["next"]
        assert letters_of(query["cursor"])
    assert len({letter.id for letter in found}) == len(found) == 12
    times = [letter.refused_at for letter in found]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("path", ["/v1/dead-letters", "/v1/dead-letters/stream:7"])
def test_while_the_broker_is_away_503_comes_before_the_request_is_over(path: str) -> None:
    settings = NOWHERE.model_copy(update={"api": ApiSettings(request_seconds=1.0)})
    client = a_client(parts_for(settings, database=None), [routes.router])
    began = time.perf_counter()
    answer = client.get(path, headers=bearer("admin"))
    assert time.perf_counter() - began < 1.0
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["detail"].startswith("the broker is away")
