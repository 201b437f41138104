from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.dead_letters import DeadLetter
from connectors.serialisation import Codec
from contracts import schemas
from contracts.errors import Rejected
from inference.persistence.audit.letters import Letters
from inference.persistence.audit.verdicts import Witness
from tests.support.validity_vectors import SESSION_ID, frame, prediction, session

AT = datetime(2026, 1, 2, tzinfo=UTC)
IDS = {"frames": 1, "predictions": 2, "sessions": 3}


class OfflineRegistry:
    def id_of(self, topic: str) -> int:
        return IDS[topic]

    def schema_by_id(self, schema_id: int) -> schemas.Schema:
        for topic, known in IDS.items():
            if known == schema_id:
                return schemas.latest(topic)
        raise Rejected(f"no schema {schema_id}", code="unknown_schema")


@pytest.fixture
def codec() -> Codec:
    return Codec(OfflineRegistry())  # type: ignore[arg-type]


def a_witness(session_id: str = SESSION_ID) -> Witness:
    return Witness(
        session_id=session_id, camera_id="c", source="s", started_at=AT, last_acknowledged=9, captured=10, rejected=0,
        closed_at=AT, updated_at=AT,
    )  # fmt: skip


def a_dead_letter(
    consumer: str, topic: str | None, payload: bytes | None, offset: int = 0, **changes: Any
) -> DeadLetter:
    values: dict[str, Any] = {
        "consumer": consumer,
        "offset": offset,
        "origin_topic": topic,
        "origin_partition": 0,
        "origin_offset": 7,
        "stage": "TRANSFORMATION",
        "exception": "X",
        "reason": "bad_id: no",
        "refused_at": AT,
        "key": b"c",
        "payload": payload,
        "headers": (),
    }
    return DeadLetter(**values | changes)


def test_a_refused_frame_is_found_by_its_session_and_sequence(codec: Codec) -> None:
    letters = Letters()
    payload = codec.encode("frames", frame(sequence=3))
    letters.add_dead_letters(
        [a_dead_letter(name, "frames", payload, n) for n, name in enumerate(("frames_to_s3", "stream"))], codec
    )
    found = letters.find(a_witness(), 3, None)
    assert [(letter.consumer, letter.letter_id, letter.reason) for letter in found] == [
        ("frames_to_s3", "frames_to_s3:0", "bad_id: no"),
        ("stream", "stream:1", "bad_id: no"),
    ]
    assert letters.find(a_witness(), 4, None) == []
    assert letters.find(a_witness("another"), 3, None) == []
    # The frame that is stored under the same id is another one: the refusal is not its own.
    assert letters.find(a_witness(), 4, frame()["frame_id"]) == []
    assert letters.knows(frame()["frame_id"])
    assert letters.unreadable == []


def test_a_refused_prediction_is_found_by_its_frame(codec: Codec) -> None:
    letters = Letters()
    payload = codec.encode("predictions", prediction())
    letters.add_dead_letters([a_dead_letter("predictions_to_postgres", "predictions", payload)], codec)
    assert [letter.consumer for letter in letters.find(a_witness(), 0, prediction()["frame_id"])] == [
        "predictions_to_postgres"
    ]
    assert letters.find(a_witness(), 0, None) == []


def test_what_cannot_be_decoded_is_counted_apart_once_per_refused_record(codec: Codec) -> None:
    letters = Letters()
    unknown = b"\x00\x00\x00\x00\x63" + b"x"
    letters.add_dead_letters(
        [
            a_dead_letter("frames_to_s3", "frames", b"garbage"),
            a_dead_letter("stream", "frames", b"garbage"),
            a_dead_letter("stream", "frames", unknown, origin_offset=8),
            a_dead_letter("stream", "frames", None, origin_offset=9),
            a_dead_letter("stream", None, b"?", 5, origin_partition=None, origin_offset=None),
            a_dead_letter("sessions_to_postgres", "sessions", codec.encode("sessions", session())),
        ],
        codec,
    )
    assert [(letter.origin, letter.letter_id) for letter in letters.unreadable] == [
        ("frames/0/7", "frames_to_s3:0"),
        ("frames/0/8", "stream:0"),
        ("frames/0/9", "stream:0"),
        ("unknown", "stream:5"),
    ]
