"""What the sessions topic says of the last minute, and what its sink has not written yet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import OFFSET_END, TopicPartition

from connectors.serialisation import Codec
from contracts.identifiers import from_milliseconds, milliseconds
from contracts.records import Session
from contracts.settings import Settings
from inference.persistence.audit import witness as witness_module
from inference.persistence.audit.verdicts import News
from inference.persistence.audit.witness import Heard, read_recent, read_witnesses
from tests.support.fake_kafka import FakeRegistry
from tests.support.validity_vectors import SESSION_ID, session

OLD_MS = 1_767_323_045_928
CODEC = Codec(FakeRegistry())  # type: ignore[arg-type]


class Message:
    def __init__(self, offset: int, value: bytes, key: bytes, broker_ms: int = OLD_MS) -> None:
        self._offset, self._value, self._key, self._broker_ms = offset, value, key, broker_ms

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return self._value

    def key(self) -> bytes:
        return self._key

    def timestamp(self) -> tuple[int, int]:
        return 2, self._broker_ms

    def error(self) -> None:
        return None


class SessionsTopic:
    """A consumer of a topic of one partition that keeps the offsets from `first`."""

    def __init__(self, messages: list[Message], *, committed: int) -> None:
        self.messages, self.committed_offset, self.is_closed = messages, committed, False
        self.at = -1

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        return self.messages[0].offset(), self.messages[-1].offset() + 1

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(partitions[0].topic, 0, self.committed_offset)]

    def offsets_for_times(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        recent = [message.offset() for message in self.messages if message.timestamp()[1] >= partitions[0].offset]
        return [TopicPartition(partitions[0].topic, 0, min(recent, default=OFFSET_END))]

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.at = partitions[0].offset

    def poll(self, timeout: float) -> Message | None:
        found = next((message for message in self.messages if message.offset() >= self.at), None)
        if found:
            self.at = found.offset() + 1
        return found

    def close(self) -> None:
        self.is_closed = True


def a_message(offset: int, broker_ms: int = OLD_MS, **changes: Any) -> Message:
    payload = CODEC.encode("sessions", session(captured=offset, **changes))
    return Message(offset, payload, SESSION_ID.encode(), broker_ms)


def heard(monkeypatch: pytest.MonkeyPatch, topic: SessionsTopic) -> list[Heard]:
    groups = []
    monkeypatch.setattr(witness_module, "make_consumer", lambda _settings, group: groups.append(group) or topic)
    found = read_recent(Settings(), CODEC)
    assert groups == ["connect-sessions_to_postgres"]
    assert topic.is_closed
    return found


def unwritten(monkeypatch: pytest.MonkeyPatch, topic: SessionsTopic) -> list[Session]:
    return [found.session for found in heard(monkeypatch, topic)]


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


class NoRows:
    def execute(self, *_: Any) -> NoRows:
        return self

    def fetchall(self) -> list[tuple[Any, ...]]:
        return []


def test_the_last_minute_is_read_though_the_sink_has_written_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = milliseconds(datetime.now(UTC))
    ages = {0: 100, 1: 50, 2: 20, 3: 10, 4: 1}
    acknowledged = {0: 5, 1: 6, 2: 6, 3: 6, 4: 7}
    messages = [a_message(n, now - age * 1000, last_acknowledged=acknowledged[n]) for n, age in ages.items()]
    found = heard(monkeypatch, SessionsTopic(messages, committed=5))
    assert [record.session.captured for record in found] == [1, 2, 3, 4]
    [witness] = read_witnesses(NoRows(), found, camera=None, since=None)  # type: ignore[arg-type]
    # Only what acknowledged more: a heartbeat that says the same again makes no frame young.
    assert witness.news == (
        News(at=from_milliseconds(now - 50_000), last_acknowledged=6),
        News(at=from_milliseconds(now - 1000), last_acknowledged=7),
    )
    times = [witness.acknowledged_at(sequence) for sequence in (6, 7, 8)]
    assert times == [witness.news[0].at, witness.news[1].at, None]
