"""What the sessions' sink has not written yet, read from its committed offset on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from connectors.serialisation import Codec
from contracts.records import Session
from contracts.settings import Settings
from inference.persistence.audit import witness as witness_module
from inference.persistence.audit.witness import read_unwritten
from tests.support.fake_kafka import FakeRegistry
from tests.support.validity_vectors import SESSION_ID, session

CODEC = Codec(FakeRegistry())  # type: ignore[arg-type]


class Message:
    def __init__(self, offset: int, value: bytes, key: bytes) -> None:
        self._offset, self._value, self._key = offset, value, key

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return self._value

    def key(self) -> bytes:
        return self._key

    def timestamp(self) -> tuple[int, int]:
        return 2, 1_767_323_045_928

    def error(self) -> None:
        return None


class SessionsTopic:
    """A consumer of a topic of one partition that keeps the offsets from `first`."""

    def __init__(self, messages: list[Message], *, committed: int) -> None:
        self.messages, self.committed_offset, self.is_closed = messages, committed, False
        self.position = -1

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        return self.messages[0].offset(), self.messages[-1].offset() + 1

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(partitions[0].topic, 0, self.committed_offset)]

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.position = partitions[0].offset

    def consume(self, num_messages: int, timeout: float) -> list[Message]:
        found = [message for message in self.messages if message.offset() >= self.position][:2]
        if found:
            self.position = found[-1].offset() + 1
        return found

    def close(self) -> None:
        self.is_closed = True


def a_message(offset: int, **changes: Any) -> Message:
    return Message(offset, CODEC.encode("sessions", session(captured=offset, **changes)), SESSION_ID.encode())


def unwritten(monkeypatch: pytest.MonkeyPatch, topic: SessionsTopic) -> list[Session]:
    groups = []
    monkeypatch.setattr(witness_module, "make_consumer", lambda _settings, group: groups.append(group) or topic)
    found = read_unwritten(Settings(), CODEC)
    assert groups == ["connect-sessions_to_postgres"]
    assert topic.is_closed
    return found


@pytest.mark.parametrize(
    ("committed", "expected"), [(-1001, [3, 4, 5, 6, 7]), (0, [3, 4, 5, 6, 7]), (5, [5, 6, 7]), (8, [])]
)
def test_reading_starts_where_the_sink_has_committed(
    monkeypatch: pytest.MonkeyPatch, committed: int, expected: list[int]
) -> None:
    topic = SessionsTopic([a_message(offset) for offset in range(3, 8)], committed=committed)
    assert [found.captured for found in unwritten(monkeypatch, topic)] == expected


def test_what_the_sink_refuses_is_no_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [
        Message(0, b"garbage", SESSION_ID.encode()),
        Message(1, a_message(1).value(), b"another key"),
        a_message(2, last_acknowledged=-2),
        a_message(3),
    ]
    [found] = unwritten(monkeypatch, SessionsTopic(messages, committed=-1001))
    assert (found.session_id, found.captured) == (SESSION_ID, 3)
    assert found.updated_at - found.started_at == timedelta(0)
