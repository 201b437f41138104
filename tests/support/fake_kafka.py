"""A consumer and a producer in memory, as far as the stream worker uses them, and a registry that is never asked.

    topic = FakeTopic(); topic.append(key=..., value=...)
    consumer = FakeConsumer(topic); producer = FakeProducer()

Confirmations come out of producer.poll(), and only while `producer.is_up`.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import OFFSET_END, KafkaError, KafkaException, TopicPartition

from connectors.serialisation import Codec
from contracts import schemas
from contracts.errors import Rejected, Transient
from contracts.records import Record
from tests.support.records import now_ms

SCHEMA_IDS = {"frames": 1, "predictions": 2, "sessions": 3}


class FakeRegistry:
    """Knows the schemas on disk; `is_up = False` makes it away."""

    def __init__(self) -> None:
        self.is_up = True

    def id_of(self, topic: str) -> int:
        self._ask()
        return SCHEMA_IDS[topic]

    def schema_by_id(self, schema_id: int) -> schemas.Schema:
        self._ask()
        for topic, number in SCHEMA_IDS.items():
            if number == schema_id:
                return schemas.latest(topic)
        raise Rejected("no such schema", code="unknown_schema")

    def _ask(self) -> None:
        if not self.is_up:
            raise Transient("the schema registry is away")


def a_codec(registry: FakeRegistry | None = None) -> Codec:
    return Codec(registry or FakeRegistry())  # type: ignore[arg-type]


class FakeMessage:
    def __init__(
        self, partition: int, offset: int, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
    ) -> None:
        self._partition, self._offset, self._key, self._value, self._headers = partition, offset, key, value, headers
        self._timestamp = now_ms()

    def __len__(self) -> int:
        return len(self._value or b"")

    def error(self) -> None:
        return None

    def topic(self) -> str:
        return "frames"

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes]]:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return 2, self._timestamp


class FakeConsumer:
    """Hands out what was appended. Partitions are assigned with `assign_now` and `revoke_now`, as poll() would."""

    def __init__(self) -> None:
        self.log: dict[int, list[FakeMessage]] = defaultdict(list)
        self.committed: dict[int, int] = {}
        self.paused: set[int] = set()
        self.polls = 0
        self.is_closed = False
        self._positions: dict[int, int] = {}
        self._callbacks: dict[str, Callable[..., None]] = {}
        self._lock = threading.Lock()

    def append(
        self,
        value: bytes | None,
        *,
        key: str | bytes | None = "c1",
        partition: int = 0,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> int:
        with self._lock:
            log = self.log[partition]
            log.append(
                FakeMessage(partition, len(log), key.encode() if isinstance(key, str) else key, value, [*headers])
            )
            return len(log) - 1

    def subscribe(self, _topics: list[str], **callbacks: Callable[..., None]) -> None:
        self._callbacks = callbacks
        self.rebalance("on_assign", [0, 1])

    def rebalance(self, callback: str, partitions: list[int]) -> None:
        """To be called in the polling thread, as the library does."""
        self._callbacks[callback](self, [TopicPartition("frames", number) for number in partitions])

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        for one in partitions:
            self._positions[one.partition] = self.committed.get(one.partition, 0)

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        for one in partitions:
            del self._positions[one.partition]

    def poll(self, timeout: float) -> FakeMessage | None:
        self.polls += 1
        for number, position in self._positions.items():
            if number not in self.paused and position < len(self.log[number]):
                self._positions[number] += 1
                return self.log[number][position]
        time.sleep(min(timeout, 0.005))
        return None

    def consume(self, count: int, timeout: float) -> list[FakeMessage]:
        found = [self.poll(0) for _ in range(count)]
        return [message for message in found if message is not None]

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.paused |= {one.partition for one in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.paused -= {one.partition for one in partitions}

    def seek(self, place: TopicPartition) -> None:
        if place.partition not in self._positions:
            raise KafkaException(KafkaError(KafkaError._STATE))
        assert place.offset == OFFSET_END
        self._positions[place.partition] = len(self.log[place.partition])

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        self.committed.update({one.partition: one.offset for one in offsets})

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition("frames", one.partition, self._positions[one.partition]) for one in partitions]

    def get_watermark_offsets(self, partition: TopicPartition, *, cached: bool) -> tuple[int, int]:
        return 0, len(self.log[partition.partition])


class FakeProducer:
    """Keeps what was produced; confirms it in poll() while it is up."""

    def __init__(self, *, largest: int = 5 * 1024 * 1024, queue: int = 1000) -> None:
        self.is_up = True
        self.error: KafkaError | None = None  # given to every confirmation from now on
        self.sent: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._waiting: list[tuple[str, dict[str, Any], Any]] = []
        self._largest, self._queue = largest, queue
        self._lock = threading.Lock()

    def produce(
        self, topic: str, *, key: Any = None, value: bytes | None = None, headers: Any = (), on_delivery: Any = None
    ) -> None:
        if len(value or b"") + len(key or b"") + sum(len(name) + len(text) for name, text in headers) > self._largest:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        with self._lock:
            if len(self._waiting) >= self._queue:
                raise BufferError
            self._waiting.append((topic, {"key": key, "value": value, "headers": headers}, on_delivery))

    def poll(self, timeout: float) -> int:
        with self._lock:
            done, self._waiting = (self._waiting, []) if self.is_up else ([], self._waiting)
        for topic, record, on_delivery in done:
            if self.error is None:
                self.sent[topic].append(record)
            on_delivery(self.error, None)
        if not done:
            time.sleep(min(timeout, 0.002))
        return len(done)

    def predictions(self) -> list[Record]:
        codec = a_codec()
        return [codec.decode("predictions", record["value"]) for record in list(self.sent["predictions"])]
