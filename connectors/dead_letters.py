"""What the consumers refused: who, what, why. One shape, whether Connect or the stream worker wrote it.

    consumer refuses a record ──► dead-letters.<consumer>   value and key as they came, the reason in the headers
    read ──► DeadLetter, DeadLetter, ...    up to the end at the time of the call
    find("frames_to_s3:17"), counts, write

Who answers somebody waiting says how long the broker may take, all its answers together: `within_seconds`.

An id is <consumer>:<offset>, since a dead-letter topic has one partition. Replaying is in replay.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from connectors.kafka import make_consumer, read_between, translated
from contracts.errors import Rejected, Transient
from contracts.identifiers import from_milliseconds
from contracts.settings import Settings
from contracts.topics import (
    HEADER_CONSUMER,
    HEADER_EXCEPTION,
    HEADER_OFFSET,
    HEADER_PARTITION,
    HEADER_REASON,
    HEADER_STAGE,
    HEADER_TOPIC,
    SINKS,
    STREAM_CONSUMER,
    dead_letters_topic,
)

Header = tuple[str, bytes | None]

CONSUMERS: Final = (*SINKS, STREAM_CONSUMER)
ERROR_HEADERS: Final = "__connect.errors."
HEADER_REPLAYED_FROM: Final = "sightline.replayed_from"
# A record so large that it would not fit with the headers below is parked without its value: it is at its origin.
HEADER_OMITTED_BYTES: Final = "sightline.omitted_bytes"

_GROUP: Final = "sightline-dead-letters"  # offsets are never committed
_PATIENCE_SECONDS: Final = 15.0  # with one question, where nobody says how long all may take
_FOR_EVER: Final = float("inf")
_CODE: Final = re.compile(r"([a-z][a-z0-9_]*):")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One refused record."""

    consumer: str
    offset: int  # in the dead-letter topic
    origin_topic: str | None  # None where a header is missing or unreadable, as in a letter of someone else's
    origin_partition: int | None
    origin_offset: int | None
    stage: str  # of the consumer: VALUE_CONVERTER | TRANSFORMATION | TASK_PUT | ...
    exception: str  # its class
    reason: str  # "<code>: <detail>" from code of ours
    refused_at: datetime  # UTC, by the broker
    key: bytes | None
    payload: bytes | None  # the record's value, as it came
    headers: tuple[Header, ...]

    @property
    def id(self) -> str:
        """Where it lies: <consumer>:<offset>."""
        return f"{self.consumer}:{self.offset}"

    @property
    def code(self) -> str:
        """The reason's code; "other" when what failed is not ours and gave none."""
        found = _CODE.match(self.reason)
        return found[1] if found else "other"

    @property
    def origin(self) -> tuple[str, int, int] | None:
        """Topic, partition and offset of the refused record, if all are known."""
        if self.origin_topic is None or self.origin_partition is None or self.origin_offset is None:
            return None
        return self.origin_topic, self.origin_partition, self.origin_offset

    @property
    def replayed_from(self) -> str | None:
        """The dead letter that this record came from, when it was refused a second time."""
        return _text(dict(self.headers).get(HEADER_REPLAYED_FROM)) or None


def read(settings: Settings, consumers: Iterable[str] = CONSUMERS) -> Iterator[DeadLetter]:
    """The dead letters of these consumers, oldest first each, up to the end at the time of the call.

    Raises:
        Transient: the broker is away.
        Misconfigured: a dead-letter topic does not exist.
    """
    consumer = _consumer(settings)
    try:
        # All ends are taken first: what a replay causes while this is read is not read.
        for name, (first, end) in {name: _bounds(consumer, name) for name in consumers}.items():
            yield from _between(consumer, name, first, end)
    finally:
        consumer.close()


def newest(
    settings: Settings, before: Mapping[str, int | None], *, limit: int, within_seconds: float | None = None
) -> Iterator[DeadLetter]:
    """The newest dead letters of some consumers, oldest first each, at most `limit` of each.

    Args:
        settings: where the broker is.
        before: the consumers, each with the offset before which to look; None: from the end.
        limit: at most so many of each.
        within_seconds: see the module.

    Raises:
        Transient: the broker is away.
        Misconfigured: a dead-letter topic does not exist.
    """
    until = _until(within_seconds)
    consumer = _consumer(settings)
    try:
        kept = {name: _bounds(consumer, name, until) for name in before}
        for name, (first, last) in kept.items():
            bound = before[name]
            end = last if bound is None else min(last, bound)
            yield from _between(consumer, name, max(first, end - limit), end, until)
    finally:
        consumer.close()


def find(settings: Settings, letter_id: str, *, within_seconds: float | None = None) -> DeadLetter:
    """The dead letter with this id; the topic's name may stand for the consumer's.

    Raises:
        Rejected: there is none, or it is no id (unknown_dead_letter).
        Transient: the broker is away.
    """
    name, offset = _parsed(letter_id)
    until = _until(within_seconds)
    consumer = _consumer(settings)
    try:
        first, end = _bounds(consumer, name, until)
        if not first <= offset < end:
            raise Rejected(
                f"no dead letter {letter_id}: {name} has those from {first} to {end - 1}"
                if end > first
                else f"no dead letter {letter_id}: {name} has none",
                code="unknown_dead_letter",
            )
        found = next(_between(consumer, name, offset, offset + 1, until), None)
        if found is None:
            raise Rejected(f"no dead letter {letter_id}: nothing lies at that offset", code="unknown_dead_letter")
        return found
    finally:
        consumer.close()


def counts(settings: Settings, *, within_seconds: float | None = None) -> dict[str, int]:
    """How many dead letters each consumer has.

    Raises:
        Transient: the broker is away.
        Misconfigured: a dead-letter topic does not exist.
    """
    until = _until(within_seconds)
    consumer = _consumer(settings)
    try:
        return {name: end - first for name in CONSUMERS for first, end in [_bounds(consumer, name, until)]}
    finally:
        consumer.close()


def write(
    producer: Any,
    consumer: str,
    message: Any,
    reason: str,
    *,
    stage: str = "VALIDATION",
    exception: str = "contracts.errors.Rejected",
    on_delivery: Callable[..., None] | None = None,
) -> None:
    """Gives a refused message to the producer, with the headers that Connect would write. Flushing is the caller's.

    Args:
        producer: a confluent_kafka Producer.
        consumer: who refuses it: "stream", or a connector's name.
        message: the confluent_kafka Message as it was consumed.
        reason: "<code>: <detail>".
        stage: what the consumer was doing.
        exception: the class of the error.
        on_delivery: called with (error, message) as by produce().

    Raises:
        BufferError: the producer's queue is full; poll and try again.
    """
    context = {
        HEADER_TOPIC: message.topic(),
        HEADER_PARTITION: str(message.partition()),
        HEADER_OFFSET: str(message.offset()),
        HEADER_CONSUMER: consumer,
        HEADER_STAGE: stage,
        HEADER_EXCEPTION: exception,
        HEADER_REASON: reason,
    }
    headers = without_error_headers(message.headers() or ()) + [(name, text.encode()) for name, text in context.items()]
    topic, value = dead_letters_topic(consumer), message.value()
    delivered = {"on_delivery": on_delivery} if on_delivery else {}
    try:
        producer.produce(topic, value=value, key=message.key(), headers=headers, **delivered)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
            raise translated(error, f"writing to {topic}") from error
        headers.append((HEADER_OMITTED_BYTES, str(len(value or b"")).encode()))
        producer.produce(topic, value=None, key=message.key(), headers=headers, **delivered)


def without_error_headers(headers: Iterable[Header]) -> list[Header]:
    """The headers without what an earlier refusal wrote."""
    return [(name, value) for name, value in headers if not name.startswith(ERROR_HEADERS)]


def from_message(consumer: str, message: Any) -> DeadLetter:
    """The dead letter in a message of a dead-letter topic."""
    headers: tuple[Header, ...] = tuple(message.headers() or ())
    context = dict(headers)
    _, timestamp_ms = message.timestamp()
    return DeadLetter(
        consumer=consumer,
        offset=message.offset(),
        origin_topic=_text(context.get(HEADER_TOPIC)) or None,
        origin_partition=_number(context.get(HEADER_PARTITION)),
        origin_offset=_number(context.get(HEADER_OFFSET)),
        stage=_text(context.get(HEADER_STAGE)),
        exception=_text(context.get(HEADER_EXCEPTION)),
        reason=_text(context.get(HEADER_REASON)) or "no reason given",
        refused_at=from_milliseconds(max(timestamp_ms, 0)),
        key=message.key(),
        payload=message.value(),
        headers=headers,
    )


def _consumer(settings: Settings) -> Any:
    """One that reads topic after topic to its end. It waits for nothing new there: the broker answers a connection's
    requests one by one, and the next topic's would come after such a wait, of half a second.
    """
    return make_consumer(settings, _GROUP, **{"fetch.wait.max.ms": 10})


def _parsed(letter_id: str) -> tuple[str, int]:
    name, _, number = letter_id.rpartition(":")
    name = name.removeprefix(dead_letters_topic(""))
    if name not in CONSUMERS or not number.isdecimal():
        raise Rejected(
            f"{letter_id!r} is no dead letter's id: write CONSUMER:OFFSET, such as frames_to_s3:0, with a consumer "
            f"of {', '.join(CONSUMERS)}",
            code="unknown_dead_letter",
        )
    return name, int(number)


def _until(within_seconds: float | None) -> float:
    """On the clock of time.monotonic."""
    return _FOR_EVER if within_seconds is None else time.monotonic() + within_seconds


def _bounds(consumer: Any, name: str, until: float = _FOR_EVER) -> tuple[int, int]:
    """The first offset that is still kept, and the one after the last."""
    topic = dead_letters_topic(name)
    seconds = min(_PATIENCE_SECONDS, until - time.monotonic())
    if seconds <= 0:
        raise Transient(f"reading {topic}: the broker took too long; try again")
    try:
        first, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=seconds)
    except KafkaException as error:
        raise translated(error, f"reading {topic}") from error
    return first, end


def _between(consumer: Any, name: str, first: int, end: int, until: float = _FOR_EVER) -> Iterator[DeadLetter]:
    for message in read_between(consumer, dead_letters_topic(name), first, end, until=until):
        yield from_message(name, message)


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", errors="replace")


def _number(value: bytes | None) -> int | None:
    text = _text(value)
    return int(text) if text.isdecimal() else None
