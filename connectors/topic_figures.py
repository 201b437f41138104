"""What the broker knows about the flow: lag per group, frames per second, dead letters. Nothing is consumed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from connectors.kafka import make_admin, translated
from contracts.settings import Settings
from contracts.topics import DEAD_LETTERS, FRAMES, PREDICTIONS, SESSIONS, SINKS, Topic

MINUTE_SECONDS: Final = 60
_TIMEOUT_SECONDS: Final = 5.0

# What each sink reads; Connect names its group after the connector.
_SINK_TOPICS: Final = {
    "frames_to_s3": FRAMES,
    "frames_to_postgres": FRAMES,
    "predictions_to_postgres": PREDICTIONS,
    "sessions_to_postgres": SESSIONS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How far a consumer group is behind on a topic."""

    group: str
    topic: str
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFigures:
    """The broker's answer."""

    lags: tuple[Lag, ...]
    frames_per_second: float  # over the last minute, by the broker's clock
    dead_letters: Mapping[str, int]  # records by topic, as far as kept


def topic_figures(settings: Settings) -> TopicFigures:
    """Asks the broker.

    Raises:
        Transient: it is away.
    """
    admin = make_admin(settings)
    topics = (FRAMES, PREDICTIONS, SESSIONS, *DEAD_LETTERS)
    partitions = [TopicPartition(topic.name, n) for topic in topics for n in range(topic.partitions)]
    frames = [partition for partition in partitions if partition.topic == FRAMES.name]
    minute_ago = OffsetSpec.for_timestamp(int((time.time() - MINUTE_SECONDS) * 1000))
    try:
        ends = _offsets(admin, {partition: OffsetSpec.latest() for partition in partitions})
        starts = _offsets(admin, {partition: OffsetSpec.earliest() for partition in partitions})
        since = _offsets(admin, dict.fromkeys(frames, minute_ago))
        lags = tuple(
            Lag(group=group, topic=topic.name, records=_lag(admin, group, topic.name, starts, ends))
            for group, topic in _groups(settings).items()
        )
    except KafkaException as error:
        raise translated(error, "asking the broker for offsets") from error
    recent = sum(ends[key] - offset for key, offset in since.items() if offset >= 0)  # -1: nothing so new
    return TopicFigures(
        lags=lags,
        frames_per_second=round(recent / MINUTE_SECONDS, 2),
        dead_letters={topic.name: ends[topic.name, 0] - starts[topic.name, 0] for topic in DEAD_LETTERS},
    )


def committed_offsets(settings: Settings, group: str, topic: str) -> dict[int, int]:
    """The next offset that the group reads, by partition; a partition without one was never finished in.

    Raises:
        Transient: the broker is away.
    """
    try:
        committed = _committed(make_admin(settings), group)
    except KafkaException as error:
        raise translated(error, f"asking the broker how far {group} is") from error
    return {partition: offset for (name, partition), offset in committed.items() if name == topic}


def _groups(settings: Settings) -> dict[str, Topic]:
    """Who is to be asked about, with what they read; the challenger's shadow runs where the ledger is followed."""
    shadow = {settings.stream.challenger_group: FRAMES} if settings.serving.follows_ledger else {}
    return {settings.stream.group: FRAMES, **shadow, **{f"connect-{name}": _SINK_TOPICS[name] for name in SINKS}}


def _offsets(admin: Any, wanted: Mapping[TopicPartition, Any]) -> dict[tuple[str, int], int]:
    asked = admin.list_offsets(dict(wanted), request_timeout=_TIMEOUT_SECONDS)
    return {(partition.topic, partition.partition): future.result().offset for partition, future in asked.items()}


def _lag(
    admin: Any, group: str, topic: str, starts: Mapping[tuple[str, int], int], ends: Mapping[tuple[str, int], int]
) -> int:
    """A partition without a committed offset is behind by all that it holds."""
    committed = _committed(admin, group)
    keys: Iterable[tuple[str, int]] = (key for key in ends if key[0] == topic)
    return sum(max(0, ends[key] - max(starts[key], committed.get(key, -1))) for key in keys)


def _committed(admin: Any, group: str) -> dict[tuple[str, int], int]:
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=_TIMEOUT_SECONDS)
    found = asked[group].result().topic_partitions or []
    return {(partition.topic, partition.partition): partition.offset for partition in found if partition.offset >= 0}
