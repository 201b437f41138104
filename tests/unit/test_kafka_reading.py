"""Reading a partition to its end, though some of its offsets hold no message."""

from __future__ import annotations

import time
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, TopicPartition

from connectors import dead_letters, kafka
from connectors.kafka import read_between
from contracts.errors import Rejected, Transient
from contracts.settings import Settings
from tests.support.fake_kafka import FakeMessage


class Partition:
    """A consumer of messages at some offsets; what lies between is passed in silence, as a transaction's marker is."""

    def __init__(self, *offsets: int, end: int) -> None:
        self._offsets, self._end, self._at, self._passed = offsets, end, 0, OFFSET_INVALID
        self.asked: list[str] = []

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.asked.append("messages")
        self._at = partitions[0].offset

    def poll(self, _timeout: float) -> FakeMessage | None:
        found = next((offset for offset in self._offsets if offset >= self._at), None)
        self._at = self._passed = self._end if found is None else found + 1
        return None if found is None else FakeMessage(0, found, None, b"", [])

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(partitions[0].topic, 0, self._passed)]

    def get_watermark_offsets(self, _partition: TopicPartition, timeout: float) -> tuple[int, int]:
        self.asked.append("ends")
        return 0, self._end

    def close(self) -> None: ...


def offsets(consumer: Any, first: int, end: int) -> list[int]:
    return [message.offset() for message in read_between(consumer, "sessions", first, end)]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "_PATIENCE_SECONDS", 0.0)


def test_a_partition_that_ends_in_a_transactions_marker_is_read_to_its_end() -> None:
    assert offsets(Partition(0, 1, end=3), 0, 3) == [0, 1]
    assert offsets(Partition(end=1), 0, 1) == []
    assert offsets(Partition(0, 2, 5, end=6), 1, 4) == [2]
    assert offsets(Partition(0, end=1), 1, 1) == []


def test_a_broker_that_sends_nothing_is_given_up() -> None:
    silent = Partition(end=OFFSET_INVALID)
    with pytest.raises(Transient, match="is the broker up"):
        offsets(silent, 0, 2)


def test_what_a_caller_has_no_time_for_is_given_up() -> None:
    slow = Partition(0, 1, 2, end=3)
    read = read_between(slow, "sessions", 0, 3, until=time.monotonic() + 0.05)
    assert next(read).offset() == 0
    time.sleep(0.06)
    with pytest.raises(Transient, match="took too long"):
        next(read)


def test_all_that_the_broker_is_asked_shares_the_callers_time(monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts: list[float] = []

    class Slow(Partition):
        def get_watermark_offsets(self, _partition: TopicPartition, timeout: float) -> tuple[int, int]:
            timeouts.append(timeout)
            time.sleep(0.02)
            return 0, 0

    monkeypatch.setattr(dead_letters, "make_consumer", lambda *_, **__: Slow(end=0))
    with pytest.raises(Transient, match="took too long"):
        dead_letters.counts(Settings(), within_seconds=0.05)
    assert len(timeouts) <= 3
    assert timeouts == sorted(timeouts, reverse=True)
    assert max(timeouts) <= 0.05


def test_no_topic_of_dead_letters_waits_for_news_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker answers a connection in turn, and waits half a second for news: a page of five topics took six."""
    overrides: dict[str, Any] = {}
    consumer = Partition(0, 1, 2, end=3)

    def made(*_: Any, **given: Any) -> Partition:
        overrides.update(given)
        return consumer

    monkeypatch.setattr(dead_letters, "make_consumer", made)
    names = dead_letters.CONSUMERS
    found = [letter.id for letter in dead_letters.newest(Settings(), dict.fromkeys(names), limit=2)]
    assert found == [f"{name}:{offset}" for name in names for offset in (1, 2)]
    assert consumer.asked == ["ends"] * len(names) + ["messages"] * len(names)
    assert overrides["fetch.wait.max.ms"] <= 10


def test_a_dead_letters_id_that_names_a_marker_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "make_consumer", lambda *_, **__: Partition(0, end=2))
    assert dead_letters.find(Settings(), "stream:0").offset == 0
    with pytest.raises(Rejected, match="no dead letter stream:1"):
        dead_letters.find(Settings(), "stream:1")
