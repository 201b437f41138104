from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from connectors.dead_letters import DeadLetter
from connectors.serialisation import Codec
from contracts import schemas
from contracts.errors import Rejected
from inference.persistence.audit.judging import judge
from inference.persistence.audit.letters import Letters
from inference.persistence.audit.verdicts import Evidence, Witness
from inference.persistence.objects import Digest
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


def a_row(**changes: Any) -> Evidence:
    """The row of tests.support's frame, whose object and prediction are missing."""
    record = frame(**changes)
    return Evidence(
        frame_id=record["frame_id"], sequence=record["sequence"], captured_at=AT, size_bytes=record["size_bytes"],
        sha256=record["sha256"], object_key=record["object_key"], has_prediction=False, found=None,
    )  # fmt: skip


def refused(codec: Codec, *consumers: str, record: dict[str, Any] | None = None, origin_offset: int = 7) -> Letters:
    letters = Letters()
    payload = codec.encode("frames", record or frame())
    letters.add_dead_letters(
        [a_dead_letter(consumer, "frames", payload, origin_offset=origin_offset) for consumer in consumers], codec
    )
    return letters


def consumers(letters: Letters, row: Evidence | None) -> list[str]:
    return [letter.consumer for letter in letters.find(a_witness(), 0, row)]


class Database:
    """Answers every question with these ids; keeps what was asked for."""

    def __init__(self, *ids: str) -> None:
        self.ids, self.asked = ids, []

    def execute(self, _query: str, values: tuple[list[str]]) -> list[tuple[str]]:
        self.asked += values[0]
        return [(frame_id,) for frame_id in self.ids if frame_id in values[0]]


@pytest.mark.parametrize("consumer", ["frames_to_s3", "stream"])
def test_the_loser_of_a_conflict_explains_no_loss_of_the_winner(codec: Codec, consumer: str) -> None:
    row = a_row()
    assert consumers(refused(codec, consumer), row) == [consumer]
    assert consumers(refused(codec, consumer, record=frame(sha256="b" * 64)), row) == []
    another_id = frame()["frame_id"].replace("abc", "abd")
    assert consumers(refused(codec, consumer, record=frame(frame_id=another_id)), row) == []
    changed = Digest(size_bytes=row.size_bytes, sha256="b" * 64)
    verdict = judge(
        replace(a_witness(), last_acknowledged=0, captured=1),
        [replace(row, found=changed, has_prediction=True)],
        find_letters=partial(
            refused(codec, "frames_to_s3", record=frame(sha256="b" * 64)).find,
            replace(a_witness(), last_acknowledged=0, captured=1),
        ),
        refused=(),
        expirations=[],
        now=AT,
    )
    assert [named.problem for named in verdict.problems] == ["object differs"]


def test_letters_of_a_record_that_all_refused_are_spent_once_there_is_a_row(codec: Codec) -> None:
    letters = refused(codec, "frames_to_s3", "frames_to_postgres", "stream")
    assert consumers(letters, None) == ["frames_to_s3", "frames_to_postgres", "stream"]
    assert consumers(letters, a_row()) == []
    # Replayed, and refused once more, by one of them: that letter counts.
    payload = codec.encode("frames", frame())
    letters.add_dead_letters([a_dead_letter("frames_to_s3", "frames", payload, 1, origin_offset=8)], codec)
    assert [letter.letter_id for letter in letters.find(a_witness(), 0, a_row())] == ["frames_to_s3:1"]


def test_letters_of_a_record_that_all_refused_are_spent_once_there_was_a_prediction(codec: Codec) -> None:
    letters = refused(codec, "frames_to_postgres", "stream")
    database = Database(frame()["frame_id"])
    letters.read_traces(database)  # type: ignore[arg-type]
    assert database.asked == [frame()["frame_id"]]
    assert consumers(letters, None) == []
    assert not letters.knows(frame()["frame_id"])  # so its object is a clue
    letters.read_traces(Database())  # type: ignore[arg-type]
    assert consumers(letters, None) == ["frames_to_postgres", "stream"]


def test_a_row_that_was_refused_alone_stays_explained_by_its_letter(codec: Codec) -> None:
    letters = refused(codec, "frames_to_postgres")
    database = Database(frame()["frame_id"])
    letters.read_traces(database)  # type: ignore[arg-type]
    assert database.asked == []  # the stream worker took it: that there is a prediction proves nothing
    assert consumers(letters, None) == ["frames_to_postgres"]
    broken = refused(codec, "frames_to_postgres", "stream", record=frame(frame_id="frame-1"))
    broken.read_traces(database)  # type: ignore[arg-type]
    assert database.asked == []  # no uuid: Postgres would refuse the question


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
    assert letters.find(a_witness(), 4, a_row(sequence=4)) == []
    assert letters.knows(frame()["frame_id"])
    assert letters.unreadable == []


def test_a_refused_prediction_is_found_by_its_frame(codec: Codec) -> None:
    letters = Letters()
    payload = codec.encode("predictions", prediction())
    letters.add_dead_letters([a_dead_letter("predictions_to_postgres", "predictions", payload)], codec)
    assert [letter.consumer for letter in letters.find(a_witness(), 0, a_row())] == ["predictions_to_postgres"]
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


def test_the_sequences_of_what_was_refused_are_known(codec: Codec) -> None:
    letters = refused(codec, "frames_to_postgres")
    assert letters.sequences(frame()["session_id"]) == {frame()["sequence"]}
    assert letters.sequences("another session") == set()
